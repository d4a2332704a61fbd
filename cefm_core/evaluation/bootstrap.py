"""Bootstrap by group: whole patients, lesions or duplicate groups are drawn, never single images of one.

Percentile intervals (Efron and Tibshirani 1993). One draw serves every metric, model and stratum of a split, so that differences
between them are paired.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cefm_core.evaluation.rows import Interval

MIN_GROUPS = 10  # with fewer, percentiles of resamples say nothing
MIN_DEFINED_SHARE = 0.95  # resamples that must define the metric


def group_codes(group_id: pd.Series, image_id: pd.Series) -> NDArray[np.int64]:
    """Number the groups; an image without a group is a group of its own."""
    known = group_id.notna() & (group_id.astype("string").fillna("") != "")
    names = ("g:" + group_id.astype("string")).where(known, "i:" + image_id.astype("string"))
    return pd.factorize(names, sort=True)[0].astype(np.int64)


def group_resamples(codes: NDArray[np.int64], samples: int, seed: int) -> NDArray[np.uint16]:
    """Draw as many groups as there are, with replacement, ``samples`` times.

    Args:
        codes: Shape (n,), group number of each row, 0..G-1.
        samples: Number of resamples.
        seed: Seed; the same rows and seed give the same draw.

    Returns:
        Shape (samples, n): how often each row was drawn.
    """
    groups = int(codes.max()) + 1 if codes.size else 0
    if groups == 0:
        return np.zeros((samples, 0), dtype=np.uint16)
    rng = np.random.default_rng(seed)
    counts = np.empty((samples, groups), dtype=np.uint16)
    for index in range(samples):
        counts[index] = np.bincount(rng.integers(0, groups, groups), minlength=groups)
    return counts[:, codes]


def percentile_interval(values: NDArray[np.float64], groups: int, biased_from: float | None = None) -> Interval:
    """Return the 2.5th and 97.5th percentile of the resamples, or the reason why they would mislead.

    Args:
        values: Shape (resamples,), NaN where a resample left the metric undefined.
        groups: Number of groups that were drawn from.
        biased_from: For a metric that resampling inflates (the calibration error, a sum of distances): its value on the rows. The
            resamples are then shifted down by their mean excess over it, and the interval is cut off at 0.
    """
    defined = values[np.isfinite(values)]
    if groups < MIN_GROUPS or defined.size < MIN_DEFINED_SHARE * values.size:
        return Interval(None, None, "too_few")
    low, high = np.percentile(defined, [2.5, 97.5])
    if defined.max() - defined.min() < 1e-12:
        return Interval(None, None, "no_spread")
    if biased_from is not None:
        excess = float(defined.mean()) - biased_from
        low, high = max(0.0, low - excess), max(0.0, high - excess)
    return Interval(float(low), float(high))
