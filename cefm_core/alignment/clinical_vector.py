"""The clinical vector: which measurements enter it, and how they are put on one scale.

Area, position and image size are left out on purpose: they tell where an image comes from, not what a lesion looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PAPER = ("a_grey", "b2_mean_curvature", "hue_std", "saturation_std", "value_std")
CLINICAL = (
    "asymmetry_score",
    "asymmetry_shape",
    "asymmetry_colour",
    "asymmetry_structure",
    "border_score",
    "border_drop_median",
    "border_compactness",
    "border_convexity",
    "border_solidity",
    "border_curvature_energy",
    "border_fractal_dimension",
    "colour_count",
    "colour_white_share",
    "colour_red_share",
    "colour_light_brown_share",
    "colour_dark_brown_share",
    "colour_blue_gray_share",
    "colour_black_share",
    "colour_variety",
    "hue_circular_std_deg",
    "hue_resultant",
    "tds_without_structures",
    "structure_network_score",
    "structure_streaks_score",
    "structure_globules_score",
    "structure_dots_score",
    "structureless_share",
)
LIMIT = 5.0


def clinical_names(profile: str) -> tuple[str, ...]:
    """Return the measurements of a profile, ``clinical`` or ``paper``, in the order of the vector."""
    return {"clinical": CLINICAL, "paper": PAPER}[profile]


def clinical_matrix(rows: Sequence[Mapping[str, Any]], profile: str) -> np.ndarray:
    """Read the measurements of a profile out of rows of `abc_features`.

    Returns:
        float64 (n, k), NaN where a measurement is null or the row has none.
    """
    names = clinical_names(profile)
    values = [[np.nan if row.get(name) is None else float(row[name]) for name in names] for row in rows]
    return np.asarray(values, np.float64).reshape(len(rows), len(names))


@dataclass(frozen=True)
class ClinicalScale:
    """How measurements become the vector; fitted on training rows alone.

    Attributes:
        median: float64 (k,), stands in for a missing measurement.
        mean: float64 (k,), of the filled training values.
        std: float64 (k,), of the filled training values; 1 where a measurement never varies.
        indicator: int64 (m,), measurements whose absence is told to the model by an indicator of its own.
    """

    median: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    indicator: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, standardise: bool = True) -> ClinicalScale:
        """Fit on training rows.

        Args:
            values: float64 (n, k), NaN where missing.
            standardise: Without it (the paper's way) mean and standard deviation are taken as 0 and 1.
        """
        absent = ~np.isfinite(values)
        filled = np.where(absent, 0.0, values)
        present = (~absent).any(axis=0)
        median = np.array([np.median(column[~gone]) if ok else 0.0 for column, gone, ok in zip(values.T, absent.T, present, strict=True)])
        filled = np.where(absent, median, values)
        mean = filled.mean(axis=0) if standardise else np.zeros(values.shape[1])
        std = filled.std(axis=0) if standardise else np.ones(values.shape[1])
        # Values are limited by their spread, so a hair's breadth of spread must not blow them up.
        std = np.where(std > 1e-9 * np.maximum(1.0, np.abs(mean)), std, 1.0)
        return cls(median, mean, std, _distinct_patterns(absent))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Fill, scale and limit measurements, then append the indicators.

        Args:
            values: float64 (n, k), NaN where missing.

        Returns:
            float32 (n, k + m); scaled values lie within +-5 standard deviations.
        """
        absent = ~np.isfinite(values)
        scaled = (np.where(absent, self.median, values) - self.mean) / self.std
        limited = np.clip(scaled, -LIMIT, LIMIT) if (self.std != 1.0).any() else scaled
        return np.concatenate([limited, absent[:, self.indicator]], axis=1).astype(np.float32)

    @property
    def width(self) -> int:
        """Length k + m of the vector."""
        return len(self.median) + len(self.indicator)


def _distinct_patterns(absent: np.ndarray) -> np.ndarray:
    """Return one column of every pattern of absence that occurs: measurements that fail together share an indicator."""
    seen: dict[bytes, int] = {}
    for index, column in enumerate(absent.T):
        if column.any():
            seen.setdefault(column.tobytes(), index)
    return np.array(sorted(seen.values()), np.int64)
