"""Severity levels 1..5: in which fifth of a stated reference set a value lies."""

from __future__ import annotations

import csv
from bisect import bisect_right
from functools import cache
from pathlib import Path

#: Features that have levels; the level of ``asymmetry_score`` is the column ``asymmetry_level``, and so on.
LEVELLED = {
    "asymmetry_score": "asymmetry_level",
    "border_score": "border_level",
    "colour_count": "colour_level",
    "structure_count": "structure_level",
    "tds": "tds_level",
    "a_grey": "a_grey_level",
    "b2_mean_curvature": "b2_mean_curvature_level",
    "hue_std": "hue_std_level",
    "saturation_std": "saturation_std_level",
    "value_std": "value_std_level",
}


@cache
def cut_points() -> dict[str, tuple[float, ...]]:
    """Return the four cut-points of every levelled feature, from ``level_cuts.csv``."""
    with (Path(__file__).parent / "level_cuts.csv").open(encoding="utf-8", newline="") as lines:
        return {row["feature"]: tuple(float(row[f"cut_{n}"]) for n in range(1, 5)) for row in csv.DictReader(lines)}


def level(feature: str, value: float | None) -> int | None:
    """Return the level 1..5 of a value: one more than the cut-points it reaches; None for None.

    Raises:
        KeyError: The feature has no cut-points.
    """
    return None if value is None else 1 + bisect_right(cut_points()[feature], value)


def measure_levels(row: dict) -> dict:
    """Return the level column of every levelled feature that stands in a row of ``abc_features``."""
    return {column: level(feature, row.get(feature)) for feature, column in LEVELLED.items()}
