"""How a stage runs over images: plan what is missing, run shards of it, publish the whole table.

Inserting images, killing a run or deleting one output costs exactly the rows concerned. How finished rows are kept and found again
lies in ``parts``; what a single stage does to an image does not belong here either.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from cefm_core.config import CefmConfig, RuntimeConfig
from cefm_core.errors import BadItemError, CefmError
from cefm_core.tables import rejects as rejects_table
from cefm_core.tables.schema import Table
from storage import keys
from storage.parquet import read_rows, write_rows
from storage.refs import FileRef, digest_of
from storage.store import Store
from tasks.caching import Fingerprint, fingerprint, row_key, write_down
from tasks.context import RunContext
from tasks.device_slot import device_slot
from tasks.parts import Row, Rows, commit_part, part_keys, read_parts
from tasks.table_stage import Outputs, record, recorded

logger = logging.getLogger(__name__)

# Fewer images than this are not worth a task of their own.
_LEAST_SHARD = 16
# Rejects whose cause may be gone at the next run: they are counted, but asked for again.
_PASSING = {"unreadable", "source_changed", "out_of_memory", "processing_failed"}


@dataclass(frozen=True)
class Output:
    """What one image became: a row, and the objects whose keys the row will carry.

    Attributes:
        row: Columns of the stage's table, without the lineage columns.
        objects: ``(bytes, suffix)`` by kind; kind ``mask`` fills ``mask_key`` and ``mask_sha256``.
    """

    row: Row
    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class RowStage:
    """The contract of a stage that works image by image.

    Attributes:
        name: Stage name.
        table: Declaration of its table.
        upstream: Tables it reads; the first decides which images there are.
        entries: Core modules it calls.
        inputs: Makes, from the joined upstream rows by table name, the values that decide an image's row.
        settings: The settings that decide its outputs, as plain JSON values.
        weights: Digest by name of weight file.
        beside: Tables that a shard may look things up in to spare work; they decide nothing that the inputs do not.
        objects: Kinds of objects its rows refer to.
        settled: Whether a finished row stands, or is asked for again in the next run.
        settled_by: The columns that ``settled`` looks at.
        on_device: Whether its shards compute with networks, on the run's device.
    """

    name: str
    table: Table
    upstream: tuple[str, ...]
    entries: tuple[str, ...]
    inputs: Callable[[Rows], Row]
    settings: Callable[[CefmConfig], dict[str, Any]]
    weights: Callable[[CefmConfig], dict[str, str]] = lambda config: {}
    beside: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    settled: Callable[[Row], bool] = lambda row: True
    settled_by: tuple[str, ...] = ()
    on_device: bool = False

    def fingerprint(self, config: CefmConfig) -> Fingerprint:
        """Return what this stage's outputs depend on besides their inputs."""
        return fingerprint(self.name, self.settings(config), self.weights(config), self.entries)


class Plan(BaseModel):
    """What a stage has to do: references to work lists, and counts."""

    stage: str
    fingerprint: str
    expected: FileRef
    shards: list[FileRef]
    beside: dict[str, FileRef] = {}
    images: int
    missing: int


class PartSummary(BaseModel):
    """What a shard did."""

    rows: int
    rejected: int


class Published(BaseModel):
    """A stage's whole table, and its rejects: the table, how many, and how many by cause (``code: message``)."""

    table: FileRef
    rejects: FileRef
    rows: int
    rejected: int
    causes: dict[str, int] = {}


def make_plan(stage: RowStage, context: RunContext, tables: dict[str, FileRef]) -> Plan:
    """Find which images the stage has no believable row for.

    Args:
        stage: The stage.
        context: The run.
        tables: At least the stage's upstream tables, by name.
    """
    store = context.open_store()
    print_ = stage.fingerprint(context.config)
    write_down(store, print_)
    wanted = [
        {**values, "row_key": row_key(print_.digest, values)}
        for values in map(stage.inputs, _joined(store, {name: tables[name] for name in stage.upstream}))
    ]
    asked = {item["row_key"] for item in wanted}
    known = set() if context.computes_anew(stage.name) else _believed(store, stage, print_.digest, asked, context.retry_rejects)
    missing = [item for item in wanted if item["row_key"] not in known]
    size = _shard_length(len(missing), context.config.runtime)
    return Plan(
        stage=stage.name,
        fingerprint=print_.digest,
        expected=store.put_work([item["row_key"] for item in wanted]),
        shards=[store.put_work(missing[start : start + size]) for start in range(0, len(missing), size)],
        beside={name: tables[name] for name in stage.beside if name in tables},
        images=len(wanted),
        missing=len(missing),
    )


def run_shard(
    stage: RowStage, context: RunContext, plan_fingerprint: str, work: FileRef, process: Callable[[list[Row]], list[Output]]
) -> PartSummary:
    """Work through one shard and commit its part.

    Args:
        stage: The stage.
        context: The run.
        plan_fingerprint: Fingerprint the plan was made with.
        work: The work list: one dict of inputs an image.
        process: Turns a batch of work items into outputs, in order; raises BadItemError for what it cannot process.
    """
    store = context.open_store()
    items: list[Row] = store.read_work(work)
    rows: list[Row] = []
    rejected: list[Row] = []
    with device_slot(context.config.runtime, context.device()) if stage.on_device else nullcontext():
        for batch in _batches(items, context.config.runtime.batch_size):
            for item, outcome in zip(batch, _outcomes(process, batch), strict=True):
                if isinstance(outcome, BadItemError):
                    rejected.append(_reject(stage.name, item, outcome))
                else:
                    rows.append(_lineage(store, item, outcome))
    commit_part(store, stage.name, plan_fingerprint, stage.table, rows, rejected)
    logger.info("%s: %d rows, %d rejects", stage.name, len(rows), len(rejected))
    return PartSummary(rows=len(rows), rejected=len(rejected))


