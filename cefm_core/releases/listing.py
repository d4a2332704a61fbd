"""A comparison as a table of every single change, as JSON for machines, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from cefm_core.releases.compare import Comparison
from cefm_core.releases.diff_view import plain, signed
from cefm_core.releases.results import ResultChange

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("table", pa.string(), nullable=False),
        pa.field("column", pa.string()),
        pa.field("before", pa.string()),
        pa.field("after", pa.string()),
        pa.field("delta", pa.float64()),
    ]
)
"""``kind``: added, removed, bytes, label, use, context, quality or result; ``delta`` is later minus earlier, null where either is null."""

_EXAMPLES = 5


def changes_table(found: Comparison) -> pa.Table:
    """Return one row for each change, sorted by image."""
    rows = sorted(_changes(found), key=lambda row: (row[0], row[1], row[2], row[3] or ""))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(SCHEMA)
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _changes(found: Comparison) -> Iterator[tuple[Any, ...]]:
    for kind, ids in (("added", found.images.added), ("removed", found.images.removed), ("bytes", found.bytes_changed)):
        yield from ((image_id, kind, "manifest", None, None, None, None) for image_id in ids)
    for kind, values in (("label", found.labels), ("use", found.uses), ("context", found.context)):
        yield from ((v.image_id, kind, "manifest", v.column, _text(v.before), _text(v.after), None) for v in values)
    for kind, changes in (("quality", found.quality), ("result", found.results)):
        for change in changes:
            yield from ((d.image_id, kind, change.table, change.column, _text(d.before), _text(d.after), d.delta) for d in change.deltas)


def as_json(found: Comparison) -> dict[str, Any]:
    """Return counts and ids as plain JSON values; results are summed up with the largest deltas as examples."""
    return {
        "images": {"added": list(found.images.added), "removed": list(found.images.removed), "bytes_changed": list(found.bytes_changed)},
        "labels": [asdict(value) for value in found.labels],
        "uses": [asdict(value) for value in found.uses],
        "context": [asdict(value) for value in found.context],
        "flags": {f.flag: {"gained": list(f.gained), "lost": list(f.lost)} for f in found.flags},
        "quality": {change.column: _summary(change) for change in found.quality},
        "results": {change.column: _summary(change) for change in found.results},
        "rejects": {"added": list(found.rejects_added), "removed": list(found.rejects_removed)},
        "scores": [asdict(score) for score in found.scores],
        "tables": {
            t.table: {"added": list(t.added), "removed": list(t.removed), "changed": list(t.changed), "columns": t.columns}
            for t in found.tables
        },
    }


def _summary(change: ResultChange) -> dict[str, Any]:
    return {
        "compared": change.compared,
        "changed": len(change.deltas),
        "up": change.up,
        "down": change.down,
        "lost": change.lost,
        "gained": change.gained,
        "median_size": change.median_size,
        "largest": change.largest,
        "examples": [asdict(d) | {"delta": d.delta} for d in change.deltas[:_EXAMPLES]],
    }


def as_lines(found: Comparison) -> list[str]:
    """Return what changed as lines for people; what did not change is left out."""
    lines = [_named(f"images {kind}", ids) for kind, ids in (("added", found.images.added), ("removed", found.images.removed)) if ids]
    lines += [_named("images with other bytes", found.bytes_changed)] if found.bytes_changed else []
    for kind, values in (("label", found.labels), ("split or group", found.uses), ("metadata", found.context)):
        lines += [f"{kind} of {v.image_id}: {v.column} {_text(v.before)} -> {_text(v.after)}" for v in values[:_EXAMPLES]]
        lines += [f"{kind}: and {len(values) - _EXAMPLES} more"] if len(values) > _EXAMPLES else []
    lines += [f"flag {f.flag}: {len(f.gained)} gained, {len(f.lost)} lost" for f in found.flags]
    lines += [_result_line(change) for change in (*found.results, *found.quality)]
    lines += [f"rejects: {len(found.rejects_added)} new, {len(found.rejects_removed)} gone"] if _rejected(found) else []
    lines += [f"  new: {row['item']}: {row['code']}" for row in found.rejects_added[:_EXAMPLES]]
    lines += [f"scores: {len(found.scores)} differ"] if found.scores else []
    for t in found.tables:
        lines.append(f"{t.table}: {t.equal} equal, {len(t.changed)} changed, {len(t.added)} added, {len(t.removed)} removed")
    return lines


def _rejected(found: Comparison) -> bool:
    return bool(found.rejects_added or found.rejects_removed)


def _result_line(change: ResultChange) -> str:
    size = f", median size {plain(change.median_size)}, largest {signed(change.largest)}" if change.largest is not None else ""
    missing = f", {change.lost} lost, {change.gained} gained" if change.lost or change.gained else ""
    return f"{change.title}: {len(change.deltas)} of {change.compared} changed ({change.up} up, {change.down} down{missing}){size}"


def _named(title: str, ids: tuple[str, ...]) -> str:
    return f"{title}: {len(ids)} ({', '.join(ids[:_EXAMPLES])}{' ...' if len(ids) > _EXAMPLES else ''})"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
