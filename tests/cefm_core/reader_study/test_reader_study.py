"""A reader study: blinded, balanced, read strictly, and scored with the right numbers."""

import random

import numpy as np
import pytest

from cefm_core.reader_study.answers import COLUMNS, PAPER, alpha, empty_answers, read_answers, score_study
from cefm_core.reader_study.design import CRITERIA, Study, plan_study
from cefm_core.reader_study.pages import result_page, sheet_page
from cefm_core.reports.claims import Report
from cefm_core.reports.facts import collect_facts
from cefm_core.reports.template_writer import write_report

ARMS = ("published", "measurements", "descriptors")
IMAGES = [f"SECRET_{n:03d}" for n in range(12)]


@pytest.fixture
def study():
    return plan_study(IMAGES, ARMS, 3, 7)


def answers(study, rater, rate):
    lines = [f"{rater},{item.code}," + ",".join(str(rate(item, criterion)) for criterion in CRITERIA) for item in study.order(rater)]
    return "\n".join([",".join(COLUMNS), *lines]) + "\n"


def test_a_study_is_balanced_and_each_rater_has_an_order_of_his_own(study):
    assert len({item.code for item in study.items}) == 36
    orders = [study.order(rater) for rater in study.raters]
    assert len(set(orders)) == 3
    for order in orders:
        assert sorted(order, key=lambda item: item.code) == sorted(study.items, key=lambda item: item.code)
        for start in range(0, 36, 12):
            block = order[start : start + 12]
            assert len({item.image_id for item in block}) == 12
            assert all(sum(item.arm == arm for item in block) == 4 for arm in ARMS)
    assert Study.from_json(study.to_json()) == study == plan_study(IMAGES, ARMS, 3, 7)
    assert {item.code for item in plan_study(IMAGES, ARMS, 3, 8).items} != {item.code for item in study.items}


def test_a_sheet_tells_neither_the_image_nor_the_arm(study):
    report = write_report(collect_facts("SECRET_x"))
    reports = {(item.image_id, item.arm): report for item in study.items}
    page = sheet_page(study, "R2", reports, dict.fromkeys(IMAGES, b"jpeg"))
    assert "SECRET" not in page and not [arm for arm in ("published", "descriptors alone", '"measurements"') if arm in page]
    assert [page.index(f'id="item-{item.code}"') for item in study.order("R2")] == sorted(
        page.index(f'id="item-{item.code}"') for item in study.items
    )
    assert page.count('type="radio"') == 36 * 3 * 5


def test_what_was_left_empty_is_missing_and_not_zero(study):
    empty = empty_answers("R1", [item.code for item in study.order("R1")])
    assert read_answers(study, {"a": empty}) == {}
    item = study.items[0]
    filled = "\ufeff" + empty.replace(f"{item.code},,,", f"{item.code},5,,3").replace("\n", "\r\n")
    assert read_answers(study, {"a": filled}) == {("R1", item.code, "interpretability"): 5, ("R1", item.code, "applicability"): 3}


@pytest.mark.parametrize(
    ("line", "fault"),
    [("R9,{code},5,5,5", "no rater 'R9'"), ("R1,XXXXX,5,5,5", "with an item 'XXXXX'"), ("R1,{code},6,5,5", "'6', not 1 to 5")]
    + [("R1,{code},4.5,5,5", "'4.5'"), ("R1,{code},5,5,5\nR1,{code},4,5,5", "rated twice"), ("R1,{code},0,5,5", "'0'")],
)
def test_what_is_no_rating_of_this_study_is_named(study, line, fault):
    with pytest.raises(ValueError, match=fault):
        read_answers(study, {"f.csv": ",".join(COLUMNS) + "\n" + line.format(code=study.items[0].code) + "\n"})
    with pytest.raises(ValueError, match="f.csv: the columns"):
        read_answers(study, {"f.csv": "a,b\n1,2\n"})


def test_means_intervals_and_agreement(study):
    better = {"published": 5, "measurements": 4, "descriptors": 2}
    lots = {(item.code, c): random.Random(item.code + c).choice((-1, 0, 1)) for item in study.items for c in CRITERIA}

    def rate(item, criterion):
        return min(5, max(1, better[item.arm] + lots[item.code, criterion]))

    files = {rater: answers(study, rater, rate) for rater in study.raters}
    result = score_study(study, read_answers(study, files))
    assert (result.given, result.expected, result.images, result.raters) == (324, 324, 12, ("R1", "R2", "R3"))
    assert all(each.value == pytest.approx(1) for each in result.agreement.values())
    for arm in result.arms:
        rated = [rate(item, "usefulness") for item in study.items if item.arm == arm.arm]
        mean = arm.means["usefulness"]
        assert mean.value == pytest.approx(np.mean(rated)) and arm.counts["usefulness"] == 36
        spread = 1.96 * np.std(rated) / np.sqrt(12)
        assert mean.low == pytest.approx(mean.value - spread, abs=0.12) and mean.high == pytest.approx(mean.value + spread, abs=0.12)
    page = result_page(result)
    assert all(f">{value}<" in page for value in PAPER.values()) and "324 of 324" in page


def test_raters_who_throw_dice_do_not_agree(study):
    dice = random.Random(3)
    files = {rater: answers(study, rater, lambda item, criterion: dice.randint(1, 5)) for rater in study.raters}
    result = score_study(study, read_answers(study, files))
    assert all(abs(each.value) < 0.4 for each in result.agreement.values())
    one = score_study(study, read_answers(study, {"R1": files["R1"]}))
    assert one.agreement["usefulness"].value is None and "one rater" in one.agreement["usefulness"].text()
    assert result_page(one)


def test_alpha_is_that_of_the_published_example():
    """Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section D: four observers, twelve units, ordinal 0.815."""
    n = np.nan
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, n, n, n],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, n, 3],
        [n, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, n],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, n],
    ]
    assert alpha(table) == pytest.approx(0.815, abs=5e-4)
    assert alpha([[3, 3, 3], [3, 3, 3]]) is None


def test_another_file_is_no_key():
    for text in ("{}", '{"format": "cefm-reader-study", "version": 2}', '{"format": "cefm-reader-study", "version": 1}'):
        with pytest.raises(ValueError):
            Study.from_json(text)


def test_a_report_without_a_section_is_still_a_sheet(study):
    report = Report(write_report(collect_facts("x")).section("quality"))
    assert sheet_page(study, "R1", {(i.image_id, i.arm): report for i in study.items}, dict.fromkeys(IMAGES, b"x"))
