"""The ledgers of images of a published version, for commands that read a store without running a stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from storage.parquet import read_arrow
from storage.refs import FileRef
from storage.store import Store
from tasks.row_stage import Row
from tasks.write_reports import STAGE, ledger_of

if TYPE_CHECKING:
    from cefm_core.reports.corrections import Corrected

_UNCORRECTED = {"corrections_json": "[]"}


def read_items(store: Store, outputs: dict[str, FileRef], image_ids: Iterable[str] | None = None) -> dict[str, Row]:
    """Return what the reports of images are written from.

    Args:
        store: The store.
        outputs: Outputs of a published version, by name.
        image_ids: The images; None means all. One that has no report's worth of rows is left out.

    Returns:
        By image id and sorted by it: ``image_id``, and under ``rows`` the image's row of each upstream table of the reports.
    """
    wanted = None if image_ids is None else sorted(set(image_ids))
    tables = {name: _rows(store, outputs[name], wanted) for name in STAGE.upstream if name in outputs}
    tables.setdefault("corrections", dict.fromkeys(tables["manifest"], _UNCORRECTED))
    whole = sorted(set.intersection(*(set(rows) for rows in tables.values())))
    return {image_id: {"image_id": image_id, "rows": {name: rows[image_id] for name, rows in tables.items()}} for image_id in whole}


def read_ledgers(store: Store, outputs: dict[str, FileRef], image_ids: Iterable[str] | None = None) -> dict[str, Corrected]:
    """Return the ledgers of images, with what clinicians corrected; see :func:`read_items`."""
    return {image_id: ledger_of(item) for image_id, item in read_items(store, outputs, image_ids).items()}


def _rows(store: Store, ref: FileRef, wanted: list[str] | None) -> dict[str, Row]:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_arrow(store, ref)
    if wanted is not None:
        table = table.filter(pc.is_in(table["image_id"], value_set=pa.array(wanted, pa.string())))
    return {row["image_id"]: row for row in table.to_pylist()}
