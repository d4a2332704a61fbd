"""How embeddings become inputs of the models: standardised, then reduced to their principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NOVELTY_COMPONENTS = 32


@dataclass(frozen=True)
class EmbeddingScale:
    """Fitted on training images alone.

    Attributes:
        mean: float64 (d,).
        std: float64 (d,), 1 where a dimension never varies.
        components: float64 (k, d), orthonormal principal directions of the standardised embeddings, strongest first.
        kept: Number of components that enter the models; 0 = the standardised embedding enters whole.
        unit: Root mean variance of the kept components; what enters is divided by it.
    """

    mean: np.ndarray
    std: np.ndarray
    components: np.ndarray
    kept: int
    unit: float

    @classmethod
    def fit(cls, vectors: np.ndarray, components: int) -> EmbeddingScale:
        """Fit on the training embeddings float32 (n, d), keeping at most ``components`` directions (0 = the whole embedding)."""
        x = vectors.astype(np.float64)
        mean, std = x.mean(axis=0), x.std(axis=0)
        std = np.where(std > 1e-6, std, 1.0)
        x = (x - mean) / std
        kept = components if 0 < components < x.shape[1] else 0
        directions = _principal_directions(x, max(kept, NOVELTY_COMPONENTS))
        kept = min(kept, len(directions))
        unit = float(np.sqrt(np.mean((x @ directions[:kept].T) ** 2))) if kept else 1.0
        return cls(mean, std, directions, kept, max(unit, 1e-6))

    def standardise(self, vectors: np.ndarray) -> np.ndarray:
        """Return standardised embeddings, float64 (n, d)."""
        return (vectors.astype(np.float64) - self.mean) / self.std

    def reduce(self, standardised: np.ndarray) -> np.ndarray:
        """Return the models' inputs, float32 (n, width)."""
        if not self.kept:
            return standardised.astype(np.float32)
        # One row at a time in one order of sums: an image's input must not depend on its neighbours.
        rows = [self.components[: self.kept] @ row for row in standardised]
        return (np.asarray(rows).reshape(len(standardised), self.kept) / self.unit).astype(np.float32)

    @property
    def width(self) -> int:
        """Length of the models' inputs."""
        return self.kept or len(self.mean)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays that a checkpoint keeps."""
        shape = np.array([self.kept, self.unit])
        return {
            "embedding.mean": self.mean,
            "embedding.std": self.std,
            "embedding.components": self.components,
            "embedding.kept_unit": shape,
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> EmbeddingScale:
        """Inverse of :meth:`tensors`."""
        kept, unit = tensors["embedding.kept_unit"]
        return cls(tensors["embedding.mean"], tensors["embedding.std"], tensors["embedding.components"], int(kept), float(unit))


def _principal_directions(x: np.ndarray, count: int) -> np.ndarray:
    """Return the leading right singular vectors of (n, d), float64 (at most count, d), by a seeded randomised decomposition."""
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    count = max(1, min(count, len(x) // 2, x.shape[1] // 2))
    with threadpool_limits(1):
        return randomized_svd(x, count, n_iter=4, random_state=0, flip_sign=True)[2]
