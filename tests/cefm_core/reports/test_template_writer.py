"""The offline writer: right sentences, every claim with its facts, missing values said, the same bytes each time."""

import re

import pytest

from cefm_core.errors import ConfigurationError
from cefm_core.reports.claims import SECTIONS, Report, render_markdown, render_text
from cefm_core.reports.facts import collect_facts
from cefm_core.reports.language import languages, load_language
from cefm_core.reports.sample_facts import sample_facts
from cefm_core.reports.template_writer import write_report
from cefm_core.tables.refined_masks import REASONS


def text_of(report, fact_id):
    return next(claim.text for claim in report.claims if fact_id in claim.facts)


@pytest.mark.parametrize("code", languages())
def test_every_reason_to_keep_or_take_a_mask_has_words(code):
    assert set(REASONS) <= set(load_language(code).reasons)


def test_sentences_state_value_interval_and_level(facts):
    report = write_report(facts)
    assert (
        text_of(report, "abc.asymmetry_score")
        == "The lesion shows severe asymmetry (asymmetry score 1.6 of 2; interval 1.2 to 1.9; level 5 of 5)."
    )
    assert "3 of the 6 colours" in text_of(report, "abc.colour_count")
    assert "23 % (range over the seeds 15 % to 33 %)" in text_of(report, "model.p_melanoma")
    assert text_of(report, "colour.names") == "By area the lesion is mainly light brown (62 %), with dark brown (25 %) and red (5 %)."


def test_missing_values_are_said_with_their_reason(facts):
    text = text_of(write_report(facts), "abc.structure_count")
    assert "not measured because" in text and "D of the ABCD rule" in text
    assert "not measured because no scale was read from the image" in text_of(write_report(facts), "scope.diameter")


def test_a_contradicting_descriptor_is_said_to_contradict(facts):
    texts = [claim.text for claim in write_report(facts).claims if "descriptor.1" in claim.facts]
    assert any("contradicts the measurement (severe asymmetry)" in text for text in texts)


def test_skipped_descriptors_give_the_setting(rows):
    rows["descriptors"] = {"phrases": None, "scores": None, "reason": "descriptors.weights not configured"}
    assert "descriptors.weights" in text_of(write_report(collect_facts("a", **rows)), "descriptor.1")


@pytest.mark.parametrize(
    ("split", "said"), [("train", "was fitted on this image"), ("tune", "was fitted on this image"), ("val", "was not fitted")]
)
def test_a_fitted_image_is_said_to_be_one(rows, split, said):
    rows["prediction"]["split"] = split
    assert said in text_of(write_report(collect_facts("a", **rows)), "model.split")


def test_abstention_is_said_with_its_reason(rows):
    rows["prediction"] |= {"abstain": True, "abstain_reasons": ["out_of_distribution"]}
    text = text_of(write_report(collect_facts("a", **rows)), "model.abstain")
    assert "abstains" in text and "unlike those it was fitted on" in text and "not to be used" in text


@pytest.mark.parametrize(("tds", "side"), [(4.74, "below"), (4.75, "within"), (5.45, "within"), (5.46, "above")])
def test_the_band_of_the_total_score(rows, tds, side):
    rows["abc"] |= {"tds": tds, "tds_reason": None}
    assert f"{side} the rule's suspicious range (4.75 to 5.45)" in text_of(write_report(collect_facts("a", **rows)), "abc.tds")


@pytest.mark.parametrize("language", languages())
def test_every_claim_names_facts_and_every_section_is_there(language):
    for seed in range(40):
        facts = sample_facts(seed)
        report = write_report(facts, language)
        assert {claim.section for claim in report.claims} == set(SECTIONS)
        assert all(claim.facts and all(fact_id in facts for fact_id in claim.facts) for claim in report.claims)
        text = render_text(report)
        assert "{" not in text and "None" not in text and "nan" not in text.lower().split()
        assert not re.search(r"\d\s*(mm|cm)\b", text)
        assert text == render_text(write_report(sample_facts(seed), language))


def test_no_diagnosis_in_any_report():
    for seed in range(60):
        text = render_text(write_report(sample_facts(seed))).lower()
        assert not re.search(r"\b(is|are) (a |an )?(melanoma|benign|malignant)|benign|malignant", text)


def test_reports_survive_json_and_render_as_text(facts):
    report = write_report(facts)
    assert Report.from_json(report.to_json()) == report
    assert render_text(report).rstrip().endswith(report.words().notice)
    assert "## Risk assessment" in render_markdown(report)
    with pytest.raises(ValueError):
        Report.from_json("{}")


def test_an_unknown_language_is_a_configuration_error(facts):
    with pytest.raises(ConfigurationError, match="xx"):
        write_report(facts, "xx")
