"""How much each labelled image counts in training: as it comes, by label, or by source and label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Balance = Literal["none", "label", "source"]
LEAST_CELL = 20


def balance_weights(labels: np.ndarray, source: Sequence[str | None], how: Balance) -> np.ndarray:
    """Return the weight of every image in the losses of the classifiers.

    Args:
        labels: int (n,), 0 or 1.
        source: Where each image comes from, n of them; None is a source of its own.
        how: ``none``: all alike. ``label``: both labels weigh the same. ``source``: every source and label weigh the same, so that
            no source can be told by its share of melanomas; a cell of fewer than 20 images weighs as much less, lest a few images
            decide.

    Returns:
        float64 (n,), mean 1.
    """
    if how == "none" or not len(labels):
        return np.ones(len(labels))
    names = [f"{s}|{y}" if how == "source" else str(y) for s, y in zip(source, labels, strict=True)]
    _, cell, size = np.unique(names, return_inverse=True, return_counts=True)
    weight = 1 / np.maximum(size, LEAST_CELL if how == "source" else 1)[cell]
    return weight / weight.mean()
