"""How far an embedding lies from those of training: a Gaussian in the leading directions, one variance for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COMPONENTS = 32
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
        x = embeddings.astype(np.float64)
        along = x @ self.components.T
        beside = np.maximum((x**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.sqrt((along**2 / self.variance).sum(axis=1) + beside / self.residual)


def fit_novelty(train: np.ndarray, reference: np.ndarray) -> NoveltyModel:
    """Fit on training embeddings and set the limit on others.

    Args:
        train: Standardised embeddings (n, d).
        reference: Standardised embeddings that set the limit (those of tune); with none, those of train do.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        x = train.astype(np.float64)
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        count = max(1, min(COMPONENTS, len(x) // 4, x.shape[1] // 2))
        variance = np.maximum(values[::-1][:count], 1e-6)
        residual = max(float(values[::-1][count:].sum()), 1e-6)
        components = vectors[:, ::-1][:, :count].T
        # An eigenvector's sign is the library's whim; the largest entry decides it here.
        components *= np.sign(components[np.arange(count), np.abs(components).argmax(axis=1)])[:, None]
        unscaled = NoveltyModel(np.ascontiguousarray(components), variance, residual, 1.0)
        limit = float(np.quantile(unscaled._distances(reference if len(reference) else train), QUANTILE))
    return NoveltyModel(unscaled.components, variance, residual, max(limit, 1e-6))
