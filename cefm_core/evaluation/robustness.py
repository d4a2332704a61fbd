"""How much of a score survives a worse photograph, and whether the model notices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cefm_core.evaluation.bootstrap import group_codes, group_resamples, percentile_interval
from cefm_core.evaluation.corruption import CORRUPTIONS
from cefm_core.evaluation.markdown import table
from cefm_core.evaluation.rows import Interval, Measured, format_value, metric_row
from cefm_core.evaluation.score_rows import group_count
from cefm_core.evaluation.weighted import resampled_auc, resampled_mean

CLEAN, FOREIGN = "as it is", "not a dermoscopic image"
SPLIT = "corrupted"
Rows = list[dict[str, Any]]


def robustness_rows(scored: pd.DataFrame, samples: int, seed: int) -> Rows:
    """Score every corruption on the same images as the clean ones.

    Args:
        scored: Columns image_id, group_id, target (0, 1 or NaN), corruption (``CLEAN``, a key of ``CORRUPTIONS``, or ``FOREIGN``),
            p_melanoma, ood_score, abstain.
        samples: Bootstrap resamples by group.
        seed: Their seed.

    Returns:
        Rows of the metrics table, split ``corrupted``, stratum ``corruption=<name>``: ``roc_auc``, ``roc_auc_drop`` (clean less
        corrupted, paired), ``mean_shift`` (mean absolute change of the probability), ``abstain_share`` and
        ``out_of_distribution_share``; for foreign pictures the last two alone.
    """
    labelled = scored[scored["target"].isin([0, 1]) & scored["p_melanoma"].notna()]
    names = [name for name in (CLEAN, *CORRUPTIONS) if (labelled["corruption"] == name).any()]
    wide = {name: labelled[labelled["corruption"] == name].drop_duplicates("image_id").set_index("image_id") for name in names}
    shared = sorted(set.intersection(*(set(frame.index) for frame in wide.values()))) if CLEAN in wide else []
    rows: Rows = []
    if shared:
        clean = wide[CLEAN].loc[shared]
        codes = group_codes(clean["group_id"].reset_index(drop=True), pd.Series(shared))
        weights = group_resamples(codes, samples, seed)
        for name in names:
            rows += _rows_of(name, wide[name].loc[shared], clean, weights, codes)
    foreign = scored[scored["corruption"] == FOREIGN]
    if len(foreign):
        rows += _foreign_rows(foreign)
    return rows


def _rows_of(name: str, frame: pd.DataFrame, clean: pd.DataFrame, weights: NDArray[np.uint16], codes: NDArray[np.int64]) -> Rows:
    from sklearn.metrics import roc_auc_score

    target = clean["target"].to_numpy(dtype=np.int64)
    before, after = (f["p_melanoma"].to_numpy(dtype=np.float64) for f in (clean, frame))
    drawn = [resampled_auc(weights, target, p) for p in (before, after)]
    moved, declined = np.abs(after - before), frame["abstain"].to_numpy(dtype=np.float64)
    strange = (frame["ood_score"].to_numpy(dtype=np.float64) > 1).astype(np.float64)
    auc = [float(roc_auc_score(target, p)) for p in (before, after)]
    values: dict[str, tuple[float, NDArray[np.float64]]] = {
        "roc_auc": (auc[1], drawn[1]),
        "roc_auc_drop": (auc[0] - auc[1], drawn[0] - drawn[1]),
        "mean_shift": (float(moved.mean()), resampled_mean(weights, moved)),
        "abstain_share": (float(declined.mean()), resampled_mean(weights, declined)),
        "out_of_distribution_share": (float(strange.mean()), resampled_mean(weights, strange)),
    }
    groups = group_count(codes)
    return [
        _row(name, metric, value, len(target), int(target.sum()), percentile_interval(samples, groups))
        for metric, (value, samples) in values.items()
    ]


def _foreign_rows(frame: pd.DataFrame) -> Rows:
    none = Interval(None, None, "too_few")
    shares = {
        "abstain_share": float(frame["abstain"].mean()),
        "out_of_distribution_share": float((frame["ood_score"].to_numpy(dtype=np.float64) > 1).mean()),
    }
    return [_row(FOREIGN, metric, value, len(frame), None, none) for metric, value in shares.items()]


def _row(name: str, metric: str, value: float, n: int, n_positive: int | None, interval: Interval) -> dict[str, Any]:
    stratum = f"corruption={name}"
    return metric_row("combined", SPLIT, metric, Measured(value), n=n, n_positive=n_positive, interval=interval, stratum=stratum)


def robustness_page(rows: Rows) -> str:
    """Write the table: a corruption a line, with intervals."""
    metrics = ("roc_auc", "roc_auc_drop", "mean_shift", "abstain_share", "out_of_distribution_share")
    found = {(r["stratum"], r["metric"]): r for r in rows}
    lines = []
    for stratum in dict.fromkeys(r["stratum"] for r in rows):
        cells = [format_value(found[stratum, m], 2) if (stratum, m) in found else "-" for m in metrics]
        first = next(r for r in rows if r["stratum"] == stratum)
        lines.append([stratum.removeprefix("corruption="), first["n"], *cells])
    header = ["corruption", "images", "AUC", "AUC lost", "mean change of the probability", "abstains", "out of distribution"]
    return table(header, lines)
