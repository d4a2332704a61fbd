"""collect_corrections: the log of clinicians' corrections as a table with one row an image."""

from __future__ import annotations

import json
from dataclasses import asdict

from cefm_core.reports.corrections import Correction, standing
from cefm_core.tables import corrections as corrections_table
from storage.corrections import read_log
from storage.parquet import read_arrow, write_rows
from storage.refs import FileRef, canonical_json, digest_of
from tasks.context import RunContext
from tasks.row_stage import Row
from tasks.stage_task import stage_task
from tasks.table_stage import Outputs


@stage_task
def collect_corrections(context: RunContext, manifest: FileRef, label: str = "collect corrections") -> Outputs:
    """Write the corrections that stand for the images of a manifest."""
    store = context.open_store()
    found = standing(read_log(store))
    images = read_arrow(store, manifest).select(["image_id", "image_sha256"]).to_pylist()
    table = write_rows(store, corrections_table.TABLE, [image | _row(found.get(image["image_id"], ())) for image in images])
    return Outputs(files={"corrections": table}, summary={"images": len(images)})


def corrections_of(row: Row) -> tuple[Correction, ...]:
    """Return the corrections of a row of that table."""
    return tuple(Correction(**entry) for entry in json.loads(row["corrections_json"]))


def _row(corrections: tuple[Correction, ...]) -> Row:
    entries = [asdict(correction) for correction in corrections]
    return {"correction_count": len(entries), "corrections_json": canonical_json(entries).decode(), "row_key": digest_of(entries)}
