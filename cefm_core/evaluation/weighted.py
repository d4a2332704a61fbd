"""The metrics once more, for a thousand weightings of the same rows at a time: what the bootstrap needs to be fast.

Each function takes weights of shape (resamples, n) and returns one value a resample, NaN where that resample leaves the
metric undefined. With weights of one they equal :mod:`cefm_core.evaluation.metrics`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from cefm_core.evaluation.calibration import BINS, bin_index, calibration_lines
from cefm_core.evaluation.metrics import METRIC_NAMES, OPERATING_SENSITIVITY, OPERATING_SPECIFICITY, PAUC_MIN_TPR
from cefm_core.evaluation.rows import Measured

Floats = NDArray[np.float64]
CHUNK_ELEMENTS = 2_000_000  # resamples x images held as floats at once: 16 MB an array
GRID = 2.0**30


def chunks(weights: NDArray[np.uint16]) -> Iterator[Floats]:
    """Yield consecutive blocks of resamples as floats, small enough to stay in memory whatever the number of images."""
    step = max(1, CHUNK_ELEMENTS // max(1, weights.shape[1]))
    for start in range(0, weights.shape[0], step):
        yield weights[start : start + step].astype(np.float64)


def on_grid(values: Floats) -> Floats:
    """Round to multiples of 2^-30 (an error below 5e-10).

    Weighted sums of such values are exact in double precision for up to some million images, so that they do not depend on the order
    in which a matrix product adds them, which changes with the number of threads.
    """
    return np.round(values * GRID) / GRID


class RankedScores:
    """Rows sorted by falling score, ready to be weighted.

    Args:
        target: Shape (n,), 0 or 1.
        score: Shape (n,), finite; only its order matters.
    """

    def __init__(self, target: NDArray[np.int64], score: Floats) -> None:
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        self.starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        self.positive = target[self.order].astype(np.float64)

    def curve(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return cumulated true and false positives, each of shape (resamples, distinct scores + 1), from the strictest threshold."""
        ranked = weights[:, self.order]
        hits = np.add.reduceat(ranked * self.positive, self.starts, axis=1)
        alarms = np.add.reduceat(ranked, self.starts, axis=1) - hits
        zero = np.zeros((weights.shape[0], 1))
        return np.hstack([zero, np.cumsum(hits, axis=1)]), np.hstack([zero, np.cumsum(alarms, axis=1)])


def concordant_pairs(tp: Floats, fp: Floats) -> Floats:
    """Weighted number of (melanoma, nevus) pairs in the right order, ties counting half; its share of all pairs is the AUC."""
    return np.sum(np.diff(fp, axis=1) * (tp[:, 1:] + tp[:, :-1]), axis=1) / 2


def roc_auc(tp: Floats, fp: Floats) -> Floats:
    """Area under the ROC curve of each resample."""
    return concordant_pairs(tp, fp) / (tp[:, -1] * fp[:, -1])


def average_precision(tp: Floats, fp: Floats) -> Floats:
    """Average precision of each resample."""
    called = tp[:, 1:] + fp[:, 1:]
    precision = np.divide(tp[:, 1:], called, out=np.zeros_like(called), where=called > 0)
    value = np.sum(np.diff(tp, axis=1) * precision, axis=1) / tp[:, -1]
    return np.where(fp[:, -1] > 0, value, np.nan)


def partial_auc(tp: Floats, fp: Floats, min_tpr: float = PAUC_MIN_TPR) -> Floats:
    """Area above a true positive rate of each resample, 0..(1 - min_tpr): the integral of 1 - FPR over TPR."""
    tpr, fpr = tp / tp[:, -1:], fp / fp[:, -1:]
    rise = np.diff(tpr, axis=1)
    start = np.maximum(tpr[:, :-1], min_tpr)
    height = np.maximum(tpr[:, 1:], min_tpr) - start
    share = np.divide(start - tpr[:, :-1], rise, out=np.zeros_like(rise), where=rise > 0)
    fpr_start = fpr[:, :-1] + share * np.diff(fpr, axis=1)
    return np.sum(height * (1 - (fpr_start + fpr[:, 1:]) / 2), axis=1)


def sensitivity_at_specificity(tp: Floats, fp: Floats, specificity: float = OPERATING_SPECIFICITY) -> Floats:
    """Highest sensitivity at which each resample keeps the specificity."""
    allowed = fp <= (1 - specificity + 1e-12) * fp[:, -1:]
    value = np.max(np.where(allowed, tp, 0.0), axis=1) / tp[:, -1]
    return np.where(fp[:, -1] > 0, value, np.nan)


