"""DeLong's test: is one AUC really above the other, on the same images?

DeLong, DeLong and Clarke-Pearson 1988, with the mid-rank form of Sun and Xu 2014. It takes images as independent; where groups
hold several images, the paired bootstrap interval of the difference is the one to trust.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class DelongResult:
    """AUCs of two scores and the test of their difference.

    Attributes:
        auc_a: AUC of the first score.
        auc_b: AUC of the second.
        standard_error: Standard error of ``auc_a - auc_b``; 0 where both order the images alike.
        p_value: Two-sided p, or None where the standard error is 0 or a class has fewer than two images.
    """

    auc_a: float
    auc_b: float
    standard_error: float
    p_value: float | None


def _components(target: NDArray[np.int64], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, for each score, the placement of every melanoma among the nevi and of every nevus among the melanomas."""
    positive, negative = scores[:, target == 1], scores[:, target == 0]
    m, n = positive.shape[1], negative.shape[1]
    ranks = stats.rankdata(np.hstack([positive, negative]), axis=1)
    within_positive, within_negative = stats.rankdata(positive, axis=1), stats.rankdata(negative, axis=1)
    return (ranks[:, :m] - within_positive) / n, 1 - (ranks[:, m:] - within_negative) / m


def delong_interval(target: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return the AUC of a score and the half of its 95 % interval.

    Args:
        target: Shape (n,), 0 or 1; at least two of either.
        scores: Shape (n,).
    """
    v10, v01 = (part[0] for part in _components(target.astype(np.int64), scores[None].astype(np.float64)))
    return float(v10.mean()), float(1.96 * np.sqrt(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)))


def delong_test(target: NDArray[np.int64], score_a: NDArray[np.float64], score_b: NDArray[np.float64]) -> DelongResult:
    """Compare the AUCs of two scores on the same rows.

    Args:
        target: Shape (n,), 0 or 1, both present.
        score_a: Shape (n,).
        score_b: Shape (n,).
    """
    v10, v01 = _components(target, np.stack([score_a, score_b]).astype(np.float64))
    auc_a, auc_b = (float(a) for a in v10.mean(axis=1))
    m, n = v10.shape[1], v01.shape[1]
    if min(m, n) < 2:
        return DelongResult(auc_a, auc_b, 0.0, None)
    covariance = np.cov(v10) / m + np.cov(v01) / n
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = float(np.sqrt(max(variance, 0.0)))
    if error < 1e-12:
        return DelongResult(auc_a, auc_b, 0.0, None)
    return DelongResult(auc_a, auc_b, error, float(2 * stats.norm.sf(abs(auc_a - auc_b) / error)))
