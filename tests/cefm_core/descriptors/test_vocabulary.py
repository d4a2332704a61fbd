"""The vocabulary holds the published descriptors, and its contradictions and comparisons are consistent."""

from cefm_core.descriptors.vocabulary import find_descriptor, load_prompts, load_vocabulary
from cefm_core.reports.ledger import definitions

BENIGN = "symmetric shape, smooth borders, uniform color, light brown color, small size, well-defined edges, single color tone"
MELANOMA = (
    "asymmetric shape, irregular borders, uneven color, dark brown areas, black areas, blue-gray areas, red areas, "
    "multiple mixed colors, fuzzy edges, ulceration, satellite lesions"
)


def test_the_published_descriptors_with_their_directions():
    found = {entry.phrase: entry.direction for entry in load_vocabulary()}
    assert found == {**dict.fromkeys(BENIGN.split(", "), "benign"), **dict.fromkeys(MELANOMA.split(", "), "melanoma")}


def test_contradictions_cross_directions_and_every_comparison_is_a_fact():
    facts = {definition.id for definition in definitions()}
    for entry in load_vocabulary():
        assert all(find_descriptor(other).direction != entry.direction for other in entry.contradicts)
        assert entry.against == "" or entry.against in facts
    assert not find_descriptor("small size").reportable
    assert find_descriptor("no such phrase") is None


def test_prompts_hold_the_phrase_once():
    assert len(load_prompts()) >= 3 and all(prompt.count("{phrase}") == 1 for prompt in load_prompts())
