"""How well the masks match the reference masks: mean Dice and Jaccard per image, coarse and refined, by split and source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cefm_core.evaluation.bootstrap import group_codes, group_resamples, percentile_interval
from cefm_core.evaluation.rows import Interval, Measured, metric_row
from cefm_core.evaluation.score_rows import group_count
from cefm_core.evaluation.weighted import resampled_mean

MASKS = {"coarse_mask": "coarse", "refined_mask": "refined"}
SPLITS = ("val", "test", "external", "tune", "train")


def _mean(values: NDArray[np.float64], weights: NDArray[np.uint16], codes: NDArray[np.int64]) -> tuple[Measured, Interval]:
    """Return the mean over images, the ISIC convention, with its interval by group."""
    return Measured(float(values.mean())), percentile_interval(resampled_mean(weights, values), group_count(codes))


def _split_rows(rows: pd.DataFrame, split: str, minimum: int, samples: int, seed: int) -> list[dict[str, Any]]:
    codes = group_codes(rows["group_id"], rows["image_id"])
    weights = group_resamples(codes, samples, seed)
    strata = [("all", np.ones(len(rows), dtype=bool))]
    sources = sorted(rows["source"].dropna().astype(str).unique())
    strata += [(f"source={s}", (rows["source"].astype("string") == s).fillna(False).to_numpy(dtype=bool)) for s in sources]
    result = []
    for mask, prefix in MASKS.items():
        for metric in ("dice", "jaccard"):
            column = f"{prefix}.reference_{metric}"
            if column not in rows.columns:
                continue
            values = pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype=np.float64)
            for stratum, inside in strata:
                known = inside & np.isfinite(values)
                if not known.any():
                    continue
                n = int(known.sum())
                measured, interval = Measured(None, "too_few"), Interval(None, None, "too_few")
                if stratum == "all" or n >= minimum:
                    measured, interval = _mean(values[known], weights[:, known], codes[known])
                row = metric_row(mask, split, f"mean_{metric}", measured, n=n, n_positive=None, interval=interval, stratum=stratum)
                result.append(row)
    return result + _gain_row(rows, split, weights, codes)


def _gain_row(rows: pd.DataFrame, split: str, weights: NDArray[np.uint16], codes: NDArray[np.int64]) -> list[dict[str, Any]]:
    """What refinement brought: mean of refined less coarse Dice on the images that have both."""
    if not {"coarse.reference_dice", "refined.reference_dice"} <= set(rows.columns):
        return []
    gain = (pd.to_numeric(rows["refined.reference_dice"]) - pd.to_numeric(rows["coarse.reference_dice"])).to_numpy(dtype=np.float64)
    known = np.isfinite(gain)
    if not known.any():
        return []
    measured, interval = _mean(gain[known], weights[:, known], codes[known])
    n = int(known.sum())
    return [metric_row("refined_mask_minus_coarse_mask", split, "mean_dice_difference", measured, n=n, n_positive=None, interval=interval)]


def segmentation_rows(frame: pd.DataFrame, minimum: int, samples: int, seed: int) -> list[dict[str, Any]]:
    """Summarise the Dice and Jaccard columns of both mask tables.

    Args:
        frame: Rows of :func:`cefm_core.evaluation.frame.assemble_frame` for every image of the manifest, labelled or not.
        minimum: Fewest images of a source for a mean.
        samples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        Rows of the metrics table; none where no image has a reference mask.
    """
    columns = [c for c in ("coarse.reference_dice", "refined.reference_dice") if c in frame.columns]
    if not columns:
        return []
    measured = frame[frame[columns].notna().any(axis=1)]
    result: list[dict[str, Any]] = []
    for split in SPLITS:
        rows = measured[measured["split"] == split].reset_index(drop=True)
        if len(rows):
            result += _split_rows(rows, split, minimum, samples, seed)
    return result
