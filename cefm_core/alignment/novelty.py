"""How far an embedding lies from those of training: a Gaussian in the leading directions, one variance for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cefm_core.alignment.embedding_scale import NOVELTY_COMPONENTS

QUANTILE = 0.995


@dataclass(frozen=True)
class NoveltyModel:
    """Probabilistic principal components of the standardised training embeddings (Tipping & Bishop 1999).

    Attributes:
        components: float64 (c, d), orthonormal rows.
        variance: float64 (c,), variance along each.
        residual: Mean squared length of what the components leave.
        limit: Distance that 99.5 % of the reference images stay within.
    """

    components: np.ndarray
    variance: np.ndarray
    residual: float
    limit: float

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the distance over its limit, float64 (n,), for standardised embeddings (n, d)."""
        return self._distances(embeddings) / self.limit

    def _distances(self, embeddings: np.ndarray) -> np.ndarray:
        along = embeddings @ self.components.T
        beside = np.maximum((embeddings**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.sqrt((along**2 / self.variance).sum(axis=1) + beside / self.residual)


def fit_novelty(components: np.ndarray, train: np.ndarray, reference: np.ndarray) -> NoveltyModel:
    """Fit on training embeddings and set the limit on others.

    Args:
        components: Principal directions (k, d), strongest first; the first 32 at most are used.
        train: Standardised embeddings, float64 (n, d).
        reference: Standardised embeddings that set the limit (those of tune); with none, those of train do.
    """
    used = components[:NOVELTY_COMPONENTS]
    along = train @ used.T
    variance = np.maximum((along**2).mean(axis=0), 1e-6)
    residual = max(float(((train**2).sum(axis=1) - (along**2).sum(axis=1)).mean()), 1e-6)
    unscaled = NoveltyModel(used, variance, residual, 1.0)
    limit = float(np.quantile(unscaled._distances(reference if len(reference) else train), QUANTILE))
    return NoveltyModel(used, variance, residual, max(limit, 1e-6))
