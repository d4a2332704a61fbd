"""A plain logistic regression on the frozen embedding: the honest baseline that every alignment has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
DEFAULT_STRENGTH = 1e-2
MAX_ITERATIONS = 300


@dataclass(frozen=True)
class LinearEnsemble:
    """One logistic regression a seed.

    Attributes:
        weight: float64 (seeds, d).
        bias: float64 (seeds,).
        strength: Inverse regularisation C, chosen by the log loss on tune.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """Return float64 (seeds, n) for standardised embeddings (n, d)."""
        return self.weight @ embeddings.astype(np.float64).T + self.bias[:, None]


def fit_linear(
    train: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
    groups: np.ndarray,
    tune: tuple[np.ndarray, np.ndarray],
    seeds: Sequence[int],
) -> tuple[LinearEnsemble, list[dict[str, Any]]]:
    """Fit the baseline: strength by tune, then one regression a seed.

    With several seeds each is fitted on a bootstrap resample of the training groups, so that their spread shows what the
    choice of images is worth; a single seed sees the images as they are.

    Args:
        train: Standardised embeddings (n, d) and labels (n,), both classes present.
        weights: float64 (n,), how much each training image counts.
        groups: int64 (n,), group of each training image.
        tune: The same of tune; without both classes the default strength stands.
        seeds: Seeds of the resamples.

    Returns:
        The ensemble and its rows of `training_log`.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        strength, tune_loss = _choose_strength(train, weights, tune)
        fitted = []
        for seed in seeds:
            rows = _resampled(train[1], groups, seed) if len(seeds) > 1 else np.arange(len(groups))
            fitted.append(_fit(train[0][rows], train[1][rows], weights[rows], strength))
    ensemble = LinearEnsemble(np.stack([w for w, _ in fitted]), np.array([b for _, b in fitted]), strength)
    row = {"model": "linear", "phase": "linear", "epoch": 1, "loss": None, "tune_loss": tune_loss, "kept": True, "skipped_batches": 0}
    return ensemble, [{**row, "seed": seed, "reason": "fitted_in_one_go"} for seed in seeds]


def _choose_strength(
    train: tuple[np.ndarray, np.ndarray], weights: np.ndarray, tune: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float | None]:
    if len(np.unique(tune[1])) < 2:
        return DEFAULT_STRENGTH, None
    losses = []
    for strength in STRENGTHS:
        weight, bias = _fit(*train, weights, strength)
        losses.append(log_loss(tune[0] @ weight + bias, tune[1]))
    best = int(np.argmin(losses))
    return STRENGTHS[best], float(losses[best])


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood, natural units, of labels 0/1 under logits."""
    return float(np.mean(np.logaddexp(0.0, np.where(labels == 1, -logits, logits))))


def _fit(embeddings: np.ndarray, labels: np.ndarray, weights: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(embeddings.astype(np.float64), labels, weights)
    return model.coef_[0], float(model.intercept_[0])


def _resampled(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Draw groups with replacement; the images as they are where a draw lacks a class."""
    codes = np.unique(groups, return_inverse=True)[1]
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    drawn = np.random.default_rng(seed).integers(0, len(members), len(members))
    rows = np.concatenate([members[i] for i in drawn])
    return rows if len(np.unique(labels[rows])) == 2 else np.arange(len(labels))
