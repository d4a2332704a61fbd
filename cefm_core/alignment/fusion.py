"""Putting models together and calibrating the result, all on `tune` alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cefm_core.alignment.linear import log_loss

CANDIDATES: dict[str, tuple[str, ...]] = {
    "image": ("image",),
    "clinical": ("clinical",),
    "linear": ("linear",),
    "image+clinical": ("image", "clinical"),
    "linear+clinical": ("linear", "clinical"),
    "image+clinical+linear": ("image", "clinical", "linear"),
}
MIN_LABELS, MIN_PER_CLASS, FOLDS = 20, 5, 5
RIDGE = 1.0


@dataclass(frozen=True)
class Blend:
    """A weighted sum of model logits: temperature, weights and prior in one.

    Attributes:
        models: Models that enter.
        weight: Factor of each model's logit; for a single model this is one over its temperature.
        bias: Added to the sum; mends the prior that balanced class weights have shifted.
        fitted: False where tune had too few labels, and plain averaging stands in.
    """

    models: tuple[str, ...]
    weight: tuple[float, ...]
    bias: float
    fitted: bool

    def logits(self, by_model: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the blended logits for arrays of any one shape."""
        return sum((w * by_model[m] for m, w in zip(self.models, self.weight, strict=True)), np.zeros(())) + self.bias

    def as_facts(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"models": list(self.models), "weight": list(self.weight), "bias": self.bias, "fitted": self.fitted}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Blend:
        """Inverse of :meth:`as_facts`."""
        return cls(tuple(facts["models"]), tuple(facts["weight"]), facts["bias"], facts["fitted"])


def fit_blend(models: tuple[str, ...], by_model: Mapping[str, np.ndarray], labels: np.ndarray) -> Blend:
    """Fit weights and bias by penalised maximum likelihood (Platt scaling where it is one model).

    The penalty (``RIDGE``/2 times the squared distance of the weights from equal shares) keeps a few labels from
    turning a model around.

    Args:
        models: Models that enter.
        by_model: Logits float64 (n,) of each.
        labels: int (n,), 0 or 1.
    """
    from scipy.optimize import minimize

    x, start = np.stack([by_model[m] for m in models], axis=1), np.full(len(models), 1 / len(models))
    if not enough_labels(labels):
        return Blend(models, tuple(start.tolist()), 0.0, False)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = parameters[:-1], parameters[-1]
        logits = x @ weight + bias
        residual = 1 / (1 + np.exp(-logits)) - labels
        value = log_loss(logits, labels) * len(labels) + RIDGE / 2 * float(np.sum((weight - start) ** 2))
        return value, np.append(x.T @ residual + RIDGE * (weight - start), residual.sum())

    found = minimize(objective, np.append(start, 0.0), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(models) + [(None, None)])
    return Blend(models, tuple(float(w) for w in found.x[:-1]), float(found.x[-1]), True)


def enough_labels(labels: np.ndarray) -> bool:
    """Return whether tune can carry a fit: 20 labels, 5 of either class."""
    counts = np.bincount(labels, minlength=2)
    return bool(counts.sum() >= MIN_LABELS and counts.min() >= MIN_PER_CLASS)


def choose_blend(by_model: Mapping[str, np.ndarray], labels: np.ndarray, groups: np.ndarray) -> tuple[str, dict[str, float]]:
    """Choose which models make the prediction, by log loss on tune folds that no blend was fitted on.

    The fullest candidate is taken that is not worse than the best by more than one standard error of their paired difference: on a
    few hundred images the losses of single models differ by chance, while a blend loses little where one of its models fails.

    Args:
        by_model: Logits float64 (n,) of the models there are.
        labels: int (n,).
        groups: int (n,); a group never crosses folds.

    Returns:
        Name of the chosen candidate, and the log loss of each; with too few labels, everything there is and no losses.
    """
    names = [name for name, models in CANDIDATES.items() if all(m in by_model for m in models)]
    if not enough_labels(labels):
        return names[-1], {}
    folds = folds_of(groups)
    cross_fitted = {name: cross_fit(CANDIDATES[name], by_model, labels, folds) for name in names}
    per_image = {name: np.logaddexp(0.0, np.where(labels == 1, -logits, logits)) for name, logits in cross_fitted.items()}
    losses = {name: float(values.mean()) for name, values in per_image.items()}
    best = min(losses, key=lambda name: losses[name])
    worse = {name: values - per_image[best] for name, values in per_image.items()}
    near = [name for name, extra in worse.items() if extra.mean() <= extra.std() / np.sqrt(len(labels))]
    return min(near, key=lambda name: (-len(CANDIDATES[name]), losses[name])), losses


def folds_of(groups: np.ndarray) -> np.ndarray:
    """Return the fold of each row, int (n,); a group never crosses folds."""
    codes = np.unique(groups, return_inverse=True)[1]
    return np.random.default_rng(0).permutation(codes.max() + 1)[codes] % FOLDS


def cross_fit(models: tuple[str, ...], by_model: Mapping[str, np.ndarray], labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return logits (..., n) of every row by a blend fitted on the other folds.

    Args:
        models: Models that enter.
        by_model: Logits of each, (n,) or (seeds, n); the fit is made on their mean over seeds.
        labels: int (n,).
        folds: int (n,).
    """
    means = {m: by_model[m].reshape(-1, len(labels)).mean(axis=0) for m in models}
    logits = np.zeros(by_model[models[0]].shape)
    for held_out in np.unique(folds):
        inside, outside = folds != held_out, folds == held_out
        blend = fit_blend(models, {m: means[m][inside] for m in models}, labels[inside])
        logits[..., outside] = blend.logits({m: by_model[m][..., outside] for m in models})
    return logits


def operating_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the probability at which sensitivity plus specificity is greatest on tune; 0.5 where tune is too small."""
    if not enough_labels(labels):
        return 0.5
    order = np.argsort(probabilities, kind="stable")
    sorted_p, sorted_y = probabilities[order], labels[order]
    # Cutting before index i calls i.. melanoma; a cut between equal probabilities is not possible.
    missed = np.concatenate([[0], np.cumsum(sorted_y)]) / sorted_y.sum()
    spared = np.concatenate([[0], np.cumsum(1 - sorted_y)]) / (1 - sorted_y).sum()
    possible = np.flatnonzero(np.diff(sorted_p) > 0) + 1
    if not len(possible):
        return 0.5
    cut = possible[int(np.argmax((spared - missed)[possible]))]
    return float((sorted_p[cut - 1] + sorted_p[cut]) / 2)
