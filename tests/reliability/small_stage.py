"""The stage machinery itself on tiny items: every kind of store call that a run makes, without a run's minutes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cefm_core.config import CefmConfig, RuntimeConfig
from cefm_core.errors import ConfigurationError
from cefm_core.tables import source_listing
from cefm_core.tables.schema import Column, Table
from storage.parquet import read_rows, write_rows
from storage.refs import FileRef, sha256_of
from storage.store import Store
from storage.versions import latest_number, publish, read_outputs
from tasks.caching import Fingerprint
from tasks.context import RunContext
from tasks.row_stage import Output, Row, RowStage, make_plan, publish_rows, run_shard
from tasks.table_stage import Outputs, remember
from tests.flows.services import s3_environment

_TABLE = Table(
    "lengths",
    "measure_lengths",
    "Length of a name",
    (
        Column("image_id", "string", "Image"),
        Column("length", "int", "Length"),
        Column("mask_key", "string", "Mask"),
        Column("mask_sha256", "string", "Digest"),
    ),
)
STAGE = RowStage(
    name="measure_lengths",
    table=_TABLE,
    upstream=("source_listing",),
    entries=("cefm_core.errors",),
    inputs=lambda rows: {name: rows["source_listing"][name] for name in ("image_id", "image_sha256")},
    settings=lambda config: {},
    objects=("mask",),
)


@dataclass
class SmallRun:
    """One run of a small chain: a listing, a stage over its items, a whole-table stage, a published version.

    Attributes:
        store: URI of the store.
        names: The items.
        run_id: The run.
        processed: Items that were really worked on.
    """

    store: str
    names: list[str]
    run_id: str
    processed: list[str] = field(default_factory=list)

    def go(self) -> int:
        """Run and return the number of the published version."""
        config = CefmConfig(runtime=RuntimeConfig(shard_size=2))
        context = RunContext(store=self.store, source="s3://nowhere/at-all", config=config, run_id=self.run_id)
        store = context.open_store()
        base = latest_number(store)
        rows = [{"image_id": n, "uri": n, "size_bytes": 1, "image_sha256": sha256_of(n.encode()), "row_key": n} for n in self.names]
        tables = {"source_listing": write_rows(store, source_listing.TABLE, rows)}
        plan = make_plan(STAGE, context, tables)
        for work in plan.shards:
            run_shard(STAGE, context, plan.fingerprint, work, self._process)
        lengths = publish_rows(STAGE, context, plan).table
        total = remember(context, Fingerprint("total", {}), {"lengths": lengths.sha256}, lambda opened: _total(opened, lengths))
        return publish(store, base, self.run_id, {**tables, "lengths": lengths, **total.files}, context.source)

    def _process(self, items: list[Row]) -> list[Output]:
        self.processed += [item["image_id"] for item in items]
        return [Output({"length": len(i["image_id"])}, {"mask": (i["image_id"].encode() * 9, "png")}) for i in items]


def _total(store: Store, lengths: FileRef) -> Outputs:
    total = sum(row["length"] for row in read_rows(store, lengths))
    return Outputs(files={"total": store.put_object("total", str(total).encode(), "txt")}, summary={"total": total})


def dangling(store: Store, number: int) -> list[str]:
    """Return the references of a version, and of its rows, behind which there are not the promised bytes."""
    outputs = read_outputs(store, number)
    refs = list(outputs.values())
    refs += [FileRef(key=row["mask_key"], sha256=row["mask_sha256"]) for row in read_rows(store, outputs["lengths"])]
    return [ref.key for ref, held in zip(refs, store.holds_all(refs), strict=True) if not held]


@contextmanager
def s3_server() -> Iterator[str]:
    """Set the variables of the session's S3 server and yield its address, once it takes objects."""
    before = dict(os.environ)
    os.environ.update(s3_environment())
    deadline = time.monotonic() + 120
    try:
        while True:
            try:
                Store.open("s3://derm/start").preflight()
                break
            except ConfigurationError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        yield os.environ["AWS_ENDPOINT_URL"]
    finally:
        os.environ.clear()
        os.environ.update(before)
