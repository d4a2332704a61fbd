"""How sure a refined mask is: the Dice to be expected of it, from what is known without a reference mask."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FEATURES = ("coarse_confidence", "stability", "agreement_dice", "predicted_iou", "edge_contrast_after")
MISSING = {
    "coarse_confidence": "no_coarse_confidence",
    "agreement_dice": "no_evidence",
    "predicted_iou": "no_predicted_iou",
    "edge_contrast_after": "no_contour_inside",
    "stability": "prompts_not_moved",
}
MODEL = Path(__file__).parent / "confidence.json"


def stability(votes: npt.NDArray[np.float32] | None, mask: npt.NDArray[np.bool_]) -> float | None:
    """Return the soft Dice of a mask and the votes of the moved prompts, 2 sum(v m) / (sum v + sum m), 0..1.

    Args:
        votes: float32 (H, W), 0..1, or None where no prompt was moved.
        mask: bool (H, W), not empty.
    """
    if votes is None:
        return None
    inside = float(votes[mask].sum(dtype=np.float64))
    return 2 * inside / (float(votes.sum(dtype=np.float64)) + int(np.count_nonzero(mask)))


def mask_confidence(row: dict[str, Any], refiner: str) -> tuple[float | None, str | None]:
    """Return the Dice to be expected of a mask, 0..1, or None and the reason why it cannot be told.

    A mask for which a model was asked: a linear model of the transformed features, mapped to Dice by a monotone curve. A coarse mask that
    was kept: a monotone curve of its own confidence. ``confidence.json`` holds the numbers and says on what they were fitted.

    Args:
        row: ``decision`` (``accepted`` or ``kept``) and the ``FEATURES`` by name, among others.
        refiner: The backend they come from; the linear model holds for the one it was fitted on.
    """
    model = _model()
    missing = next((reason for name, reason in MISSING.items() if row.get(name) is None), None)
    if missing is None and refiner == model["refiner"]:
        score = transformed(np.array([[row[name] for name in FEATURES]], dtype=np.float64))[0] @ model["weights"] + model["offset"]
        return float(np.interp(score, model["knots"], model["dice"])), None
    if row["decision"] == "kept" and row.get("coarse_confidence") is not None:
        return float(np.interp(row["coarse_confidence"], model["coarse_knots"], model["coarse_dice"])), None
    return None, missing or "not_fitted_for_refiner"


def transformed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the inputs of the linear model, (n, features): the logit of each share, and the logarithm of the edge contrast."""
    shares = np.clip(values[:, :-1], 0.01, 0.999)
    return np.column_stack([np.log(shares / (1 - shares)), np.log1p(np.maximum(values[:, -1], 0))])


@cache
def _model() -> dict[str, Any]:
    model: dict[str, Any] = json.loads(MODEL.read_text(encoding="utf-8"))
    if tuple(model["features"]) != FEATURES:
        raise ValueError(f"{MODEL.name} was fitted on {model['features']}, not on {FEATURES}")
    return model
