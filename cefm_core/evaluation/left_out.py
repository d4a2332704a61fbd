"""The score across collections: every source scored by models that were trained on all the others.

A score on held-out images of a source that training knew says how well that source was learnt. This one says what to expect of the
next source. Training itself lies in :mod:`cefm_core.alignment.left_out`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cefm_core.config import EvaluationConfig
from cefm_core.evaluation.bootstrap import group_codes, group_resamples, percentile_interval
from cefm_core.evaluation.frame import COMBINED, Cohort
from cefm_core.evaluation.metrics import point_metrics
from cefm_core.evaluation.rows import NO_INTERVAL, Interval, Measured, find_row, format_value, metric_row
from cefm_core.evaluation.score_rows import Rows, enough, group_count, metric_interval, with_chance
from cefm_core.evaluation.weighted import resampled_auc, resampled_metrics

COLUMN, SPLIT = "p_left_out", "left_out"
METRICS = (
    "roc_auc",
    "pr_auc",
    "pauc_tpr80",
    "sensitivity_at_specificity95",
    "sensitivity",
    "specificity",
    "balanced_accuracy",
    "ece",
    "brier",
    "calibration_slope",
    "calibration_intercept",
)
_NO_THRESHOLD = Measured(None, "no_tune_threshold")


def left_out_cohorts(frame: pd.DataFrame, samples: int, seed: int) -> dict[str, Cohort]:
    """Return, by source, its labelled images of every split that models of the other sources have scored."""
    if COLUMN not in frame.columns:
        return {}
    score = pd.to_numeric(frame[COLUMN], errors="coerce").to_numpy(dtype=np.float64)
    labelled = frame[np.isfinite(score) & frame["target"].isin([0, 1]).to_numpy() & frame["source"].notna().to_numpy()]
    cohorts = {}
    for source in sorted(labelled["source"].astype(str).unique()):
        rows = labelled[labelled["source"].astype(str) == source].reset_index(drop=True)
        codes = group_codes(rows["group_id"], rows["image_id"])
        target = rows["target"].to_numpy(dtype=np.int64)
        cohorts[source] = Cohort(SPLIT, rows, target, codes, group_resamples(codes, samples, seed), 0, 0)
    return cohorts


def _row(cohort: Cohort, source: str, metric: str, measured: Measured, interval: Interval = NO_INTERVAL) -> dict[str, Any]:
    counts: dict[str, Any] = {"n": cohort.n, "n_positive": cohort.n_positive}
    return metric_row(COMBINED, SPLIT, metric, measured, interval=interval, stratum=f"source={source}", **counts)


def _source_rows(cohort: Cohort, source: str, minimum: int) -> Rows:
    if not enough(cohort.target, minimum):
        return [_row(cohort, source, name, Measured(None, "too_few")) for name in (*METRICS, "ece_by_chance")]
    score = cohort.scores(COLUMN)
    points = point_metrics(cohort.target, score, _NO_THRESHOLD, METRICS)
    samples = resampled_metrics(cohort.weights, cohort.target, score, _NO_THRESHOLD, METRICS)
    groups = group_count(cohort.codes)
    rows = [_row(cohort, source, name, points[name], metric_interval(name, points[name], samples, groups)) for name in METRICS]
    return with_chance(rows, score)


def _mean_row(cohorts: dict[str, Cohort], rows: Rows, minimum: int) -> dict[str, Any]:
    """Mean AUC over the sources that are large enough, each counting the same; each is resampled inside itself."""
    judged = {s: c for s, c in cohorts.items() if enough(c.target, minimum)}
    counts: dict[str, Any] = {"n": sum(c.n for c in judged.values()), "n_positive": sum(c.n_positive for c in judged.values())}
    if not judged:
        return metric_row(COMBINED, SPLIT, "mean_roc_auc", Measured(None, "too_few"), **counts)
    values = [row["value"] for s in judged if (row := find_row(rows, COMBINED, SPLIT, "roc_auc", f"source={s}")) is not None]
    samples = np.mean([resampled_auc(c.weights, c.target, c.scores(COLUMN)) for c in judged.values()], axis=0)
    interval = percentile_interval(samples, min(group_count(c.codes) for c in judged.values()))
    return metric_row(COMBINED, SPLIT, "mean_roc_auc", Measured(float(np.mean(values))), interval=interval, **counts)


def left_out_rows(frame: pd.DataFrame, config: EvaluationConfig) -> Rows:
    """Score every left-out source, and take their mean.

    Args:
        frame: Rows of :func:`cefm_core.evaluation.frame.assemble_frame` with ``p_left_out``.
        config: Settings; a source with fewer than ``min_stratum`` melanomas or nevi says ``too_few`` and enters no mean.

    Returns:
        Rows of split ``left_out``; none where no image has such a probability.
    """
    cohorts = left_out_cohorts(frame, config.bootstrap_samples, config.bootstrap_seed)
    if not cohorts:
        return []
    rows = [row for source, cohort in cohorts.items() for row in _source_rows(cohort, source, config.min_stratum)]
    return [_mean_row(cohorts, rows, config.min_stratum), *rows]


def left_out_line(rows: Rows) -> list[str]:
    """Write the sentence of the summary; none where nothing was judged."""
    mean = find_row(rows, COMBINED, SPLIT, "mean_roc_auc")
    if mean is None or mean["value"] is None:
        return []
    judged = [r for r in rows if r["split"] == SPLIT and r["metric"] == "roc_auc" and r["value"] is not None]
    least = min(judged, key=lambda row: row["value"])
    return [
        f"Trained without a source and scored on it: mean AUC {format_value(mean)} over {len(judged)} sources, "
        f"least {least['value']:.3f} on {least['stratum'].removeprefix('source=')} ({mean['n']} images)."
    ]
