"""Deltas of measured values between two versions, lesion by lesion, and what they come to."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from cefm_core.releases.rows import TableChange


@dataclass(frozen=True)
class Delta:
    """One value of one image; None where it has none, and ``delta`` is None where either is missing."""

    image_id: str
    before: float | None
    after: float | None

    @property
    def delta(self) -> float | None:
        """Later minus earlier value."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class ResultChange:
    """How one measured value changed over all images that both versions hold.

    Attributes:
        table: Table of the value.
        column: Column of the value.
        title: What it is, for people.
        compared: Images with a row in both versions.
        deltas: Every image whose value differs, largest absolute delta first; images that lost or gained a value stand before those.
    """

    table: str
    column: str
    title: str
    compared: int
    deltas: tuple[Delta, ...]

    @property
    def lost(self) -> int:
        """Images whose value is missing now."""
        return sum(d.after is None for d in self.deltas)

    @property
    def gained(self) -> int:
        """Images that have a value now and had none."""
        return sum(d.before is None for d in self.deltas)

    @property
    def up(self) -> int:
        """Images whose value rose."""
        return sum(d.delta is not None and d.delta > 0 for d in self.deltas)

    @property
    def down(self) -> int:
        """Images whose value fell."""
        return sum(d.delta is not None and d.delta < 0 for d in self.deltas)

    @property
    def median_size(self) -> float | None:
        """Median absolute delta of the images whose value changed, or None where none has both values."""
        sizes = [abs(d.delta) for d in self.deltas if d.delta is not None]
        return statistics.median(sizes) if sizes else None

    @property
    def largest(self) -> float | None:
        """Delta of the largest absolute size, or None."""
        sizes = [d.delta for d in self.deltas if d.delta is not None]
        return max(sizes, key=abs) if sizes else None


# Table, column, title; the reader's measurements first.
_RESULTS: tuple[tuple[str, str, str], ...] = (
    ("abc_features", "asymmetry_score", "Asymmetry (0-2)"),
    ("abc_features", "border_score", "Border (0-8)"),
    ("abc_features", "colour_count", "Colours (1-6)"),
    ("abc_features", "structure_count", "Structures (1-5)"),
    ("abc_features", "tds", "Total dermoscopy score"),
    ("abc_features", "asymmetry_level", "Level of asymmetry (1-5)"),
    ("abc_features", "border_level", "Level of border (1-5)"),
    ("abc_features", "colour_level", "Level of colour (1-5)"),
    ("abc_features", "structure_level", "Level of structures (1-5)"),
    ("abc_features", "tds_level", "Level of the total score (1-5)"),
    ("predictions", "p_melanoma", "Probability of melanoma"),
    ("predictions", "ood_score", "Distance from the training images"),
    ("refined_masks", "area_share", "Area of the mask, share of the image"),
    ("refined_masks", "reference_dice", "Dice with the expert's mask"),
)
_QUALITY: tuple[tuple[str, str, str], ...] = (
    ("image_quality", "sharpness", "Sharpness"),
    ("image_quality", "exposure", "Exposure (L, 0-100)"),
    ("image_quality", "contrast", "Contrast (L, 0-100)"),
    ("image_quality", "hair_share", "Share under hair"),
    ("image_quality", "vignette_share", "Share in a vignette"),
    ("image_quality", "glare_share", "Share in glare"),
    ("image_quality", "ink_share", "Share under ink or a ruler"),
    ("image_quality", "skin_hue_share", "Share of skin-like hues"),
)


def result_changes(tables: Mapping[str, TableChange], kind: str) -> tuple[ResultChange, ...]:
    """Return every value that changed in at least one image.

    Args:
        tables: Changes by table.
        kind: ``result`` or ``quality``.
    """
    wanted = _RESULTS if kind == "result" else _QUALITY
    found = [_change(tables[table], column, title) for table, column, title in wanted]
    return tuple(change for change in found if change.deltas)


def _change(table: TableChange, column: str, title: str) -> ResultChange:
    deltas = [Delta(i, old.get(column), new.get(column)) for i, old, new in table.pairs() if old.get(column) != new.get(column)]
    deltas.sort(key=lambda d: (d.delta is not None, -abs(d.delta or 0), d.image_id))
    return ResultChange(table.table, column, title, table.equal + len(table.changed), tuple(deltas))
