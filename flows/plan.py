"""A dry run: what a run would do, on how many images, and why; nothing is computed and nothing published."""

from __future__ import annotations

from importlib import import_module

from pydantic import BaseModel

from cefm_core.stages import STAGES
from flows.pace import Pace
from storage import keys
from storage.refs import FileRef
from storage.versions import latest_outputs
from tasks.collect_corrections import collect_corrections
from tasks.context import RunContext
from tasks.row_stage import Plan, make_plan
from tasks.rows import row_stage


class StagePlan(BaseModel):
    """What one stage would do.

    Attributes:
        name: Stage name.
        images: Images it would be asked for.
        missing: Images it would work on.
        why: Why it would work on them, or why it would not.
        seconds: About how long, at the pace of past runs on this store; None where there is none.
    """

    name: str
    images: int
    missing: int
    why: str
    seconds: float | None = None

    @property
    def about(self) -> str:
        """The estimate in words, or nothing."""
        return "" if self.seconds is None else f"about {self.seconds:.0f} s"


class RunPlan(BaseModel):
    """What a run would do.

    Attributes:
        run_id: Identifier of the dry run.
        store: URI of the store.
        stages: One entry a stage, in order.
    """

    run_id: str
    store: str
    stages: list[StagePlan]


def plan_text(plan: RunPlan) -> str:
    """Return a plan as plain lines."""
    return "\n".join(
        f"{stage.name}: {stage.missing} of {stage.images} images ({', '.join(filter(None, (stage.why, stage.about)))})"
        for stage in plan.stages
    )


def plan_markdown(plan: RunPlan) -> str:
    """Return a plan as a Markdown page."""
    lines = ["# Dry run: nothing was computed", "", "| stage | images | to do | why | time |", "| --- | ---: | ---: | --- | --- |"]
    return "\n".join(lines + [f"| {s.name} | {s.images} | {s.missing} | {s.why} | {s.about} |" for s in plan.stages])


def plan_run(context: RunContext) -> RunPlan:
    """Return what a run would do.

    The images counted are those of the source as it is now; a stage whose upstream would change is counted on the latest version.
    """
    from tasks.build_manifest import scan_source

    opened = context.open_store()
    scanned = scan_source.fn(context)
    published = latest_outputs(opened)
    upstream: dict[str, FileRef] = published | {"source_listing": scanned.files["source_listing"]}
    if "manifest" in published:
        upstream |= collect_corrections.fn(context, published["manifest"]).files
    pace, found = Pace(opened), []
    for stage in STAGES:
        contract = getattr(import_module(f"tasks.{stage.name}"), "STAGE", None)
        if contract is None:
            why = "computed anew, as asked" if context.computes_anew(stage.name) else "runs when its tables change"
            found.append(StagePlan(name=stage.name, images=0, missing=0, why=why, seconds=pace.tables(stage.name)))
            continue
        entry = _row_entry(context, stage.name, upstream, scanned.summary["images"])
        found.append(entry.model_copy(update={"seconds": pace.rows(stage.name, entry.missing)}))
    return RunPlan(run_id=context.run_id, store=context.store, stages=found)


def _row_entry(context: RunContext, name: str, upstream: dict[str, FileRef], images: int) -> StagePlan:
    needed = row_stage(name).upstream
    if any(table not in upstream for table in needed):
        return StagePlan(name=name, images=images, missing=images, why="never run on this store")
    plan = make_plan(row_stage(name), context, {table: upstream[table] for table in needed})
    return StagePlan(name=name, images=plan.images, missing=plan.missing, why=_why(context, plan))


def _why(context: RunContext, plan: Plan) -> str:
    if not plan.missing:
        return "cached"
    if context.computes_anew(plan.stage):
        return "computed anew, as asked"
    store = context.open_store()
    if not store.keys_below(keys.part_folder(plan.stage, plan.fingerprint)):
        return "settings, weights or code changed" if store.keys_below(f"rows/{plan.stage}") else "never run on this store"
    return "new or changed images, and rejects" if context.retry_rejects else "new or changed images"
