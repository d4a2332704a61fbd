"""Does a probability of 0.3 mean three in ten? Reliability bins, expected calibration error and Brier score.

Fitting a calibration does not belong here: it is part of the model (``cefm_core/alignment``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of the reliability plot.

    Attributes:
        low: Lower edge, 0..1.
        high: Upper edge, 0..1.
        n: Images in the bin.
        mean_probability: Their mean predicted probability.
        observed: Share of melanomas among them.
        observed_low: Lower end of the 95 % Wilson interval of that share.
        observed_high: Upper end.
    """

    low: float
    high: float
    n: int
    mean_probability: float
    observed: float
    observed_low: float
    observed_high: float


def bin_index(probability: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """Return the bin (0..bins-1) of each probability; bins have equal width and own their lower edge."""
    return np.clip((probability * bins).astype(np.int64), 0, bins - 1)


def wilson_interval(successes: int, trials: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927); ``trials`` must be positive."""
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * float(np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def reliability_bins(target: NDArray[np.int64], probability: NDArray[np.float64], bins: int = BINS) -> list[ReliabilityBin]:
    """Return the non-empty bins of equal width, from low to high probability."""
    index = bin_index(probability, bins)
    result = []
    for b in np.unique(index):
        inside = index == b
        positives, n = int(target[inside].sum()), int(inside.sum())
        low, high = wilson_interval(positives, n)
        result.append(ReliabilityBin(b / bins, (b + 1) / bins, n, float(probability[inside].mean()), positives / n, low, high))
    return result


def expected_calibration_error(target: NDArray[np.int64], probability: NDArray[np.float64], bins: int = BINS) -> float:
    """Expected calibration error of the melanoma probability, 0..1 (Naeini et al. 2015), in bins of equal width.

    The mean over bins, weighted by their images, of the distance between mean probability and share of melanomas.
    """
    deviation = np.bincount(bin_index(probability, bins), weights=target - probability, minlength=bins)
    return float(np.abs(deviation).sum() / target.size)


def brier_score(target: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    """Mean squared distance between probability and label, 0..1 (Brier 1950)."""
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(target, probability, pos_label=1))
