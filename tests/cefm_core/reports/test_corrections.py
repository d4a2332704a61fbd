"""A clinician's corrections: read, laid over the ledger, and the report written again without contradiction."""

import json
from dataclasses import replace

import pytest

from cefm_core.reports.checker import check_report
from cefm_core.reports.claims import render_text
from cefm_core.reports.corrections import (
    LEVELLED,
    Correction,
    apply_corrections,
    check_reviewer,
    corrections_to_json,
    objection,
    read_corrections,
    seen_of,
    standing,
)
from cefm_core.reports.facts import collect_facts
from cefm_core.reports.sample_facts import sample_facts
from cefm_core.reports.template_writer import write_report

ID = "ISIC_0000001"


def level(fact, number, **more):
    return Correction(ID, fact, "level", number, reviewer="R1", **more)


def wrong(fact, **more):
    return Correction(ID, fact, "wrong", reviewer="R1", **more)


def text(corrected, language="en"):
    return render_text(write_report(corrected.facts, language))


def test_a_level_is_corrected_and_descriptors_are_compared_again(facts):
    corrected = apply_corrections(facts, [level("abc.asymmetry_score", 1)])
    fact = corrected.facts["abc.asymmetry_score"]
    assert (fact.level, fact.level_word, fact.source, fact.value) == (1, "no relevant", "clinician", 1.62)
    assert corrected.facts["descriptor.1"].relation == "agree" and facts["descriptor.1"].relation == "contradict"
    written = text(corrected)
    assert "no relevant asymmetry" in written and "“symmetric shape” contradicts" not in written
    assert "A clinician set the level of asymmetry." in written
    assert "probability was calculated before this correction" in written
    assert check_report(corrected.facts, write_report(corrected.facts)).ok
    assert not check_report(facts, write_report(corrected.facts)).ok
    (applied,) = corrected.corrections
    assert (applied.before, applied.after) == ("1.6 points, level 5 (severe)", "1.6 points, level 1 (no relevant)")


def test_a_fact_marked_wrong_is_said_not_to_be_measured(facts):
    corrected = apply_corrections(facts, [wrong("abc.border_score")])
    report = write_report(corrected.facts)
    assert "The border was not measured because a clinician marked it as wrong." in text(corrected)
    assert check_report(corrected.facts, report).ok
    assert not check_report(corrected.facts, write_report(facts)).ok, "what was marked wrong may not be said any more"


def test_what_rests_on_a_wrong_value_goes_with_it(rows):
    rows["abc"] |= {"structure_count": 2, "structure_level": 2, "tds": 5.04, "tds_reason": None}
    facts = collect_facts(ID, **rows)
    assert facts.measured("abc.tds") is not None
    corrected = apply_corrections(facts, [wrong("abc.colour_count")]).facts
    assert (corrected["abc.tds"].value, corrected["abc.tds"].reason) == (None, "rests_on_wrong")
    assert corrected.measured("abc.tds_without_structures") is None and corrected.measured("abc.border_score") is not None
    without_mask = apply_corrections(facts, [wrong("mask.decision")]).facts
    assert not [fact.id for fact in without_mask if fact.id.startswith(("abc.", "colour.", "paper.")) and fact.value is not None]
    assert without_mask.measured("model.p_melanoma") is not None
    assert check_report(without_mask, write_report(without_mask)).ok


@pytest.mark.parametrize("language", ["en", "de"])
def test_whatever_is_marked_wrong_the_report_stays_publishable(language):
    tried = 0
    for seed in range(12):
        facts = sample_facts(seed)
        singles = [[Correction(facts.image_id, fact.id, "wrong")] for fact in facts if fact.value is not None]
        graded = [fact for fact in facts if fact.id in LEVELLED and fact.level is not None]
        levels = [[Correction(facts.image_id, fact.id, "level", n)] for fact in graded for n in range(1, 6)]
        everything = [[each for (each,) in singles], [each for (each,) in levels[::3]]]
        for corrections in [*singles, *levels, *everything]:
            corrected = apply_corrections(facts, corrections).facts
            verdict = check_report(corrected, write_report(corrected, language))
            assert verdict.ok, (seed, corrections, verdict.lines())
            tried += 1
    assert tried > 300


