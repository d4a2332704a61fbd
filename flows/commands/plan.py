"""``cefm run --plan``: what a run would do, on how many images, and why."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cefm_core.stages import STAGES
from storage import keys
from storage.refs import FileRef
from storage.versions import latest_number, read_outputs
from tasks.collect_corrections import collect_corrections
from tasks.context import RunContext
from tasks.row_stage import make_plan
from tasks.rows import row_stage


def plan_run(context: RunContext) -> list[dict[str, Any]]:
    """Return one entry a stage: name, images, missing, why.

    The images counted are those of the source as it is now; a stage whose upstream would change is counted on the latest version.
    """
    from tasks.build_manifest import scan_source

    opened = context.open_store()
    scanned = scan_source.fn(context)
    published = read_outputs(opened) if latest_number(opened) else {}
    upstream: dict[str, FileRef] = published | {"source_listing": scanned.files["source_listing"]}
    if "manifest" in published:
        upstream |= collect_corrections.fn(context, published["manifest"]).files
    found = []
    for stage in STAGES:
        contract = getattr(import_module(f"tasks.{stage.name}"), "STAGE", None)
        if contract is None:
            found.append({"name": stage.name, "images": 0, "missing": 0, "why": "runs when its tables change"})
            continue
        found.append(_row_entry(context, stage.name, upstream, scanned.summary["images"]))
    return found


def _row_entry(context: RunContext, name: str, upstream: dict[str, FileRef], images: int) -> dict[str, Any]:
    needed = row_stage(name).upstream
    if any(table not in upstream for table in needed):
        return {"name": name, "images": images, "missing": images, "why": "never run on this store"}
    plan = make_plan(row_stage(name), context, {table: upstream[table] for table in needed})
    known = context.open_store().keys_below(keys.part_folder(name, plan.fingerprint))
    why = "cached" if not plan.missing else ("new or changed images" if known else "settings, weights or code changed")
    return {"name": name, "images": plan.images, "missing": plan.missing, "why": why}