def specificity_at_sensitivity(tp: Floats, fp: Floats, sensitivity: float = OPERATING_SENSITIVITY) -> Floats:
    """Highest specificity at which each resample keeps the sensitivity."""
    allowed = tp >= (sensitivity - 1e-12) * tp[:, -1:]
    value = 1 - np.min(np.where(allowed, fp, np.inf), axis=1) / fp[:, -1]
    return np.where(tp[:, -1] > 0, value, np.nan)


def _confusion(weights: Floats, target: NDArray[np.int64], called: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
    positive = target == 1
    cells = np.stack([positive & called, ~positive & called, ~positive & ~called, positive & ~called], axis=1)
    tp, fp, tn, fn = (weights @ cells.astype(np.float64)).T
    return tp, fp, tn, fn


def _at_half(weights: Floats, target: NDArray[np.int64], probability: Floats) -> dict[str, Floats]:
    tp, fp, tn, fn = _confusion(weights, target, probability >= 0.5)
    total = tp + fp + tn + fn
    both = np.where((tp + fn > 0) & (tn + fp > 0), 1.0, np.nan)
    sensitivity, specificity, accuracy = tp / (tp + fn), tn / (tn + fp), (tp + tn) / total
    chance = ((tp + fp) * (tp + fn) + (tn + fn) * (tn + fp)) / total**2
    return {
        "accuracy": accuracy,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "f1": both * 2 * tp / (2 * tp + fp + fn),
        "kappa": both * (accuracy - chance) / (1 - chance),
    }


CURVE_METRICS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "roc_auc": roc_auc,
    "pr_auc": average_precision,
    "pauc_tpr80": partial_auc,
    "sensitivity_at_specificity95": sensitivity_at_specificity,
    "specificity_at_sensitivity95": specificity_at_sensitivity,
}


def _chunk_metrics(
    weights: Floats, target: NDArray[np.int64], probability: Floats, threshold: Measured, ranked: RankedScores, only: Collection[str]
) -> dict[str, Floats]:
    tp, fp = ranked.curve(weights)
    values = {name: function(tp, fp) for name, function in CURVE_METRICS.items() if name in only}
    values |= _at_half(weights, target, probability)
    if threshold.value is not None:
        a, b, c, d = _confusion(weights, target, probability >= threshold.value)
        values |= {"sensitivity_tuned95": a / (a + d), "specificity_tuned95": c / (c + b)}
    total = weights.sum(axis=1)
    deviation = np.zeros((target.size, BINS))
    deviation[np.arange(target.size), bin_index(probability)] = on_grid(target - probability)
    values["ece"] = np.abs(weights @ deviation).sum(axis=1) / total
    values["brier"] = weights @ on_grid((target - probability) ** 2) / total
    if {"calibration_slope", "calibration_intercept"} & set(only):
        values["calibration_slope"], values["calibration_intercept"] = calibration_lines(weights, target, probability)
    return values


def resampled_metrics(
    weights: NDArray[np.uint16],
    target: NDArray[np.int64],
    probability: Floats,
    threshold: Measured,
    only: Collection[str] = METRIC_NAMES,
) -> dict[str, Floats]:
    """Compute the metrics of :func:`cefm_core.evaluation.metrics.point_metrics` for every resample.

    Args:
        weights: Shape (resamples, n), how often each row was drawn.
        target: Shape (n,), 0 or 1.
        probability: Shape (n,), 0..1.
        threshold: Operating threshold; without one the two tuned metrics are left out.
        only: Names to compute.

    Returns:
        By metric name, shape (resamples,), NaN where a resample leaves it undefined.
    """
    ranked = RankedScores(target, probability)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [_chunk_metrics(block, target, probability, threshold, ranked, only) for block in chunks(weights)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name in only}


def resampled_auc(weights: NDArray[np.uint16], target: NDArray[np.int64], score: Floats) -> Floats:
    """Compute the ROC AUC alone for every resample, NaN where it lacks a class."""
    ranked = RankedScores(target, score)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([roc_auc(*ranked.curve(block)) for block in chunks(weights)])


def resampled_mean(weights: NDArray[np.uint16], values: Floats, among: NDArray[np.bool_] | None = None) -> Floats:
    """Compute the mean of ``values`` over the drawn rows of every resample, NaN where none was drawn.

    Args:
        weights: Shape (resamples, n).
        values: Shape (n,), finite.
        among: Shape (n,), rows that count; None for all.
    """
    counted = np.ones(values.size) if among is None else among.astype(np.float64)
    both = np.stack([on_grid(values) * counted, counted], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([(sums := block @ both)[:, 0] / sums[:, 1] for block in chunks(weights)])
