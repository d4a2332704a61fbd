"""The run page after a later stage ran alone: what the run before it said, with what is new."""

from __future__ import annotations

from typing import Any

from cefm_core.config import CefmConfig
from cefm_core.errors import IntegrityError
from flows.lineage import commit
from flows.stage_run import FlowResult
from flows.summary import object_url
from storage import keys
from storage.refs import FileRef
from storage.store import Store
from storage.versions import record_run, whole_versions
from tasks.changes_page import changes_page
from tasks.context import RunContext
from tasks.gate_page import gate_page
from tasks.publish_site import publish_site


def site_of(result: FlowResult) -> dict[str, Any]:
    """Return what a run page says beside its tables, as plain values for the run record."""
    stages = [record.model_dump() | {"cached": record.cached} for record in result.stages]
    return {"stages": stages, "gates": result.gates, "facts": result.facts}


def beside_the_run_page(context: RunContext, gates: list[dict[str, Any]], base: int, version: int) -> list[list[str]]:
    """Write the pages that stand beside a run page: its gates, and what its version changed; return title and address of each."""
    gate_page.fn(context, gates)
    links = [["Gates", "gates.html"]]
    earlier = (found["number"] for found in whole_versions(context.open_store()) if found["number"] <= base)
    before = next(earlier, 0) if base < version else 0
    if before and changes_page.fn(context, before, version):
        links.append([f"Changes since version {before}", "changes.html"])
    return links


def redraw(context: RunContext, result: FlowResult, outputs: dict[str, FileRef], version: int, before: str) -> str | None:
    """Draw the run page of a version that a later stage published, and record the run.

    Args:
        context: The run of the later stage.
        result: What it did.
        outputs: All outputs of the version.
        version: Its number.
        before: Identifier of the run that published the version before.

    Returns:
        Address of the page, or None where the run before left no record of its own page that this code can read.
    """
    store = context.open_store()
    new = site_of(result)
    site = _site_before(store, before, new)
    if site is None:
        return None
    site = {
        "stages": _merged(site["stages"], new["stages"], "name"),
        "gates": _merged(site["gates"], new["gates"], "table"),
        "facts": site["facts"] | new["facts"] | {"version": version, "commit": commit()},
    }
    site["facts"]["links"] = beside_the_run_page(context, site["gates"], version - 1, version)
    page = publish_site.fn(context, outputs, site["stages"], site["gates"], site["facts"])["run_page"]
    plain = {name: ref.model_dump() for name, ref in outputs.items()}
    record = {"run_id": context.run_id, "version": version, "outputs": plain, "site": site, "commit": commit()}
    record_run(store, context.run_id, record | {"context": context.model_dump(mode="json")})
    return object_url(context.store, page)


def recorded_config(store: Store, run_id: str) -> CefmConfig:
    """Return the settings of a run, so that a later stage goes on as it was begun; the defaults where they are not recorded or not read."""
    try:
        return CefmConfig.model_validate(store.read_json(keys.run_key(run_id, "run.json"))["context"]["config"])
    except (IntegrityError, KeyError, ValueError):
        return CefmConfig()


def _site_before(store: Store, run_id: str, new: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the page of the run before said, or None where it is not recorded, or not as today's pages want it."""
    try:
        site = store.read_json(keys.run_key(run_id, "run.json"))["site"]
    except (IntegrityError, KeyError):
        return None
    return site if all(_alike(site[kind], new[kind]) for kind in ("stages", "gates")) else None


def _alike(before: list[dict[str, Any]], new: list[dict[str, Any]]) -> bool:
    """Whether entries that an earlier version of this code recorded hold what today's hold."""
    needed = set.intersection(*(set(entry) for entry in new)) if new else set()
    return all(needed <= set(entry) for entry in before)


def _merged(before: list[dict[str, Any]], new: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Replace entries of the same name, in place; what was not there before comes last."""
    entries = {entry[key]: entry for entry in before} | {entry[key]: entry for entry in new}
    return list(entries.values())
