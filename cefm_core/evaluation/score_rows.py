"""Metric rows of one cohort: every model, every stratum, comparisons between models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cefm_core.evaluation.bootstrap import percentile_interval
from cefm_core.evaluation.calibration import calibration_error_by_chance
from cefm_core.evaluation.delong import delong_test
from cefm_core.evaluation.frame import Cohort
from cefm_core.evaluation.metrics import METRIC_NAMES, point_metrics
from cefm_core.evaluation.rows import NO_INTERVAL, Interval, Measured, metric_row
from cefm_core.evaluation.weighted import resampled_auc, resampled_metrics

Rows = list[dict[str, Any]]
STRATUM_METRICS = ("roc_auc", "pr_auc", "sensitivity", "specificity", "sensitivity_tuned95", "specificity_tuned95", "ece")
MIN_MODEL_CLASS = 2  # melanomas and nevi below which even a difference of AUCs says nothing


def group_count(codes: NDArray[np.int64]) -> int:
    """Number of distinct groups among these rows."""
    return int(np.unique(codes).size)


def metric_interval(name: str, point: Measured, samples: dict[str, NDArray[np.float64]], groups: int) -> Interval:
    """Return the interval of one metric from its resamples; `no_interval` for one that is not resampled."""
    if name not in samples:
        return NO_INTERVAL
    return percentile_interval(samples[name], groups, point.value if name == "ece" else None)


def with_chance(rows: Rows, probability: NDArray[np.float64]) -> Rows:
    """Put next to the calibration error what it would be, on as many images, by chance alone: the mean, and 95 % of the draws."""
    made: Rows = []
    for row in rows:
        made.append(row)
        if row["metric"] == "ece":
            chance = Measured(None, row["reason"])
            spread = NO_INTERVAL
            if row["value"] is not None:
                errors = calibration_error_by_chance(probability)
                chance = Measured(float(errors.mean()))
                low, high = np.percentile(errors, [2.5, 97.5])
                spread = Interval(float(low), float(high))
            counts = {name: row[name] for name in ("n", "n_positive", "stratum")}
            made.append(metric_row(row["model"], row["split"], "ece_by_chance", chance, interval=spread, **counts))
    return made


def model_rows(cohort: Cohort, model: str, column: str, threshold: Measured) -> Rows:
    """Every metric of one model on the rows of a cohort that it scored, with intervals."""
    cohort = cohort.scored_by(column)
    probability = cohort.scores(column)
    points = point_metrics(cohort.target, probability, threshold)
    samples = resampled_metrics(cohort.weights, cohort.target, probability, threshold) if cohort.n else {}
    groups = group_count(cohort.codes)
    rows = [
        metric_row(
            model,
            cohort.split,
            name,
            points[name],
            n=cohort.n,
            n_positive=cohort.n_positive,
            interval=metric_interval(name, points[name], samples, groups),
        )
        for name in METRIC_NAMES
    ]
    return with_chance(rows, probability)


def _stratum_row(
    cohort: Cohort, inside: NDArray[np.bool_], model: str, stratum: str, metric: str, measured: Measured, interval: Interval
) -> dict[str, Any]:
    target = cohort.target[inside]
    return metric_row(
        model, cohort.split, metric, measured, n=target.size, n_positive=int(target.sum()), interval=interval, stratum=stratum
    )


def enough(target: NDArray[np.int64], minimum: int) -> bool:
    """Whether either class has at least so many images."""
    positives = int(target.sum())
    return min(positives, target.size - positives) >= minimum


def stratum_rows(
    cohort: Cohort, model: str, column: str, threshold: Measured, stratum: str, inside: NDArray[np.bool_], minimum: int
) -> Rows:
    """Metrics of one stratum and the gap of its AUC to the rest of the cohort.

    Args:
        cohort: The cohort.
        model: Name of the model.
        column: Its column.
        threshold: Operating threshold from `tune`.
        stratum: Name, ``family=value``.
        inside: Shape (n,), rows that belong to it.
        minimum: Fewest images of either class; below, every value is ``too_few``.
    """
    if not enough(cohort.target[inside], minimum):
        absent = Measured(None, "too_few")
        names = (*STRATUM_METRICS, "ece_by_chance", "roc_auc_gap")
        return [_stratum_row(cohort, inside, model, stratum, name, absent, NO_INTERVAL) for name in names]
    score, weights = cohort.scores(column), cohort.weights
    points = point_metrics(cohort.target[inside], score[inside], threshold, STRATUM_METRICS)
    samples = resampled_metrics(weights[:, inside], cohort.target[inside], score[inside], threshold, STRATUM_METRICS)
    groups = group_count(cohort.codes[inside])
    rows = []
    for name in STRATUM_METRICS:
        interval = metric_interval(name, points[name], samples, groups)
        rows.append(_stratum_row(cohort, inside, model, stratum, name, points[name], interval))
    rows = with_chance(rows, score[inside])
    rest = ~inside
    gap, interval = Measured(None, "too_few"), NO_INTERVAL
    auc = points["roc_auc"].value
    if enough(cohort.target[rest], minimum) and auc is not None:
        other = point_metrics(cohort.target[rest], score[rest], threshold, ("roc_auc",))["roc_auc"].value
        gap = Measured(None, "single_class") if other is None else Measured(auc - other)
        difference = samples["roc_auc"] - resampled_auc(weights[:, rest], cohort.target[rest], score[rest])
        interval = percentile_interval(difference, group_count(cohort.codes))
    rows.append(_stratum_row(cohort, inside, model, stratum, "roc_auc_gap", gap, interval))
    return rows


def comparison_rows(cohort: Cohort, models: dict[str, str]) -> Rows:
    """Difference of AUC between the first model and each other one, with the paired bootstrap interval and DeLong's p,
    on the rows that both scored.
    """
    names = list(models)
    rows: Rows = []
    whole = cohort
    for other in names[1:]:
        cohort = whole.scored_by(models[other])
        label = f"{names[0]}_minus_{other}"
        counts: dict[str, Any] = {"n": cohort.n, "n_positive": cohort.n_positive}
        if not enough(cohort.target, MIN_MODEL_CLASS):
            reason = "single_class" if np.unique(cohort.target).size < 2 else "too_few"
            absent = Measured(None, reason if cohort.n else "no_rows")
            rows += [metric_row(label, cohort.split, m, absent, **counts) for m in ("roc_auc_difference", "delong_p")]
            continue
        a, b = cohort.scores(models[names[0]]), cohort.scores(models[other])
        test = delong_test(cohort.target, a, b)
        difference = resampled_auc(cohort.weights, cohort.target, a) - resampled_auc(cohort.weights, cohort.target, b)
        interval = percentile_interval(difference, group_count(cohort.codes))
        p_value = Measured(test.p_value, None if test.p_value is not None else "no_spread")
        rows.append(metric_row(label, cohort.split, "roc_auc_difference", Measured(test.auc_a - test.auc_b), interval=interval, **counts))
        rows.append(metric_row(label, cohort.split, "delong_p", p_value, **counts))
    return rows
