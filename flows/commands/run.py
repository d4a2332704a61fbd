"""``cefm run``, ``cefm demo`` and the later stages: flows, started from the command line."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cefm_core.config import CefmConfig
from cefm_core.errors import ConfigurationError
from flows.console import follow_progress, say
from flows.preflight import check_places
from flows.server import ensure_server, ui_url
from tasks.context import RunContext

_DEMO_SEED = 20240601
# So few images need a larger held-out part than a data set for the evaluation to say anything.
_DEMO_VAL_SHARE = 0.3


def context_of(**fields: Any) -> RunContext:
    """Make the context of a run.

    Raises:
        ConfigurationError: A field is not what it may be; every offender is named.
    """
    try:
        return RunContext(**fields)
    except ValidationError as error:
        raise ConfigurationError(
            "; ".join(f"{e['loc'][0]} {e['input']}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors())
        ) from error


def run(context: RunContext, as_json: bool) -> None:
    """Run the whole chain and print its summary."""
    _print(_start("full_run", context), as_json)


def demo(store: str, images: int, config: CefmConfig, as_json: bool) -> None:
    """Render lesions with known truth beside the store and run the whole chain on them."""
    from cefm_core.phantoms.dataset import write_phantom_dataset
    from storage.backends import local_path, normalise_uri

    folder = (local_path(normalise_uri(store)) or Path("demo-store").resolve()) / "source"
    say(f"rendering {images} lesions in {folder}")
    write_phantom_dataset(folder, images, _DEMO_SEED)
    config = config.model_copy(update={"manifest": config.manifest.model_copy(update={"val_share": _DEMO_VAL_SHARE})})
    run(RunContext(source=str(folder), metadata=(str(folder / "metadata.csv"),), store=store, config=config), as_json)


def later(flow_name: str, store: str, config: CefmConfig | None, refresh: tuple[str, ...], as_json: bool) -> None:
    """Run one of the later flows on the latest version and publish its outputs as the next.

    Args:
        flow_name: Name of the flow and its module.
        store: URI of the store.
        config: Settings; None takes those of the run that published the latest version.
        refresh: Stages that recompute everything.
        as_json: Print one JSON object.
    """
    from flows.redraw import recorded_config, redraw
    from storage.store import Store
    from storage.versions import latest_number, publish, read_outputs, read_version

    opened = Store.open(store)
    base = latest_number(opened)
    before = read_version(opened)
    source = before["source"]
    config = recorded_config(opened, before["run_id"]) if config is None else config
    context = context_of(source=source, store=store, config=config, refresh=refresh)
    result = _start(flow_name, context)
    outputs = read_outputs(opened) | result.outputs
    version = publish(opened, base, context.run_id, outputs, source)
    say("\n".join(f"{r.name}: in {r.items_in}, out {r.items_out}, {r.seconds:.1f} s" for r in result.stages))
    say(f"version {version} of {opened.uri}")
    if version != base:
        page = redraw(context, result, outputs, version, before["run_id"])
        say(f"report: {page}" if page else "the run page is not re-drawn: `cefm run` draws it")
    if as_json:
        stages = [record.model_dump() for record in result.stages]
        print(json.dumps({"run_id": context.run_id, "store": opened.uri, "version": version, "stages": stages}), flush=True)


def plan(context: RunContext, as_json: bool) -> None:
    """Say what a run would do, without doing it."""
    from flows.plan import plan_run, plan_text

    found = plan_run(context)
    print(json.dumps(found.model_dump()["stages"]) if as_json else plan_text(found), flush=True)


def _start(flow_name: str, context: RunContext) -> Any:
    """Start a flow on the configured API, or on a server of one's own; what would stop it is found before the server starts."""
    check_places(context)
    say(f"Prefect UI: {ui_url(ensure_server())}")
    follow_progress()
    flow = getattr(importlib.import_module(f"flows.{flow_name}"), flow_name)
    return flow(context)


def _print(summary: Any, as_json: bool) -> None:
    from flows.summary import summary_text

    say(summary_text(summary))
    if as_json:
        print(json.dumps(summary.model_dump(mode="json"), allow_nan=False), flush=True)
