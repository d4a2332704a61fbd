"""Two versions of one table, row by row: what came, what went, and which values differ.

Rows with the same ``row_key`` are the same by construction, so only the others are looked at value by value.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Row = dict[str, Any]

# How a row came about, or what another column already says.
_LINEAGE = {"row_key", "image_sha256", "image_id"}


@dataclass(frozen=True)
class TableChange:
    """Two versions of one table.

    Attributes:
        table: Name of the table.
        before: Rows by image id of the images whose row differs or went; only these are held.
        after: Rows by image id of the images whose row differs or came.
        added: Ids that only the later version has, sorted.
        removed: Ids that only the earlier version has, sorted.
        changed: Ids with a row in both whose values differ, sorted.
        equal: How many rows say the same.
        columns: How many changed rows differ in each column.
    """

    table: str
    before: dict[str, Row] = field(repr=False)
    after: dict[str, Row] = field(repr=False)
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    equal: int
    columns: dict[str, int]

    def pairs(self) -> Iterator[tuple[str, Row, Row]]:
        """Yield ``(image_id, before, after)`` of every changed row."""
        for image_id in self.changed:
            yield image_id, self.before[image_id], self.after[image_id]


def compare_rows(name: str, before: pa.Table | None, after: pa.Table | None) -> TableChange:
    """Compare two versions of a table with one row an image.

    Args:
        name: Name of the table.
        before: The earlier version, or None where it had no such table.
        after: The later version, or None.
    """
    before, after = _light(before), _light(after)
    old_keys, new_keys = _keys(before), _keys(after)
    added = sorted(new_keys.keys() - old_keys.keys())
    removed = sorted(old_keys.keys() - new_keys.keys())
    suspects = sorted(i for i in old_keys.keys() & new_keys.keys() if old_keys[i] != new_keys[i])
    old_rows, new_rows = _rows(before, {*removed, *suspects}), _rows(after, {*added, *suspects})
    differing = {i: names for i in suspects if (names := _differing(old_rows[i], new_rows[i]))}
    for image_id in suspects:
        if image_id not in differing:
            del old_rows[image_id], new_rows[image_id]
    columns = Counter(name for names in differing.values() for name in names)
    equal = len(old_keys.keys() & new_keys.keys()) - len(differing)
    return TableChange(name, old_rows, new_rows, tuple(added), tuple(removed), tuple(differing), equal, dict(columns.most_common()))


def _light(table: pa.Table | None) -> pa.Table | None:
    """Put a digest in the place of every vector: a hundred thousand embeddings as Python numbers would not fit into memory."""
    for index, column in enumerate([] if table is None else table.schema):
        if table is not None and pa.types.is_list(column.type) and pa.types.is_float32(column.type.value_type):
            digests = [None if not v.is_valid else _digest(v.values) for v in table.column(index)]
            table = table.set_column(index, column.name, pa.array(digests, pa.string()))
    return table


def _digest(values: pa.Array) -> str:
    return hashlib.sha256(values.to_numpy(zero_copy_only=False).tobytes()).hexdigest()


def _keys(table: pa.Table | None) -> dict[str, str]:
    if table is None:
        return {}
    return dict(zip(table["image_id"].to_pylist(), table["row_key"].to_pylist(), strict=True))


def _rows(table: pa.Table | None, wanted: set[str]) -> dict[str, Row]:
    if table is None or not wanted:
        return {}
    return {row["image_id"]: row for row in table.filter(pc.is_in(table["image_id"], pa.array(sorted(wanted)))).to_pylist()}


def _differing(before: Row, after: Row) -> list[str]:
    """Return the columns, of either version, whose values differ; changed bytes count as the column ``image_sha256``."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name) and name not in _LINEAGE]
    return names + (["image_sha256"] if before.get("image_sha256") != after.get("image_sha256") else [])
