"""Tables in the store: always through their declaration, always the same bytes for the same rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cefm_core.errors import IntegrityError
from cefm_core.tables.schema import Table
from storage import keys
from storage.refs import FileRef, sha256_of
from storage.store import Store


def table_bytes(table: pa.Table) -> bytes:
    """Encode an Arrow table as Parquet; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_statistics=True, store_schema=True)
    return sink.getvalue()


def write_rows(store: Store, declaration: Table, rows: list[dict[str, Any]]) -> FileRef:
    """Write rows as a whole table, sorted by its primary key.

    Raises:
        ValueError: A row does not fit the declaration.
    """
    ordered = sorted(rows, key=lambda row: tuple(str(row.get(name)) for name in declaration.primary_key))
    data = table_bytes(declaration.to_arrow(ordered))
    return store.put(keys.table_key(declaration.name, sha256_of(data)), data)


def read_arrow(store: Store, ref: FileRef, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a whole table, or some of its columns, verified against its digest.

    Raises:
        IntegrityError: The object is missing, altered, or no Parquet file.
    """
    data = store.get(ref)
    try:
        # Without Arrow's pool of threads: a command that ended soon after reading was aborted by it now and then.
        return pq.ParquetFile(pa.BufferReader(data)).read(columns=None if columns is None else list(columns), use_threads=False)
    except pa.ArrowInvalid as error:
        raise IntegrityError(f"{ref.key}: not a Parquet file ({error})") from error


def content_digest(store: Store, ref: FileRef) -> str:
    """Return the digest of what a table says, leaving out how its rows came about (``row_key``).

    A stage over whole tables is keyed by it, so a change upstream that changed no value does not make it run again.
    """
    table = read_arrow(store, ref)
    return sha256_of(table_bytes(table.drop_columns([name for name in ("row_key",) if name in table.column_names])))


def read_rows(store: Store, ref: FileRef, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Read a whole table, or some of its columns, as one dict a row."""
    return read_arrow(store, ref, columns).to_pylist()


def read_frame(store: Store, ref: FileRef) -> Any:
    """Read a whole table as a pandas DataFrame."""
    return read_arrow(store, ref).to_pandas()
