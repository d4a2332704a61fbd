"""Structures, shifts, nearest cases, the mask's expected agreement and who scored the descriptors: ledger, sentences, checks."""

from dataclasses import replace

import pytest

from cefm_core.config import ReportConfig
from cefm_core.reports.checker import check_report
from cefm_core.reports.claims import Claim, render_text
from cefm_core.reports.contexts import ImagePageContext
from cefm_core.reports.corrections import apply_corrections
from cefm_core.reports.facts import collect_facts
from cefm_core.reports.pages import image_page
from cefm_core.reports.prompt import build_messages, report_schema
from cefm_core.reports.template_writer import write_report

SHIFTS = ("model.shift_asymmetry", "model.shift_border", "model.shift_colour", "model.shift_structure")


@pytest.fixture
def facts(rows):
    found = {"network": True, "streaks": False, "globules": False, "dots": True, "structureless": False}
    rows["abc"] |= {f"structure_{name}": there for name, there in found.items()} | {"structure_count": 2, "structure_reason": None}
    rows["prediction"] |= {"shift_asymmetry": 0.42, "shift_border": -0.104, "shift_colour": 0.003, "shift_structure": 0.21}
    rows["prediction"] |= {"nearest_cases": ["ISIC_0009991", "ISIC_0009992"], "nearest_cosines": [0.934, 0.91]}
    rows["descriptors"] = {"phrases": ["streaks", "blue-white veil"], "scores": [0.61, 0.52], "scorer": "probes", "reason": None}
    rows["refined"]["mask_confidence"] = 0.914
    return collect_facts("ISIC_0000001", **rows)


def codes(facts, text, *fact_ids, language="en"):
    report = write_report(facts, language)
    verdict = check_report(facts, replace(report, claims=(*report.claims, Claim("risk", text, fact_ids))))
    return {reason.code for reason in verdict.reasons}


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_report_states_them_and_passes(facts, language):
    report = write_report(facts, language)
    for form in (report, render_text(report)):
        verdict = check_report(facts, form)
        assert verdict.ok, verdict.lines()
    assert {*SHIFTS, "structure.names", "model.nearest_cosine", "mask.confidence", "visual.scorer"} <= {
        f for c in report.claims for f in c.facts
    }


def test_sentences_say_direction_structures_and_scorer(facts):
    text = render_text(write_report(facts))
    assert "asymmetry raises it by 0.42, the border lowers it by 0.10, colour raises it by 0.00 and structure raises it by 0.21" in text
    assert "These structures were found: network and dots." in text and "cosine of 0.93 with" in text and "outline is 0.91 (Dice)" in text
    assert "Probes on the image's embedding score these findings above their cuts: “streaks” and “blue-white veil”." in text
    assert "“streaks” differs from the measurement (that structure was not found); the measurement takes precedence" in text


@pytest.mark.parametrize(
    ("text", "fact_ids"),
    [
        ("Asymmetry increases it by 0.42.", SHIFTS),
        ("The border decreases it by 0.10.", SHIFTS),
        ("A network and dots are present.", ("structure.names",)),
        ("No globules were found.", ("structure.names",)),
        ("The closest training image has a cosine of 0.93.", ("model.nearest_cosine",)),
    ],
)
def test_correct_statements_pass(facts, text, fact_ids):
    assert codes(facts, text, *fact_ids) == set()


@pytest.mark.parametrize(
    ("text", "fact_ids", "code"),
    [
        ("Asymmetry lowers it by 0.42.", SHIFTS, "number_unsupported"),
        ("The border raises it by 0.10.", SHIFTS, "number_unsupported"),
        ("Asymmetry does not raise it, asymmetry raises it by 0.43.", SHIFTS, "number_unsupported"),
        ("The asymmetry score is -1.6 of 2.", ("abc.asymmetry_score",), "number_unsupported"),
        ("Globules are present.", ("structure.names",), "finding_contradicted"),
        ("There are no dots.", ("structure.names",), "finding_contradicted"),
        ("There is an atypical network.", ("structure.names",), "finding_invented"),
        ("Dots lie at the periphery.", ("structure.names",), "finding_invented"),
        ("Milia-like cysts are seen.", ("structure.names",), "finding_invented"),
        ("The image-text model scored this.", ("visual.scorer",), "state_contradicted"),
        ("The nearest training image has a cosine of 0.96.", ("model.nearest_cosine",), "number_unsupported"),
        ("The agreement to be expected is 0.81 (Dice).", ("mask.confidence",), "number_unsupported"),
    ],
)
def test_false_statements_are_refused_with_their_code(facts, text, fact_ids, code):
    assert code in codes(facts, text, *fact_ids)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Die Asymmetrie senkt sie um 0,42.", "number_unsupported"),
        ("Globuli sind vorhanden.", "finding_contradicted"),
        ("Das Bild-Text-Modell sah dies.", "state_contradicted"),
    ],
)
def test_false_german_statements_are_refused(facts, text, code):
    assert code in codes(facts, text, *SHIFTS, "structure.names", "visual.scorer", language="de")


def test_probes_that_found_nothing_say_so(rows):
    rows["descriptors"] = {"phrases": [], "scores": [], "scorer": "probes", "reason": None}
    facts = collect_facts("ISIC_0000001", **rows)
    for language, said in (("en", "score no finding above its cut"), ("de", "Über seiner Schwelle liegt kein Befund")):
        report = write_report(facts, language)
        assert said in render_text(report) and check_report(facts, report).ok


def test_a_row_without_a_scorer_is_of_clip(rows):
    assert collect_facts("ISIC_0000001", **rows)["visual.scorer"].value == "clip"


def test_ids_of_other_images_stand_on_the_page_and_in_no_prompt(facts):
    sent = str(build_messages(facts, ReportConfig())) + str(report_schema(facts))
    assert "ISIC_000" not in sent and "model.nearest_cosine" in sent and "model.nearest_cases" not in sent
    nearest = (("ISIC_0009991", 0.934, "../../../index.html#image=ISIC_0009991"),)
    page = image_page(ImagePageContext(apply_corrections(facts, ()), write_report(facts), None, 100, 80, nearest=nearest))
    assert 'href="../../../index.html#image=ISIC_0009991"' in page and ">0.93<" in page
    assert "+0.42" in page and "−0.10" in page and "61 %" in page and "learned from image-level labels" in page