def publish_rows(stage: RowStage, context: RunContext, plan: Plan) -> Published:
    """Gather the rows of a plan from the stage's parts into one whole table.

    Raises:
        CefmError: A planned image has neither a row nor a reject.
    """
    store = context.open_store()
    # The same rows of the same parts make the same table.
    parts = part_keys(store, stage.name, plan.fingerprint)
    key = keys.gathered_key(stage.name, digest_of([plan.fingerprint, plan.expected.sha256, parts]))
    known = recorded(store, key)
    if known is not None:
        return Published(**known.files, **known.summary)
    wanted: list[str] = store.read_work(plan.expected)
    rows, rejected = read_parts(store, stage.name, parts, set(wanted), stage.settled)
    lost = [key for key in wanted if key not in rows and key not in rejected]
    if lost:
        raise CefmError(f"store {store.uri}: {stage.name} has neither row nor reject of {len(lost)} of {len(wanted)} images; run again")
    kept = [rows[key] for key in wanted if key in rows]
    refused = [{k: v for k, v in rejected[key].items() if k != "row_key"} for key in wanted if key not in rows]
    published = Published(
        table=write_rows(store, stage.table, kept),
        rejects=write_rows(store, rejects_table.TABLE, refused),
        rows=len(kept),
        rejected=len(refused),
        causes=dict(Counter(f"{row['code']}: {row['message'][:120]}" for row in refused).most_common(3)),
    )
    files = {"table": published.table, "rejects": published.rejects}
    record(store, key, Outputs(files=files, summary=published.model_dump(exclude=set(files))))
    return published


def _shard_length(missing: int, runtime: RuntimeConfig) -> int:
    """Share little work among all workers; boundaries decide no result."""
    return min(runtime.shard_size, max(_LEAST_SHARD, -(-missing // runtime.workers)))


def _joined(store: Store, upstream: dict[str, FileRef]) -> list[Rows]:
    """Join upstream tables on image_id; the first table leads, an image that a later one lost is out."""
    tables = {name: {row["image_id"]: row for row in read_rows(store, ref)} for name, ref in upstream.items()}
    lead, *others = tables
    ids = [image_id for image_id in tables[lead] if all(image_id in tables[name] for name in others)]
    return [{name: rows[image_id] for name, rows in tables.items()} for image_id in sorted(ids)]


def _believed(store: Store, stage: RowStage, fingerprint_: str, wanted: set[str], retry_rejects: bool) -> set[str]:
    refers = [f"{kind}_{what}" for kind in stage.objects for what in ("key", "sha256")]
    columns = ("row_key", *refers, *stage.settled_by)
    rows, rejected = read_parts(store, stage.name, part_keys(store, stage.name, fingerprint_), wanted, stage.settled, columns)
    refs = [
        (key, FileRef(key=row[f"{kind}_key"], sha256=row[f"{kind}_sha256"]))
        for key, row in rows.items()
        for kind in stage.objects
        if row[f"{kind}_key"] is not None
    ]
    held = store.holds_all([ref for _, ref in refs])
    broken = {key for (key, _), good in zip(refs, held, strict=True) if not good}
    if broken:
        logger.warning("%s: %d outputs are missing or altered and will be re-made", stage.name, len(broken))
    standing = {key for key, row in rows.items() if stage.settled(row)}
    refused = set() if retry_rejects else {key for key, reject in rejected.items() if reject["code"] not in _PASSING}
    return (standing | refused) - broken


def _outcomes(process: Callable[[list[Row]], list[Output]], batch: list[Row]) -> list[Output | BadItemError]:
    """Process a batch; if anything in it fails, process its items alone so that only the bad one is rejected."""
    try:
        return list(process(batch))
    except CefmError as error:
        if not isinstance(error, BadItemError):
            raise
        failed: Exception = error
    except Exception as error:  # a fault on one image must not cost the others
        failed = error
    if len(batch) > 1:
        return [outcome for item in batch for outcome in _outcomes(process, [item])]
    if isinstance(failed, BadItemError):
        return [failed]
    logger.warning("image %s failed", batch[0]["image_id"], exc_info=failed)
    if isinstance(failed, MemoryError):
        return [BadItemError("out_of_memory", f"not enough memory for this image alone: {str(failed)[:200]}")]
    return [BadItemError("processing_failed", f"{type(failed).__name__}: {str(failed)[:200]}")]


def _lineage(store: Store, item: Row, output: Output) -> Row:
    row = {**output.row, "image_id": item["image_id"], "image_sha256": item["image_sha256"], "row_key": item["row_key"]}
    for kind, (data, suffix) in output.objects.items():
        ref = store.put_object(kind, data, suffix)
        row |= {f"{kind}_key": ref.key, f"{kind}_sha256": ref.sha256}
    return row


def _reject(stage: str, item: Row, error: BadItemError) -> Row:
    return {"item": item["image_id"], "stage": stage, "code": error.code, "message": error.message, "row_key": item["row_key"]}


def _batches(items: list[Row], size: int) -> Iterator[list[Row]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
