"""Scores of masks drawn by hand, checked against counting and against other implementations."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from cefm_core.segmentation.scores import mask_scores, reference_scores, summarise, summarise_by

EMPTY = np.zeros((4, 4), bool)
BLOB = EMPTY.copy()
BLOB[1:3, 1:3] = True


def test_convention_for_empty_masks():
    assert mask_scores(EMPTY, EMPTY)["dice"] is None
    assert mask_scores(EMPTY, BLOB)["dice"] == 0
    assert mask_scores(BLOB, EMPTY)["dice"] == 0
    assert mask_scores(BLOB, BLOB)["dice"] == 1
    assert [mask_scores(a, b)["empty"] for a, b in ((EMPTY, EMPTY), (EMPTY, BLOB), (BLOB, EMPTY), (BLOB, BLOB))] == [
        "both",
        "predicted",
        "reference",
        "no",
    ]
    assert mask_scores(BLOB, EMPTY)["sensitivity"] is None
    assert mask_scores(~EMPTY, ~EMPTY)["specificity"] is None
    assert mask_scores(EMPTY, BLOB)["hd95_px"] is None


def test_values_by_counting():
    predicted = EMPTY.copy()
    predicted[1, 1:4] = True
    scores = mask_scores(predicted, BLOB)
    assert (scores["tp"], scores["fp"], scores["fn"], scores["tn"]) == (2, 1, 2, 11)
    assert scores["dice"] == pytest.approx(4 / 7)
    assert scores["jaccard"] == pytest.approx(2 / 5)
    assert (scores["threshold_jaccard"], scores["failed"]) == (0.0, True)
    assert scores["sensitivity"] == 0.5
    assert scores["specificity"] == pytest.approx(11 / 12)


def test_threshold_jaccard_keeps_what_reaches_the_threshold():
    reference = np.zeros((10, 10), bool)
    reference.flat[:100] = True
    predicted = reference.copy()
    predicted.flat[65:] = False
    assert mask_scores(predicted, reference)["threshold_jaccard"] == pytest.approx(0.65)
    predicted.flat[64] = False
    assert mask_scores(predicted, reference)["threshold_jaccard"] == 0


def test_against_torchmetrics_and_a_second_hausdorff():
    from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index

    rng = np.random.default_rng(3)
    for _ in range(5):
        a, b = rng.random((20, 30)) < 0.3, rng.random((20, 30)) < 0.4
        scores = mask_scores(a, b)
        p, t = torch.from_numpy(a).int(), torch.from_numpy(b).int()
        assert scores["dice"] == pytest.approx(float(binary_f1_score(p, t)), abs=1e-6)
        assert scores["jaccard"] == pytest.approx(float(binary_jaccard_index(p, t)), abs=1e-6)
        assert scores["hd95_px"] == pytest.approx(slow_hd95(a, b), abs=1e-3)


def slow_hd95(a, b):
    def outline(m):
        p = np.pad(m, 1)
        inner = p[1:-1, 1:-1] & p[:-2, 1:-1] & p[2:, 1:-1] & p[1:-1, :-2] & p[1:-1, 2:]
        return np.argwhere(m & ~inner)

    d = cdist(outline(a), outline(b))
    return np.percentile(np.concatenate([d.min(1), d.min(0)]), 95)


def test_pooled_hides_a_missed_small_lesion_and_the_mean_does_not():
    large, small = np.zeros((100, 100), bool), np.zeros((100, 100), bool)
    large[10:90, 10:90], small[50:53, 50:53] = True, True
    summary = summarise([mask_scores(large, large), mask_scores(np.zeros_like(small), small)])
    assert summary.figures["dice_mean"].value == 0.5
    assert summary.figures["dice_pooled"].value > 0.99
    assert summary.n_one_empty == 1


def test_both_empty_is_left_out_and_counted():
    summary = summarise([mask_scores(EMPTY, EMPTY), mask_scores(BLOB, BLOB)])
    assert (summary.n, summary.n_both_empty) == (2, 1)
    assert (summary.figures["dice_mean"].value, summary.figures["dice_mean"].n) == (1.0, 1)
    alone = summarise([mask_scores(EMPTY, EMPTY)])
    assert alone.figures["dice_mean"].value is None
    assert alone.figures["dice_pooled"].value is None


def test_intervals_hold_the_value_shrink_with_n_and_repeat():
    rng = np.random.default_rng(5)
    scores = [mask_scores(rng.random((8, 8)) < 0.5, rng.random((8, 8)) < 0.5) for _ in range(200)]
    few, many = summarise(scores[:20]).figures["dice_mean"], summarise(scores).figures["dice_mean"]
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low
    assert summarise(scores).figures["dice_mean"] == many
    grouped = summarise(scores, [str(i // 100) for i in range(200)]).figures["dice_mean"]
    assert grouped.value == many.value
    assert summarise(scores, ["one"] * 200).figures["dice_mean"].low is None


def test_strata_are_summarised_apart():
    result = summarise_by([mask_scores(BLOB, BLOB), mask_scores(EMPTY, BLOB)], ["b", "a"])
    assert list(result) == ["a", "b"]
    assert result["a"].figures["failure_rate"].value == 1
    assert result["b"].figures["failure_rate"].value == 0


def test_columns_of_a_mask_row():
    nothing = {"reference_dice": None, "reference_jaccard": None}
    assert reference_scores(BLOB, None) == nothing | {"reference_reason": "no_reference_mask"}
    assert reference_scores(BLOB, BLOB) == {"reference_dice": 1.0, "reference_jaccard": 1.0, "reference_reason": None}
    assert reference_scores(EMPTY, EMPTY) == nothing | {"reference_reason": "both_masks_empty"}


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="cannot be compared"):
        mask_scores(EMPTY, np.zeros((4, 5), bool))
