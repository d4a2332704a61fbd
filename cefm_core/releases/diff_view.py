"""What the page of two compared versions shows, as plain values for its template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cefm_core.releases.compare import Comparison, ScoreChange, ValueChange
from cefm_core.releases.results import Delta, ResultChange

_SHOWN_PICTURES = 16
_SHOWN_ROWS = 30
# The per-lesion table: column of a result, heading.
_LESION_COLUMNS = (
    ("p_melanoma", "P(melanoma)"),
    ("asymmetry_score", "A"),
    ("border_score", "B"),
    ("colour_count", "C"),
    ("tds", "TDS"),
    ("tds_level", "level"),
)
# Most a value can differ by, for ranking lesions over values of different scales.
_SPAN = {"p_melanoma": 1.0, "asymmetry_score": 2.0, "border_score": 8.0, "colour_count": 5.0, "tds": 8.0, "tds_level": 4.0}

Thumb = Callable[[str], str | None]


@dataclass(frozen=True)
class VersionFacts:
    """What names a version on the page: as it was asked for, and what its record says."""

    name: str
    run_id: str
    source: str


def diff_view(found: Comparison, before: VersionFacts, after: VersionFacts, thumb: Thumb) -> dict[str, Any]:
    """Return the variables of ``diff.html.j2``.

    Args:
        found: The comparison.
        before: The earlier version.
        after: The later version.
        thumb: Address of an image's thumbnail (a ``data:`` URI), or None.
    """
    return {
        "before": before,
        "after": after,
        "nothing": found.nothing,
        "tiles": _tiles(found),
        "groups": [
            _pictures("Added", found.images.added, thumb),
            _pictures("Removed", found.images.removed, thumb),
            _pictures("Bytes changed", found.bytes_changed, thumb),
        ],
        "values": [
            _values("Labels", found.labels, thumb),
            _values("Splits, groups and duplicates", found.uses, thumb),
            _values("Age, sex, site, lesion and origin", found.context, thumb),
        ],
        "flags": [
            {"flag": f.flag, "gained": len(f.gained), "lost": len(f.lost), "examples": ", ".join((*f.gained[:3], *f.lost[:3])[:4])}
            for f in found.flags
        ],
        "measures": [("Results", [_result(r) for r in found.results]), ("Image quality", [_result(r) for r in found.quality])],
        "lesion_columns": [title for _, title in _LESION_COLUMNS],
        "lesions": _lesions(found.results, thumb),
        "lesion_count": len({d.image_id for r in found.results for d in r.deltas}),
        "scores": [_score(score) for score in found.scores[:_SHOWN_ROWS]],
        "scores_hidden": max(len(found.scores) - _SHOWN_ROWS, 0),
        "rejects": [("new", row) for row in found.rejects_added[:_SHOWN_ROWS]] + [("gone", r) for r in found.rejects_removed[:_SHOWN_ROWS]],
        "rejects_hidden": max(len(found.rejects_added) - _SHOWN_ROWS, 0) + max(len(found.rejects_removed) - _SHOWN_ROWS, 0),
        "tables": found.tables,
    }


def _tiles(found: Comparison) -> list[dict[str, str]]:
    numbers = (
        ("images added", len(found.images.added), ""),
        ("images removed", len(found.images.removed), "warn"),
        ("with other bytes", len(found.bytes_changed), "warn"),
        ("with another label", len({v.image_id for v in found.labels}), "warn"),
        ("with another result", len({d.image_id for r in found.results for d in r.deltas}), ""),
        ("new rejects", len(found.rejects_added), "warn"),
    )
    return [{"name": name, "value": f"{count:,}", "tone": tone if count else ""} for name, count, tone in numbers]


def _pictures(title: str, ids: tuple[str, ...], thumb: Thumb) -> dict[str, Any]:
    shown = [{"image_id": i, "thumb": thumb(i)} for i in ids[:_SHOWN_PICTURES]]
    return {"title": title, "count": len(ids), "shown": shown, "hidden": max(len(ids) - _SHOWN_PICTURES, 0)}


def _values(title: str, changes: tuple[ValueChange, ...], thumb: Thumb) -> dict[str, Any]:
    rows = [
        {"image_id": c.image_id, "thumb": thumb(c.image_id), "column": c.column, "before": plain(c.before), "after": plain(c.after)}
        for c in changes[:_SHOWN_ROWS]
    ]
    return {"title": title, "count": len(changes), "rows": rows, "hidden": max(len(changes) - _SHOWN_ROWS, 0)}


def _result(change: ResultChange) -> dict[str, Any]:
    moved = len(change.deltas)
    example = change.deltas[change.lost + change.gained] if change.largest is not None else change.deltas[0]
    return {
        "title": change.title,
        "compared": f"{change.compared:,}",
        "changed": f"{moved:,}",
        "share": round(100 * moved / change.compared, 1) if change.compared else 0.0,
        "up": change.up,
        "down": change.down,
        "up_width": round(50 * change.up / moved, 1),
        "down_width": round(50 * change.down / moved, 1),
        "missing": f"{change.lost} lost, {change.gained} gained" if change.lost or change.gained else "",
        "median": plain(change.median_size),
        "largest": signed(change.largest),
        "example": f"{example.image_id}: {plain(example.before)} → {plain(example.after)}",
    }


def _lesions(results: tuple[ResultChange, ...], thumb: Thumb) -> list[dict[str, Any]]:
    """Return the lesions whose results moved most, each delta measured against the most it can be."""
    by_image: dict[str, dict[str, Delta]] = {}
    for change in results:
        for delta in change.deltas if change.column in _SPAN else ():
            by_image.setdefault(delta.image_id, {})[change.column] = delta
    ranked = sorted(by_image, key=lambda i: (-sum(_size(c, d) for c, d in by_image[i].items()), i))
    return [
        {"image_id": i, "thumb": thumb(i), "cells": [_cell(by_image[i].get(column)) for column, _ in _LESION_COLUMNS]}
        for i in ranked[:_SHOWN_ROWS]
    ]


def _size(column: str, delta: Delta) -> float:
    return 1.0 if delta.delta is None else abs(delta.delta) / _SPAN[column]


def _cell(delta: Delta | None) -> dict[str, str] | None:
    if delta is None:
        return None
    return {"before": plain(delta.before), "after": plain(delta.after), "delta": signed(delta.delta)}


def _score(score: ScoreChange) -> dict[str, Any]:
    return {
        "model": score.model.replace("_", " "),
        "split": score.split,
        "metric": score.metric.replace("_", " "),
        "before": _interval(score.before),
        "after": _interval(score.after),
    }


def _interval(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "—"
    ends = f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] is not None else ""
    return f"{row['value']:.3f}{ends}, n = {row['n']}"


def plain(value: Any) -> str:
    """Return a value for people: three decimals, or two significant digits of a small one; a dash where there is none."""
    if value is None:
        return "—"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.3f}".rstrip("0").rstrip(".")


def signed(value: float | None) -> str:
    """Return a delta with its sign, or nothing."""
    if value is None:
        return ""
    text = plain(abs(float(value)))
    return text if text == "0" else ("+" if value > 0 else "−") + text
