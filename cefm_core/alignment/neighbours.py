"""The training images that the aligned embedding holds nearest: cases to look at beside an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from cefm_core.alignment.checkpoint import TrainedAlignment
from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.models import LoadedModels, load_models, prepare, project

NEAREST = 3
BLOCK = 512


def nearest_cases(trained: TrainedAlignment, data: AlignmentData, count: int = NEAREST) -> list[dict[str, Any]]:
    """Find for every image the labelled training images of other lesions and patients that lie nearest.

    Args:
        trained: Checkpoint.
        data: All images, those of training among them.
        count: Cases an image.

    Returns:
        Columns of `predictions`, one dict an image: ``nearest_cases`` (image ids, nearest first) and ``nearest_cosines`` (mean over seeds,
        -1..1); both None, with ``nearest_reason``, where there is no other training image.
    """
    from cefm_core.alignment.encoder import one_thread

    train = data.rows_of("train")
    train = train[data.labels()[train] >= 0]
    with one_thread():
        points = _points(load_models(trained), data)
    groups = data.group_codes()
    found: list[dict[str, Any]] = []
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        cosines = block @ points[train].T
        cosines[groups[start : start + BLOCK, None] == groups[train][None, :]] = -np.inf
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        for row, chosen in enumerate(order):
            kept = [i for i in chosen if np.isfinite(cosines[row, i])]
            ids = [data.image_ids[train[i]] for i in kept]
            near = [round(float(cosines[row, i]), 6) for i in kept]
            reason = None if ids else "no_training_case"
            found.append({"nearest_cases": ids or None, "nearest_cosines": near or None, "nearest_reason": reason})
    return found


def _points(models: LoadedModels, data: AlignmentData) -> np.ndarray:
    """Return image projections, float64 (n, seeds * 128), scaled so that inner products are mean cosines over seeds."""
    projected, _ = project(models.network, prepare(data, models.scales), "image", np.arange(len(data.image_ids)))
    seeds = projected.shape[0]
    return np.concatenate(list(projected.double().numpy()), axis=1) / np.sqrt(seeds)
