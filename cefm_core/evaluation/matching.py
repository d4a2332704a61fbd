"""The score that remains when source can no longer help: AUC over pairs of a melanoma and a nevus from the same source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cefm_core.evaluation.weighted import RankedScores, chunks, concordant_pairs


@dataclass(frozen=True)
class MatchedAuc:
    """AUC within sources.

    Attributes:
        value: Share of same-source pairs in the right order, ties counting half; None where there is no such pair.
        samples: Shape (resamples,), the same for every resample, NaN where it has no pair.
        covered_share: Share of melanomas whose source also holds a nevus, 0..1.
    """

    value: float | None
    samples: NDArray[np.float64]
    covered_share: float


def _pairs(weights: NDArray[np.float64], target: NDArray[np.int64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted number of concordant and of all pairs, shape (2, resamples)."""
    tp, fp = RankedScores(target, score).curve(weights)
    return np.stack([concordant_pairs(tp, fp), tp[:, -1] * fp[:, -1]])


def matched_auc(
    target: NDArray[np.int64], score: NDArray[np.float64], source: NDArray[np.object_], weights: NDArray[np.uint16]
) -> MatchedAuc:
    """Compute the AUC over all pairs of one melanoma and one nevus of the same source.

    Args:
        target: Shape (n,), 0 or 1.
        score: Shape (n,).
        source: Shape (n,), names; None is a source of its own.
        weights: Shape (resamples, n).
    """
    point, totals, covered = np.zeros((2, 1)), np.zeros((2, weights.shape[0])), 0
    names = np.array(["" if s is None or s != s else str(s) for s in source])
    for name in np.unique(names):
        inside = names == name
        positives = int(target[inside].sum())
        if positives in (0, int(inside.sum())):
            continue
        covered += positives
        point += _pairs(np.ones((1, int(inside.sum()))), target[inside], score[inside])
        totals += np.hstack([_pairs(block, target[inside], score[inside]) for block in chunks(weights[:, inside])])
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = totals[0] / totals[1]
    value = float(point[0, 0] / point[1, 0]) if point[1, 0] else None
    return MatchedAuc(value, samples, covered / max(1, int(target.sum())))
