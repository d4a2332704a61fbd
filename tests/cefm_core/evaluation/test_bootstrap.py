"""The fast weighted metrics equal the plain ones on repeated rows, and intervals mean what they say."""

import numpy as np
import pandas as pd
import pytest

from cefm_core.evaluation.bootstrap import group_codes, group_resamples, percentile_interval
from cefm_core.evaluation.calibration import expected_calibration_error
from cefm_core.evaluation.metrics import METRIC_NAMES, point_metrics
from cefm_core.evaluation.rows import Measured
from cefm_core.evaluation.weighted import resampled_auc, resampled_mean, resampled_metrics

THRESHOLD = Measured(0.21)


def scores(n, seed, ties=False):
    rng = np.random.default_rng(seed)
    target = (rng.random(n) < 0.35).astype(np.int64)
    probability = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.5 * target - 1)))
    return target, np.round(probability, 1) if ties else probability


@pytest.mark.parametrize("ties", [False, True])
def test_weights_equal_repeated_rows(ties):
    target, probability = scores(60, 1, ties)
    weights = group_resamples(np.arange(60), 25, seed=4)
    fast = resampled_metrics(weights, target, probability, THRESHOLD)
    assert set(fast) == set(METRIC_NAMES) - {"threshold_tuned95"}
    for b in range(25):
        rows = np.repeat(np.arange(60), weights[b])
        plain = point_metrics(target[rows], probability[rows], THRESHOLD)
        for name, values in fast.items():
            assert values[b] == pytest.approx(plain[name].value, abs=1e-9), name
    np.testing.assert_allclose(resampled_auc(weights, target, probability), fast["roc_auc"])


def test_resamples_that_lose_a_class_are_not_numbers():
    target, probability = np.array([1, 0, 0]), np.array([0.9, 0.2, 0.4])
    weights = np.array([[0, 2, 1], [3, 0, 0], [1, 1, 1]], dtype=np.uint16)
    fast = resampled_metrics(weights, target, probability, THRESHOLD)
    for name in (
        "roc_auc",
        "pr_auc",
        "pauc_tpr80",
        "sensitivity_at_specificity95",
        "specificity_at_sensitivity95",
        "balanced_accuracy",
        "f1",
        "kappa",
    ):
        assert np.isnan(fast[name][:2]).all(), name
        assert np.isfinite(fast[name][2]), name
    assert np.isnan(fast["sensitivity"][0])
    assert np.isfinite(fast["accuracy"]).all()


def test_groups_are_drawn_whole_and_missing_groups_stand_alone():
    codes = group_codes(pd.Series(["p1", "p1", None, None, ""]), pd.Series(list("abcde")))
    assert codes[0] == codes[1]
    assert len(set(codes[1:])) == 4
    weights = group_resamples(codes, 50, seed=0)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 1:].sum(axis=1) == 4).all()  # as many groups as there are
    assert (group_resamples(codes, 50, seed=0) == weights).all()


def test_grouping_widens_the_interval():
    rng = np.random.default_rng(2)
    base_target, base_score = scores(40, 3)
    target, score = np.repeat(base_target, 10), np.repeat(base_score, 10) + rng.normal(0, 1e-3, 400)
    widths = []
    for codes in (np.arange(400), np.repeat(np.arange(40), 10)):
        interval = percentile_interval(resampled_auc(group_resamples(codes, 400, 1), target, score), int(codes.max()) + 1)
        widths.append(interval.high - interval.low)
    assert widths[1] > 2 * widths[0]


def test_interval_covers_the_true_auc_about_as_often_as_it_claims():
    true_auc, covered = 0.8556, 0  # normal scores 1.5 apart: Phi(1.5 / sqrt 2)
    for seed in range(60):
        target, score = scores(150, 100 + seed)
        interval = percentile_interval(resampled_auc(group_resamples(np.arange(150), 200, seed), target, score), 150)
        covered += interval.low <= true_auc <= interval.high
    assert 51 <= covered <= 60


@pytest.mark.parametrize(
    ("values", "groups", "reason"),
    [
        (np.linspace(0, 1, 100), 5, "too_few"),
        (np.r_[np.full(10, np.nan), np.linspace(0, 1, 90)], 50, "too_few"),
        (np.ones(100), 50, "no_spread"),
    ],
)
def test_misleading_intervals_are_withheld(values, groups, reason):
    assert percentile_interval(values, groups) == (None, None, reason)


def test_calibration_error_of_a_calibrated_score_is_not_inflated_by_resampling():
    rng = np.random.default_rng(8)
    probability = rng.random(400)
    target = (rng.random(400) < probability).astype(np.int64)
    samples = resampled_metrics(group_resamples(np.arange(400), 300, 0), target, probability, THRESHOLD, ("ece",))["ece"]
    point = expected_calibration_error(target, probability)
    plain, shifted = percentile_interval(samples, 400), percentile_interval(samples, 400, biased_from=point)
    assert samples.mean() > point + 0.01
    assert 0 <= shifted.low < point < shifted.high < plain.high
    assert shifted.high - shifted.low == pytest.approx(plain.high - plain.low, abs=0.01)


def test_resampled_mean_is_that_of_the_repeated_rows():
    weights = np.array([[2, 0, 1], [0, 3, 0]], dtype=np.uint16)
    values = np.array([1.0, 5.0, 4.0])
    np.testing.assert_allclose(resampled_mean(weights, values), [2.0, 5.0])
    np.testing.assert_allclose(resampled_mean(weights, values, np.array([True, False, True])), [2.0, np.nan])


def test_sums_do_not_depend_on_the_order_of_addition():
    rng = np.random.default_rng(0)
    values, weights = rng.random(5000), rng.integers(0, 5, (20, 5000)).astype(np.uint16)
    order = rng.permutation(5000)
    assert (resampled_mean(weights, values) == resampled_mean(weights[:, order], values[order])).all()
