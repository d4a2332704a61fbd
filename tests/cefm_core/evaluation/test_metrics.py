"""Point metrics against torchmetrics and against arithmetic by hand; E06: an undefined metric is null with its reason."""

import numpy as np
import pytest
import torch
import torchmetrics.classification as tm

from cefm_core.evaluation.calibration import (
    calibration_error_by_chance,
    calibration_lines,
    expected_calibration_error,
    log_odds,
    reliability_bins,
    wilson_interval,
)
from cefm_core.evaluation.metrics import METRIC_NAMES, partial_auc_above_tpr, point_metrics, sensitivity_at_specificity, tuned_threshold
from cefm_core.evaluation.rows import REASONS, Measured

NONE = Measured(None, "no_tune_threshold")


def scores(n=400, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    target = (rng.random(n) < 0.3).astype(np.int64)
    probability = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.8 * target - 1.2)))
    return target, np.round(probability, 1) if ties else probability


@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_torchmetrics(ties):
    target, probability = scores(ties=ties)
    ours = point_metrics(target, probability, NONE)
    p, y = torch.tensor(probability), torch.tensor(target)
    expected = {
        "roc_auc": tm.BinaryAUROC(),
        "pr_auc": tm.BinaryAveragePrecision(),
        "accuracy": tm.BinaryAccuracy(threshold=0.5 - 1e-12),
        "f1": tm.BinaryF1Score(threshold=0.5 - 1e-12),
        "kappa": tm.BinaryCohenKappa(threshold=0.5 - 1e-12),
        "sensitivity": tm.BinaryRecall(threshold=0.5 - 1e-12),
        "specificity": tm.BinarySpecificity(threshold=0.5 - 1e-12),
        "sensitivity_at_specificity95": tm.BinarySensitivityAtSpecificity(0.95),
        "specificity_at_sensitivity95": tm.BinarySpecificityAtSensitivity(0.95),
    }
    for name, metric in expected.items():
        reference = metric(p, y)
        reference = float(reference[0] if isinstance(reference, tuple) else reference)
        assert ours[name].value == pytest.approx(reference, abs=1e-6), name
    assert ours["balanced_accuracy"].value == pytest.approx((ours["sensitivity"].value + ours["specificity"].value) / 2)
    assert ours["brier"].value == pytest.approx(float(((p - y) ** 2).mean()))


def test_ece_agrees_with_torchmetrics_and_with_a_hand_count():
    target, probability = scores(seed=3)
    assert expected_calibration_error(target, probability) == pytest.approx(
        float(tm.BinaryCalibrationError(n_bins=15, norm="l1")(torch.tensor(probability), torch.tensor(target))), abs=1e-6
    )
    # One bin: mean probability 0.35 against a share of 1/2.
    assert expected_calibration_error(np.array([1, 0]), np.array([0.34, 0.36])) == pytest.approx(0.15)


def test_error_by_chance_is_what_calibrated_labels_show():
    rng = np.random.default_rng(4)
    probability = rng.random(300) ** 2
    shown = [expected_calibration_error((rng.random(300) < probability).astype(np.int64), probability) for _ in range(400)]
    chance = calibration_error_by_chance(probability)
    assert chance.mean() == pytest.approx(np.mean(shown), abs=0.002)
    np.testing.assert_allclose(np.percentile(chance, [2.5, 97.5]), np.percentile(shown, [2.5, 97.5]), atol=0.006)
    assert calibration_error_by_chance(np.repeat(probability, 100), draws=50).mean() < chance.mean() / 5
    assert (calibration_error_by_chance(probability) == chance).all()
    np.testing.assert_allclose(calibration_error_by_chance(np.array([0.0, 1.0])), 0.0)


