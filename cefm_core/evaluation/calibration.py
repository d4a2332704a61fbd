"""Does a probability of 0.3 mean three in ten? Reliability bins, expected calibration error, calibration slope, Brier score.

Fitting a calibration does not belong here: it is part of the model (``cefm_core/alignment``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
_CHANCE_DRAWS = 1000
_CHANCE_ELEMENTS = 2_000_000  # draws x images held at once
_LEAST_PROBABILITY = 1e-6  # log odds are taken of nothing nearer to 0 or 1
_NEWTON_STEPS = 30


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


def calibration_error_by_chance(
    probability: NDArray[np.float64], bins: int = BINS, draws: int = _CHANCE_DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """What the expected calibration error comes to where every probability keeps its word (Broecker and Smith 2007).

    A sum of distances is above 0 on any finite number of images. Labels drawn from the probabilities themselves show how far.

    Args:
        probability: Shape (n,), n >= 1, 0..1.
        bins: Bins of equal width.
        draws: Sets of labels to draw.
        seed: Seed of the draws.

    Returns:
        Shape (draws,), 0..1.
    """
    rng = np.random.default_rng(seed)
    ranked = np.sort(probability)
    starts = np.unique(bin_index(ranked, bins), return_index=True)[1]
    step = max(1, _CHANCE_ELEMENTS // ranked.size)
    errors = []
    for start in range(0, draws, step):
        deviation = (rng.random((min(step, draws - start), ranked.size)) < ranked) - ranked
        errors.append(np.abs(np.add.reduceat(deviation, starts, axis=1)).sum(axis=1) / ranked.size)
    return np.concatenate(errors)


def log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds of probabilities, those of 0 and 1 being taken as 1e-6 from there."""
    from scipy.special import logit

    return np.asarray(logit(np.clip(probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)))


def calibration_lines(
    weights: NDArray[np.float64], target: NDArray[np.int64], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slope and intercept of calibration (Cox 1958; Van Calster et al. 2019), for many weightings of the same rows at a time.

    The slope is that of a logistic regression of the label on the predicted log odds: 1 where probabilities are as far apart as they
    should be, below 1 where they are too extreme. The intercept is fitted with the slope held at 1 (calibration in the large): 0 where
    melanoma is predicted as often as it is there, above 0 where it is predicted too seldom.

    Args:
        weights: Shape (resamples, n).
        target: Shape (n,), 0 or 1.
        probability: Shape (n,), 0..1.

    Returns:
        Slopes and intercepts, each of shape (resamples,), NaN where a resample lacks a class or no finite line fits it.
    """
    x = log_odds(probability)
    design = np.stack([np.ones_like(x), x], axis=1)
    both = _newton(weights, target, np.zeros_like(x), design)
    return both[:, 1], _newton(weights, target, x, design[:, :1])[:, 0]


def _newton(
    weights: NDArray[np.float64], target: NDArray[np.int64], offset: NDArray[np.float64], design: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit logistic regressions by Newton's method; shape (resamples, columns), NaN where it does not settle."""
    from scipy.special import expit

    columns = design.T
    beta = np.zeros((weights.shape[0], len(columns)))
    change = np.full_like(beta, np.inf)
    for _ in range(_NEWTON_STEPS):
        p = expit(offset + sum(beta[:, [j]] * x for j, x in enumerate(columns)))
        # Plain sums, no matrix products: the order of those changes with the number of threads.
        residual, spread = weights * (target - p), weights * p * (1 - p)
        gradient = np.stack([(residual * x).sum(axis=1) for x in columns], axis=1)
        curvature = np.stack([np.stack([(spread * x * y).sum(axis=1) for y in columns], axis=1) for x in columns], axis=1)
        solvable = np.abs(np.linalg.det(curvature)) > 1e-12
        change = np.full_like(beta, np.nan)
        change[solvable] = np.linalg.solve(curvature[solvable], gradient[solvable][..., None])[..., 0]
        beta = beta + change
        if not (np.abs(change) > 1e-9).any():
            break
    settled = np.abs(change).max(axis=1, keepdims=True) < 1e-6
    return np.where(settled, beta, np.nan)


def brier_score(target: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    """Mean squared distance between probability and label, 0..1 (Brier 1950)."""
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(target, probability, pos_label=1))
