"""The vocabulary holds the published descriptors, and its contradictions and comparisons are consistent."""

from cefm_core.descriptors.vocabulary import find_descriptor, load_prompts, load_vocabulary, scored_by
from cefm_core.reports.facts import STRUCTURES
from cefm_core.reports.ledger import definitions

BENIGN = "symmetric shape, smooth borders, uniform color, light brown color, small size, well-defined edges, single color tone"
MELANOMA = (
    "asymmetric shape, irregular borders, uneven color, dark brown areas, black areas, blue-gray areas, red areas, "
    "multiple mixed colors, fuzzy edges, ulceration, satellite lesions"
)


def test_the_published_descriptors_with_their_directions():
    found = {entry.phrase: entry.direction for entry in scored_by("clip")}
    assert found == {**dict.fromkeys(BENIGN.split(", "), "benign"), **dict.fromkeys(MELANOMA.split(", "), "melanoma")}


def test_contradictions_cross_directions_and_every_comparison_is_a_fact():
    facts = {definition.id for definition in definitions()}
    for entry in load_vocabulary():
        assert all(find_descriptor(other).direction != entry.direction for other in entry.contradicts)
        structure = entry.against.startswith("structure.") and entry.against.removeprefix("structure.") in STRUCTURES
        assert entry.against == "" or entry.against in facts or structure
    assert not find_descriptor("small size").reportable
    assert find_descriptor("no such phrase") is None


def test_every_phrase_has_one_scorer_and_the_probes_speak_of_structures():
    assert {*scored_by("clip"), *scored_by("probes")} == {*load_vocabulary()}
    assert {entry.criterion for entry in scored_by("probes")} == {"D"}


def test_prompts_hold_the_phrase_once():
    assert len(load_prompts()) >= 3 and all(prompt.count("{phrase}") == 1 for prompt in load_prompts())