def test_a_mark_as_wrong_holds_for_the_value_it_was_made_on(facts):
    mark = wrong("abc.border_score", seen=seen_of(facts["abc.border_score"]))
    assert apply_corrections(facts, [mark]).corrections[0].state == "applied"
    moved = replace(facts, facts=tuple(replace(f, value=2.0, level=2) if f.id == "abc.border_score" else f for f in facts))
    corrected = apply_corrections(moved, [mark])
    assert corrected.corrections[0].state == "superseded" and corrected.facts == moved
    assert apply_corrections(moved, [replace(mark, kind="level", level=4)]).facts["abc.border_score"].level == 4


def test_a_correction_of_what_is_no_longer_there_changes_nothing_and_says_so(facts):
    gone = [wrong("abc.none"), level("abc.structure_count", 3), level("model.p_melanoma", 1)]
    corrected = apply_corrections(facts, gone)
    assert [applied.state for applied in corrected.corrections] == ["no_such_fact"] * 3 and corrected.facts == facts
    assert all(objection(facts, each) for each in gone)
    assert objection(facts, level("abc.border_score", 2)) is None and objection(facts, Correction(ID, "abc.none", "withdrawn")) is None


def test_of_several_corrections_the_last_stands_and_a_withdrawn_one_is_gone():
    made = [level("abc.border_score", 2), level("abc.colour_count", 4), level("abc.border_score", 3), wrong("quality.flags")]
    made.append(Correction(ID, "abc.colour_count", "withdrawn"))
    made.append(Correction("other", "abc.border_score", "wrong"))
    assert standing(made) == {ID: (made[2], made[3]), "other": (made[5],)}


def test_a_file_of_a_page_is_read_as_it_was_made():
    made = (
        level("abc.colour_count", 4, seen="3; level 3"),
        wrong("quality.flags"),
        Correction(ID, "abc.border_score", "withdrawn", reviewer="R1"),
    )
    assert read_corrections(corrections_to_json(made), "R1") == made
    assert "R1" not in corrections_to_json(made)


def test_a_csv_is_read_like_a_file_of_a_page():
    table = f"image_id,fact,kind,level\n{ID},abc.border_score,level,2\n{ID},quality.flags,wrong,\n"
    assert read_corrections("\ufeff" + table, "R1") == (level("abc.border_score", 2), wrong("quality.flags"))


def entry(**changed):
    return {"image_id": ID, "fact": "abc.border_score", "kind": "level", "level": 2} | changed


@pytest.mark.parametrize(
    "bad",
    [
        entry(level=None),
        entry(level=6),
        entry(level=True),
        entry(level="2"),
        entry(kind="wrong"),
        entry(kind="note"),
        entry(note="free text"),
    ]
    + [entry(fact=1), entry(image_id=""), entry(seen=3), {"fact": "a"}, 3],
)
def test_anything_else_is_refused(bad):
    file = json.dumps({"format": "cefm-corrections", "version": 1, "corrections": [entry(), bad]})
    with pytest.raises(ValueError, match="entry 2"):
        read_corrections(file, "R1")


@pytest.mark.parametrize("file", ["[]", "{}", '{"format": "cefm-corrections", "version": 2, "corrections": []}', "image_id,fact\na,b\n"])
def test_another_file_is_refused(file):
    with pytest.raises(ValueError):
        read_corrections(file, "R1")


@pytest.mark.parametrize("name", ["Dr. Smith", "smith", "", "R1 ", "A" * 13, "ÄR"])
def test_a_name_is_no_reviewer(name):
    with pytest.raises(ValueError, match="never a name"):
        check_reviewer(name)
    assert check_reviewer("DERM-02") == "DERM-02"
