"""A clinician's corrections: stored, laid over the ledger, and the report written again without contradiction."""

import pytest

from cefm_core.reports.checker import check_report
from cefm_core.reports.claims import render_text
from cefm_core.reports.overrides import Override, apply_overrides, overrides_from_json, overrides_to_json
from cefm_core.reports.template_writer import write_report


def test_a_level_is_corrected_and_descriptors_are_compared_again(facts):
    corrected = apply_overrides(facts, [Override("abc.asymmetry_score", "level", 1)])
    fact = corrected["abc.asymmetry_score"]
    assert (fact.level, fact.level_word, fact.source, fact.value) == (1, "no relevant", "clinician", 1.62)
    assert corrected["descriptor.1"].relation == "agree" and facts["descriptor.1"].relation == "contradict"
    text = render_text(write_report(corrected))
    assert "no relevant asymmetry" in text and "“symmetric shape” contradicts" not in text
    assert check_report(corrected, write_report(corrected)).ok
    assert not check_report(facts, write_report(corrected)).ok


def test_a_fact_marked_wrong_is_said_not_to_be_measured(facts):
    corrected = apply_overrides(facts, [Override("abc.border_score", "wrong")])
    report = write_report(corrected)
    assert "The border was not measured because a clinician marked it as wrong." in render_text(report)
    assert check_report(corrected, report).ok


def test_corrections_survive_json(facts):
    overrides = (Override("abc.colour_count", "level", 4), Override("quality.flags", "wrong"))
    assert overrides_from_json(overrides_to_json(overrides)) == overrides


@pytest.mark.parametrize(
    "text",
    ['{"fact": "a"}', '[{"fact": 1, "kind": "wrong"}]', '[{"fact": "a", "kind": "level"}]', '[{"fact": "a", "kind": "level", "level": 6}]']
    + ['[{"fact": "a", "kind": "level", "level": true}]', '[{"fact": "a", "kind": "wrong", "note": "free text"}]', "[3]", "no json"],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError):
        overrides_from_json(text)


def test_unknown_facts_and_missing_levels_are_refused(facts):
    for override in (Override("abc.none", "wrong"), Override("abc.tds", "level", 3)):
        with pytest.raises(ValueError, match="no such"):
            apply_overrides(facts, [override])
