"""Structures D (1..5): which of pigment network, structureless areas, branched streaks, dots and globules are there."""

from __future__ import annotations

from cefm_core.abc_features.view import LesionView


def measure_structures(view: LesionView) -> dict:
    """Return the structure columns; no structure is measured yet, and the row says so."""
    return {"structure_count": None, "structure_reason": "structure_not_measured"}
