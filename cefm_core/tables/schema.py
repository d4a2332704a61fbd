"""How a table says what it holds: one declaration feeds the writer, the gate and the documentation.

A declaration of a single table does not belong here; each has a module of its own beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "vector": pa.list_(pa.float32()),
    "strings": pa.list_(pa.string()),
    "floats": pa.list_(pa.float64()),
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Column name; ends in its unit where it has one (``_px``, ``_deg``, ``_share``).
        type: A key of ``TYPES``.
        description: One sentence for the reader of the docs page.
        unit: Unit in words, or "" for a pure number, a text or a flag.
        minimum: Smallest value allowed, or None.
        maximum: Largest value allowed, or None.
        nullable: Whether null may stand; a null number needs a reason code in ``reason_column``.
        allowed: The closed list of values of a categorical column, or None.
        reason_column: The column that says why this one is null.
    """

    name: str
    type: str
    description: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    nullable: bool = False
    allowed: tuple[str, ...] | None = None
    reason_column: str | None = None


LINEAGE: tuple[Column, ...] = (
    Column("image_sha256", "string", "SHA-256 of the bytes of the source image"),
    Column("row_key", "string", "Digest of everything that decided this row: inputs, settings, weights and code"),
)


@dataclass(frozen=True)
class Table:
    """The contract of one table; a per-image table also carries the ``LINEAGE`` columns.

    Attributes:
        name: Table name, as in the stage table of ARCHITECTURE.md.
        stage: The stage that writes it.
        description: One sentence on what a row is.
        columns: Every column, in order.
        primary_key: Columns whose values together are unique.
        per_image: Whether each image that entered the stage has exactly one row here (or one in the rejects).
    """

    name: str
    stage: str
    description: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ("image_id",)
    per_image: bool = True
    _by_name: dict[str, Column] = field(init=False, repr=False, compare=False, hash=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.per_image:
            object.__setattr__(self, "columns", (*self.columns, *LINEAGE))
        self._by_name.update({column.name: column for column in self.columns})
        if len(self._by_name) != len(self.columns):
            raise ValueError(f"table {self.name}: a column name stands twice")

    def column(self, name: str) -> Column:
        """Return the column called ``name``; KeyError where there is none."""
        return self._by_name[name]

    def arrow_schema(self) -> pa.Schema:
        """Return the Arrow schema that every part of this table is written with."""
        return pa.schema([pa.field(c.name, TYPES[c.type], nullable=c.nullable) for c in self.columns])

    def to_arrow(self, rows: list[dict[str, Any]]) -> pa.Table:
        """Turn rows into an Arrow table of exactly this schema.

        Args:
            rows: One dict a row; a missing key means null.

        Raises:
            ValueError: A row has an unknown column, or a value that its column cannot hold; every offender is named.
        """
        problems: list[str] = []
        for index, row in enumerate(rows):
            problems += [f"row {index}: unknown column {name!r}" for name in row if name not in self._by_name]
        arrays = []
        for column in self.columns:
            values = [_plain(row.get(column.name)) for row in rows]
            if not column.nullable:
                problems += [f"row {i}: {column.name} is null" for i, v in enumerate(values) if v is None]
            try:
                arrays.append(pa.array(values, TYPES[column.type]))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                problems.append(f"column {column.name} ({column.type}): {error}")
        if problems:
            raise ValueError(f"table {self.name}: " + "; ".join(problems[:20]))
        return pa.Table.from_arrays(arrays, schema=self.arrow_schema())


def _plain(value: Any) -> Any:
    """Turn numpy scalars and arrays into Python values and a float NaN into null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and value != value:
        return None
    return value
