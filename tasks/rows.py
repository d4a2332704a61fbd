"""The two tasks around the shards of any image-by-image stage: what is missing, and the whole table."""

from __future__ import annotations

from importlib import import_module

from cefm_core.tables import rejects
from storage.parquet import read_rows, write_rows
from storage.refs import FileRef
from tasks.context import RunContext
from tasks.row_stage import Plan, Published, RowStage, make_plan, publish_rows
from tasks.stage_task import as_cached, stage_task


@stage_task
def plan_rows(context: RunContext, stage: str, tables: dict[str, FileRef], label: str = "plan") -> Plan:
    """Find which images a stage has no believable row for; Cached when there are none."""
    plan = make_plan(row_stage(stage), context, tables)
    return as_cached(plan, plan.missing == 0)


@stage_task
def publish_table(context: RunContext, stage: str, plan: Plan, label: str = "publish") -> Published:
    """Gather a stage's rows into its whole table."""
    return publish_rows(row_stage(stage), context, plan)


@stage_task
def collect_rejects(context: RunContext, parts: list[FileRef], label: str = "collect rejects") -> FileRef:
    """Gather the rejects of all stages into one table."""
    store = context.open_store()
    return write_rows(store, rejects.TABLE, [row for part in parts for row in read_rows(store, part)])


def row_stage(name: str) -> RowStage:
    """Return the contract of a stage; each stage's task module declares its own as ``STAGE``."""
    return import_module(f"tasks.{name}").STAGE
