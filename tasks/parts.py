"""Finished shards of a stage, kept as *parts*: rows in a Parquet file, committed by a record that is written last.

Parts are found again by the stage's fingerprint, row by row; one that cannot be verified counts as never written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cefm_core.errors import IntegrityError
from cefm_core.tables.schema import Table
from storage import keys
from storage.parquet import read_rows, table_bytes
from storage.refs import FileRef, canonical_json, digest_of, sha256_of
from storage.store import Store

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Rows = dict[str, Row]

_IO_THREADS = 8


def part_keys(store: Store, stage: str, fingerprint: str) -> list[str]:
    """Return the keys of the records of every part; each says by its name what its part holds."""
    return [key for key in store.keys_below(keys.part_folder(stage, fingerprint)) if key.endswith(".json")]


def read_parts(
    store: Store,
    stage: str,
    records: Sequence[str],
    wanted: Collection[str],
    settled: Callable[[Row], bool],
    columns: Sequence[str] | None = None,
) -> tuple[Rows, Rows]:
    """Read parts.

    Args:
        store: The store.
        stage: Name of the stage, for messages.
        records: Keys of the parts' records.
        wanted: Row keys asked for.
        settled: Whether a row stands; see :class:`tasks.row_stage.RowStage`.
        columns: Columns to read, ``row_key`` among them and what ``settled`` looks at; None for all.

    Returns:
        Rows and rejects by row key.
    """
    rows: Rows = {}
    rejected: Rows = {}
    with ThreadPoolExecutor(_IO_THREADS) as pool:
        found = list(pool.map(lambda key: _read_part(store, stage, key, columns), records))
    for part, refused in found:
        # A row that was asked for again stands in two parts; the settled one counts, whatever the parts are called.
        rows |= {row["row_key"]: row for row in part if row["row_key"] in wanted and (row["row_key"] not in rows or settled(row))}
        rejected |= {row["row_key"]: row for row in refused if row["row_key"] in wanted}
    return rows, rejected


def commit_part(store: Store, stage: str, fingerprint: str, table: Table, rows: list[Row], rejected: list[Row]) -> None:
    """Write a part, and then the record without which it does not count."""
    folder = keys.part_folder(stage, fingerprint)
    data = table_bytes(table.to_arrow(rows))
    name = _part_name(sha256_of(data), rejected)
    ref = store.put(f"{folder}/{name}.parquet", data)
    store.put(f"{folder}/{name}.json", canonical_json({"table": ref.model_dump(), "rejects": rejected}))


def _read_part(store: Store, stage: str, record_key: str, columns: Sequence[str] | None) -> tuple[list[Row], list[Row]]:
    """Return the rows and rejects of a committed part; none of it where its record is not what its name promises."""
    try:
        record = store.read_json(record_key)
        if not record_key.endswith(f"/{_part_name(record['table']['sha256'], record['rejects'])}.json"):
            raise IntegrityError("the record is altered")
        return read_rows(store, FileRef(**record["table"]), columns), record["rejects"]
    except (IntegrityError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s: part %s is not believed (%s)", stage, record_key, error)
        return [], []


def _part_name(table_sha256: str, rejected: list[Row]) -> str:
    return digest_of([table_sha256, rejected])
