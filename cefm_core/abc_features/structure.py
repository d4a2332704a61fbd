"""Structures D (1..5): which of pigment network, structureless areas, branched streaks, dots and globules are there.

Network, streaks and globules are weakly learned from image-level labels on classical filter responses
(``structure_training``); dots are a single response with a cut; structureless areas follow the rule's own definition.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cefm_core.abc_features.asymmetry import local_contrast
from cefm_core.abc_features.texture import texture_features
from cefm_core.abc_features.view import LesionView

LEARNED = ("network", "streaks", "globules")
#: The filter response that speaks for dots: the strongest small dark blobs.
DOT_FEATURE = "blob_1_p99"
#: Lightness varies by less than this, in CIELAB units, where there is no structure; and the least share of such area that counts.
FLAT_CONTRAST, FLAT_SHARE = 0.8, 0.1


@cache
def model() -> dict[str, Any]:
    """Return ``structure_model.toml``: feature names, and weights, intercept and cut of each structure."""
    return tomllib.loads((Path(__file__).parent / "structure_model.toml").read_text(encoding="utf-8"))


def structureless_share(view: LesionView) -> float:
    """Return the share of the lesion's visible area where lightness hardly varies."""
    flat = local_contrast(view.lab[..., 0], view.diameter) < FLAT_CONTRAST
    return float(flat[view.inside & view.valid].mean())


def measure_structures(view: LesionView) -> dict:
    """Measure D: scores and presence of the five structures, and their count.

    A score is the logarithm of the odds above the cut, so that 0 is the border between absent and present.
    """
    if not (view.inside & view.valid).any():
        return {"structure_reason": "lesion_covered"}
    features, learned = texture_features(view), model()
    values = np.array([features[name] for name in learned["features"]])
    row: dict = {}
    for name in LEARNED:
        part = learned[name]
        row[f"structure_{name}_score"] = float(values @ np.array(part["weights"]) + part["intercept"] - part["cut"])
    row["structure_dots_score"] = features[DOT_FEATURE] - learned["dots"]["cut"]
    row["structureless_share"] = structureless_share(view)
    present = {name: row[f"structure_{name}_score"] >= 0 for name in (*LEARNED, "dots")}
    present["structureless"] = row["structureless_share"] >= FLAT_SHARE
    row |= {f"structure_{name}": bool(there) for name, there in present.items()}
    return row | {"structure_count": max(1, sum(present.values())), "structure_reason": None}
