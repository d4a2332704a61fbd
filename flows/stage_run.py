"""How a flow runs one stage: plan, shards, publish, gate; and what it remembers of it.

Which stage comes after which belongs to the flows, what a stage does to its tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect import Task, get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.futures import as_completed
from pydantic import BaseModel

from flows.console import PROGRESS
from flows.gate import gate
from flows.run_name import flow_name, rename_run
from flows.runner import shard_runner
from storage.refs import FileRef
from tasks.context import RunContext
from tasks.row_stage import PartSummary, Plan, Published
from tasks.rows import plan_rows, publish_table


class StageRecord(BaseModel):
    """What a stage did in this run.

    Attributes:
        name: Stage name.
        items_in: Items that entered.
        items_out: Rows that left.
        rejected: Items that became rejects.
        reused: Rows taken from earlier work.
        seconds: Wall-clock time.
        note: Why the stage did less than its name says, or "".
    """

    name: str
    items_in: int
    items_out: int
    rejected: int
    reused: int
    seconds: float
    note: str = ""

    @property
    def cached(self) -> bool:
        """Whether the stage computed nothing."""
        return self.reused == self.items_in


class FlowResult(BaseModel):
    """What a flow hands on: references, counts and gate results."""

    outputs: dict[str, FileRef] = {}
    stages: list[StageRecord] = []
    rejects: list[FileRef] = []
    gates: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}

    def take(self, other: FlowResult) -> None:
        """Add what another flow produced."""
        self.outputs |= other.outputs
        self.stages += other.stages
        self.rejects += other.rejects
        self.gates += other.gates
        self.facts |= other.facts


@contextmanager
def timed(result: FlowResult, name: str) -> Iterator[Callable[..., None]]:
    """Time a stage; the caller reports its counts through the yielded function."""
    start = time.perf_counter()
    counts: dict[str, Any] = {}
    yield lambda **values: counts.update(values)
    record = StageRecord(name=name, seconds=round(time.perf_counter() - start, 2), **counts)
    done = "cached" if record.cached else f"reused {record.reused}"
    line = f"{name}: in {record.items_in}, out {record.items_out}, rejected {record.rejected}, {done}, {record.seconds:.1f} s"
    get_run_logger().info(line)
    PROGRESS.info(line)
    result.stages.append(record)


def run_row_stage(
    context: RunContext,
    result: FlowResult,
    shard_task: Task[..., Any],
    tables: dict[str, FileRef],
    note: str = "",
    beforehand: Task[..., Any] | None = None,
) -> FileRef:
    """Run an image-by-image stage to its published, checked table.

    Args:
        context: The run.
        result: Collects counts, rejects, gates and outputs.
        shard_task: The stage's task; its name is the stage's.
        tables: Tables by name, at least those the stage reads.
        note: Why the stage does less than its name says, or "".
        beforehand: A task that is shown the work lists of all missing shards before the first of them starts, or None.
    """
    name = shard_task.name
    with timed(result, name) as report:
        plan, published = run_shards(context, shard_task, tables, beforehand)
        table = published.table
        gate(context, result, table_of(name), table, published.rows, published.rejected, published.causes)
        result.outputs[table_of(name)] = table
        if published.rejected:
            result.rejects.append(published.rejects)
        report(items_in=plan.images, items_out=published.rows, rejected=published.rejected, reused=plan.images - plan.missing, note=note)
    return table


def run_shards(
    context: RunContext, shard_task: Task[..., Any], tables: dict[str, FileRef], beforehand: Task[..., Any] | None = None
) -> tuple[Plan, Published]:
    """Plan a stage, work through its missing shards and gather its table."""
    name = shard_task.name
    plan = plan_rows.submit(context, name, tables, label=f"{name}: plan").result()
    if plan.shards:
        if beforehand is not None:
            _see_beforehand(context, beforehand, plan)
        _work_through(context, shard_task, plan)
    published = publish_table.submit(context, name, plan, label=f"{name}: publish {plan.images} images").result()
    return plan, published


def table_of(stage: str) -> str:
    """Return the name of a stage's main table."""
    from tasks.rows import row_stage

    return row_stage(stage).table.name


def _see_beforehand(context: RunContext, task: Task[..., Any], plan: Plan) -> None:
    said = f"{plan.stage}: {task.name}, {plan.missing} images"
    rename_run(f"{flow_name()} {context.title}: {task.name}")
    PROGRESS.info(said)
    task.submit(context, plan.shards, label=said).result()


def _work_through(context: RunContext, shard_task: Task[..., Any], plan: Plan) -> None:
    total, name = len(plan.shards), shard_task.name
    progress = create_progress_artifact(0.0, key=name.replace("_", "-"), description=_said(plan, 0, 0.0))
    rename_run(f"{flow_name()} {context.title}: {name}")
    start, images = time.perf_counter(), 0
    for done, summary in enumerate(_shards(context, shard_task, plan), start=1):
        images += summary.rows + summary.rejected
        said = _said(plan, images, time.perf_counter() - start)
        update_progress_artifact(progress, 100.0 * images / plan.missing, said)  # type: ignore[arg-type]  # sync in a sync flow
        rename_run(f"{flow_name()} {context.title}: {name} {100 * images // plan.missing} %")
        PROGRESS.info("%s: %d of %d shards; %s", name, done, total, said)


def _shards(context: RunContext, shard_task: Task[..., Any], plan: Plan) -> Iterator[PartSummary]:
    """Work through the shards of a plan; yield what each came to, in the order they end."""
    same = {"context": context, "fingerprint": plan.fingerprint} | ({"beside": plan.beside} if plan.beside else {})
    with shard_runner(context.config.runtime) as runner:
        futures = [
            runner.submit(shard_task, same | {"work": work, "label": f"{shard_task.name}: shard {number} of {len(plan.shards)}"})
            for number, work in enumerate(plan.shards, start=1)
        ]
        for future in as_completed(futures):
            yield future.result()


def _said(plan: Plan, images: int, seconds: float) -> str:
    """Say how long a stage will still take, how far it is and how fast; what matters most stands first, since the UI cuts the end off."""
    reused = f", {plan.images - plan.missing} reused" if plan.missing < plan.images else ""
    said = f"{images} of {plan.missing} images{reused}"
    if not images or not seconds:
        return said
    rate = f"{images / seconds:.1f} images/s" if images >= seconds else f"{seconds / images:.1f} s an image"
    ahead = "done" if images == plan.missing else f"{_duration(seconds * (plan.missing - images) / images)} left"
    return f"{ahead}: {said}, {rate}"


def _duration(seconds: float) -> str:
    """Return a length of time in words that fit it."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"