def test_calibration_line_agrees_with_scikit_learn_and_finds_what_was_planted():
    from scipy.optimize import minimize_scalar
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(6)
    weights = rng.integers(0, 4, (3, 5000)).astype(np.float64)
    truth = rng.normal(-1, 1.2, 5000)
    target = (rng.random(5000) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    probability = 1 / (1 + np.exp(-(2 * truth + 1)))  # twice too extreme, and too high
    slopes, intercepts = calibration_lines(weights, target, probability)
    x = log_odds(probability)
    for w, slope, intercept in zip(weights, slopes, intercepts, strict=True):
        reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], target, sample_weight=w)
        assert slope == pytest.approx(reference.coef_[0, 0], abs=1e-5)
        loss = minimize_scalar(lambda a, w=w: (w * (np.logaddexp(0, a + x) - target * (a + x))).sum(), bounds=(-5, 5), method="bounded")
        assert intercept == pytest.approx(loss.x, abs=1e-4)
    assert slopes == pytest.approx(0.5, abs=0.06)
    assert (intercepts < -0.3).all()


@pytest.mark.parametrize("probability", [[0.1, 0.2, 0.8, 0.9], [0.5, 0.5, 0.5, 0.5]])
def test_no_finite_slope_is_no_number(probability):
    found = point_metrics(np.array([0, 0, 1, 1]), np.array(probability), NONE)
    assert found["calibration_slope"] == (None, "separable")


def test_partial_auc_is_an_integral_over_the_curve():
    target, probability = scores(seed=5)
    positive, negative = probability[target == 1], probability[target == 0]
    grid = np.linspace(0.8, 1, 20001)
    # For each true positive rate, the specificity at which it is reached, by plain counting.
    thresholds = np.sort(positive)[::-1][np.minimum(np.ceil(grid * positive.size - 1e-9).astype(int), positive.size) - 1]
    specificity = np.array([(negative < t).mean() for t in np.unique(thresholds)])[np.unique(thresholds, return_inverse=True)[1]]
    assert partial_auc_above_tpr(target, probability) == pytest.approx(np.trapezoid(specificity, grid), abs=2e-4)
    assert partial_auc_above_tpr(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.9])) == pytest.approx(0.2)
    assert partial_auc_above_tpr(np.array([0, 1]), np.array([0.5, 0.5])) == pytest.approx(0.02)


def test_tuned_threshold_is_the_highest_that_keeps_the_sensitivity():
    target = np.array([1] * 20 + [0] * 5)
    probability = np.r_[np.arange(1, 21) / 20, np.zeros(5)]
    threshold = tuned_threshold(target, probability).value
    assert threshold == pytest.approx(0.1)  # 19 of 20 melanomas at or above it
    assert (probability[:20] >= threshold).mean() == pytest.approx(0.95)
    assert tuned_threshold(np.zeros(3, dtype=int), np.ones(3)).reason == "no_tune_threshold"


def test_sensitivity_at_specificity_by_hand():
    target = np.array([0] * 20 + [1] * 4)
    probability = np.r_[np.linspace(0, 0.19, 20), [0.185, 0.5, 0.6, 0.05]]
    assert sensitivity_at_specificity(target, probability) == pytest.approx(0.75)  # one false alarm of 20 is allowed


@pytest.mark.parametrize(("label", "absent"), [(0, "sensitivity"), (1, "specificity")])
def test_one_class_gives_reasons_not_numbers(label, absent):
    target = np.full(12, label)
    result = point_metrics(target, np.linspace(0.1, 0.9, 12), Measured(0.3))
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
        assert result[name] == (None, "single_class"), name
    assert result[absent] == (None, "class_absent")
    assert result["accuracy"].value == pytest.approx(0.5)
    assert result["brier"].value is not None
    assert set(result) == set(METRIC_NAMES)


def test_no_rows_gives_reasons():
    result = point_metrics(np.zeros(0, dtype=np.int64), np.zeros(0), NONE)
    assert set(result) == set(METRIC_NAMES)
    assert all(m == (None, "no_rows") for m in result.values())
    assert {m.reason for m in result.values()} <= set(REASONS)


def test_reliability_bins_hold_every_image_once():
    target, probability = scores(seed=7)
    bins = reliability_bins(target, probability)
    assert sum(b.n for b in bins) == target.size
    assert sum(round(b.observed * b.n) for b in bins) == target.sum()
    assert all(b.low <= b.mean_probability <= b.high and b.observed_low <= b.observed <= b.observed_high for b in bins)


def test_wilson_interval_of_ten_of_ten():
    low, high = wilson_interval(10, 10)
    assert (low, high) == (pytest.approx(0.7225, abs=1e-4), pytest.approx(1.0))
