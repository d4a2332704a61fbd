"""Point values of the classification metrics, through scikit-learn, each null with a reason where it is undefined.

Intervals do not belong here; they come from :mod:`cefm_core.evaluation.weighted` and :mod:`cefm_core.evaluation.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from cefm_core.evaluation.calibration import brier_score, calibration_lines, expected_calibration_error
from cefm_core.evaluation.rows import Measured, finite

OPERATING_SENSITIVITY = 0.95
OPERATING_SPECIFICITY = 0.95
PAUC_MIN_TPR = 0.8

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def tuned_threshold(target: Ints, probability: Floats, sensitivity: float = OPERATING_SENSITIVITY) -> Measured:
    """Return the highest threshold whose sensitivity on these (tune) rows is at least ``sensitivity``.

    Args:
        target: Shape (n,), 1 for melanoma and 0 for nevus.
        probability: Shape (n,), scores; an image is called melanoma where its score is at least the threshold.
        sensitivity: Sensitivity asked for, 0..1.
    """
    positives = np.sort(probability[target == 1])[::-1]
    if positives.size == 0:
        return Measured(None, "no_tune_threshold")
    needed = int(np.ceil(sensitivity * positives.size - 1e-9))
    return Measured(float(positives[max(needed, 1) - 1]))


def partial_auc_above_tpr(target: Ints, probability: Floats, min_tpr: float = PAUC_MIN_TPR) -> float:
    """Area under the ROC curve above a true positive rate, as the ISIC 2024 challenge scored it.

    Returns:
        Area in 0..(1 - min_tpr); a coin reaches (1 - min_tpr)^2 / 2. Classes and scores are exchanged so that
        scikit-learn's standardised partial AUC applies, and McClish's standardisation is then undone.
    """
    from sklearn.metrics import roc_auc_score

    max_fpr = 1 - min_tpr
    scaled = float(roc_auc_score(1 - target, -probability, max_fpr=max_fpr))
    lowest = 0.5 * max_fpr**2
    return lowest + (scaled - 0.5) * 2 * (max_fpr - lowest)


def sensitivity_at_specificity(target: Ints, probability: Floats, specificity: float = OPERATING_SPECIFICITY) -> float:
    """Highest sensitivity among the thresholds of these rows whose specificity is at least ``specificity``."""
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(target, probability, drop_intermediate=False)
    return float(tpr[fpr <= 1 - specificity + 1e-12].max())


def specificity_at_sensitivity(target: Ints, probability: Floats, sensitivity: float = OPERATING_SENSITIVITY) -> float:
    """Highest specificity among the thresholds of these rows whose sensitivity is at least ``sensitivity``."""
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(target, probability, drop_intermediate=False)
    return float(1 - fpr[tpr >= sensitivity - 1e-12].min())


def _threshold_free(target: Ints, probability: Floats, only: Collection[str]) -> dict[str, Measured]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    names: dict[str, Callable[[Ints, Floats], float]] = {
        "roc_auc": roc_auc_score,
        "pr_auc": average_precision_score,
        "pauc_tpr80": partial_auc_above_tpr,
        "sensitivity_at_specificity95": sensitivity_at_specificity,
        "specificity_at_sensitivity95": specificity_at_sensitivity,
    }
    chosen = [name for name in names if name in only]
    if np.unique(target).size < 2:
        return dict.fromkeys(chosen, Measured(None, "single_class"))
    return {name: Measured(float(names[name](target, probability))) for name in chosen}


def _recall(target: Ints, called: Ints, label: int) -> Measured:
    rows = target == label
    if not rows.any():
        return Measured(None, "class_absent")
    return Measured(float(np.mean(called[rows] == label)))


def _at_half(target: Ints, probability: Floats, only: Collection[str]) -> dict[str, Measured]:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, f1_score

    called = (probability >= 0.5).astype(np.int64)
    measures = {
        "accuracy": Measured(float(accuracy_score(target, called))),
        "sensitivity": _recall(target, called, 1),
        "specificity": _recall(target, called, 0),
    }
    both = ("balanced_accuracy", "f1", "kappa")
    if np.unique(target).size < 2:
        return measures | dict.fromkeys(both, Measured(None, "single_class"))
    if not set(both) & set(only):
        return measures
    kappa = finite(cohen_kappa_score(target, called))
    return measures | {
        "balanced_accuracy": Measured(float(balanced_accuracy_score(target, called))),
        "f1": Measured(float(f1_score(target, called, zero_division=0.0))),
        "kappa": Measured(kappa, None if kappa is not None else "single_class"),
    }


def _at_tuned(target: Ints, probability: Floats, threshold: Measured) -> dict[str, Measured]:
    if threshold.value is None:
        return dict.fromkeys(("threshold_tuned95", "sensitivity_tuned95", "specificity_tuned95"), threshold)
    called = (probability >= threshold.value).astype(np.int64)
    return {
        "threshold_tuned95": threshold,
        "sensitivity_tuned95": _recall(target, called, 1),
        "specificity_tuned95": _recall(target, called, 0),
    }


def _calibration(target: Ints, probability: Floats, only: Collection[str]) -> dict[str, Measured]:
    measures = {"ece": Measured(expected_calibration_error(target, probability)), "brier": Measured(brier_score(target, probability))}
    lines = ("calibration_slope", "calibration_intercept")
    if not set(lines) & set(only):
        return measures
    if np.unique(target).size < 2:
        return measures | dict.fromkeys(lines, Measured(None, "single_class"))
    found = (finite(values[0]) for values in calibration_lines(np.ones((1, target.size)), target, probability))
    return measures | {name: Measured(v, None if v is not None else "separable") for name, v in zip(lines, found, strict=True)}


def point_metrics(target: Ints, probability: Floats, threshold: Measured, only: Collection[str] | None = None) -> dict[str, Measured]:
    """Compute the classification metrics of these rows.

    Args:
        target: Shape (n,), n >= 1; 1 for melanoma, 0 for nevus.
        probability: Shape (n,), finite, 0..1.
        threshold: The operating threshold chosen on `tune` by :func:`tuned_threshold`.
        only: Names to compute; None for all.

    Returns:
        By name: roc_auc, pr_auc (average precision), pauc_tpr80 (0..0.2), sensitivity_at_specificity95 and
        back, accuracy, balanced_accuracy, f1, kappa, sensitivity and specificity at 0.5, sensitivity_tuned95 and specificity_tuned95 at the
        tune threshold, that threshold, ece (15 bins), brier, calibration_slope and calibration_intercept.
    """
    wanted = METRIC_NAMES if only is None else only
    if target.size == 0:
        return dict.fromkeys(wanted, Measured(None, "no_rows"))
    measures = {
        **_threshold_free(target, probability, wanted),
        **_at_half(target, probability, wanted),
        **_at_tuned(target, probability, threshold),
        **_calibration(target, probability, wanted),
    }
    return {name: measures[name] for name in wanted}


METRIC_NAMES: tuple[str, ...] = (
    "roc_auc",
    "pr_auc",
    "pauc_tpr80",
    "sensitivity_at_specificity95",
    "specificity_at_sensitivity95",
    "accuracy",
    "sensitivity",
    "specificity",
    "balanced_accuracy",
    "f1",
    "kappa",
    "threshold_tuned95",
    "sensitivity_tuned95",
    "specificity_tuned95",
    "ece",
    "brier",
    "calibration_slope",
    "calibration_intercept",
)
