"""Leave one source out: what the recipe is worth on a collection of which it has seen nothing.

Every source is scored by models trained, with the same settings, on all other sources. Nothing of the left-out source decides
them: no image of it is trained on, chooses an epoch or a blend, or enters a scale; nor does any image that shares a group with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cefm_core.alignment.checkpoint import TrainedAlignment
from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.predict import predict
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig
from cefm_core.errors import CefmError

FITTED = ("train", "tune")
REASONS: dict[str, str] = {
    "not_asked": "evaluation.leave_one_source_out is off, the model was kept, or the image is a new one",
    "no_source": "the image names no source",
    "single_source": "no other source has images of train",
    "no_classifier": "the other sources cannot train a classifier",
}


@dataclass(frozen=True)
class LeftOut:
    """What models say of images whose source they were not trained on.

    Attributes:
        probability: float64 (n,), of melanoma; NaN where there is none.
        reason: A key of ``REASONS`` where there is none, else None; n of them.
        trained_on: Images of train by left-out source.
    """

    probability: np.ndarray
    reason: list[str | None]
    trained_on: dict[str, int]

    def columns(self, row: int) -> dict[str, float | str | None]:
        """Return the two columns of `predictions` for one image."""
        value = self.probability[row]
        return {"p_left_out": None if np.isnan(value) else float(value), "left_out_reason": self.reason[row]}


def leave_one_source_out(data: AlignmentData, trained: TrainedAlignment) -> LeftOut:
    """Predict every image by models that have not seen its source, trained with the settings of the checkpoint.

    A source of which the checkpoint itself was fitted on nothing needs no training: the checkpoint is that model.

    Args:
        data: Embeddings and measurements of all images.
        trained: The checkpoint whose recipe is judged.
    """
    source = np.array([s or "" for s in data.source] or [""] * len(data.image_ids))
    probability = np.full(len(source), np.nan)
    reason: list[str | None] = ["no_source"] * len(source)
    trained_on = {}
    for name in sorted(set(source) - {""}):
        inside = np.flatnonzero(source == name)
        values, why, trained_on[name] = _scored_by_others(data, inside, trained)
        probability[inside] = values
        for row, value in zip(inside, values, strict=True):
            reason[row] = why if np.isnan(value) else None
    return LeftOut(probability, reason, trained_on)


def _scored_by_others(data: AlignmentData, inside: np.ndarray, trained: TrainedAlignment) -> tuple[np.ndarray, str, int]:
    """Return probabilities of the rows ``inside``, why one may be missing, and how many images were trained on."""
    others = without(data, inside)
    count = int(len(others.rows_of("train")))
    nothing = np.full(len(inside), np.nan)
    if not count:
        return nothing, "single_source", 0
    try:
        same = list(others.split) == list(data.split)
        model = trained if same else train_alignment(others, AlignmentConfig.model_validate(trained.facts["settings"]))
    except CefmError:
        return nothing, "no_classifier", count
    values = [row["p_melanoma"] for row in predict(model, subset(others, inside))]
    return np.array([np.nan if value is None else value for value in values], np.float64), "no_classifier", count


def without(data: AlignmentData, inside: np.ndarray) -> AlignmentData:
    """Return the data with these rows, and the fitted rows of their groups, moved out of `train` and `tune`."""
    groups = data.group_codes()
    touched = np.isin(groups, groups[inside])
    split = [None if gone and s in FITTED else s for gone, s in zip(touched, data.split, strict=True)]
    return replace(data, split=split)


def subset(data: AlignmentData, rows: np.ndarray) -> AlignmentData:
    """Return these rows alone."""
    lists: dict[str, Any] = {
        name: [getattr(data, name)[i] for i in rows] for name in ("image_ids", "target", "split", "group_id", "source")
    }
    return replace(data, embeddings=data.embeddings[rows], clinical=data.clinical[rows], **lists)
