"""preflight: everything that would stop a run, found before its first image."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from cefm_core.errors import CefmError, ConfigurationError
from cefm_core.stages import STAGES
from flows.runner import check_runner
from flows.server import is_own, known_server
from tasks.context import RunContext
from tasks.device_slot import find_limit, limit_name, missing
from tasks.source_names import beside_bytes, classified_names, joined_metadata

# More at once, and the runs' reports wait for each other's writes.
_SQLITE_WORKERS = 8
Check = tuple[str, Callable[[], str]]


def preflight(context: RunContext) -> None:
    """Check everything before the first image and log what was found.

    Raises:
        ConfigurationError: Anything is unusable; every fault is named, with its remedy.
    """
    from prefect import get_run_logger

    for line in check(context):
        get_run_logger().info(line)


def check(context: RunContext, with_source: bool = True) -> list[str]:
    """Check store, source, metadata, device, workers, writer and weights.

    Args:
        context: The run.
        with_source: Whether there is a source to check.

    Returns:
        One line for each thing that was found in order.

    Raises:
        ConfigurationError: Anything is unusable; every fault is named, with its remedy.
    """
    weights = [(stage.name, _weights_check(stage.name, context)) for stage in STAGES]
    return _look_at(_places(context, with_source) + weights + [("slots", lambda: _slots(context)), ("server", lambda: _server(context))])


def check_places(context: RunContext) -> list[str]:
    """Check what needs no orchestrator: the command does so before it starts a server.

    Raises:
        ConfigurationError: Anything is unusable; every fault is named, with its remedy.
    """
    return _look_at(_places(context, with_source=True))


def _look_at(checks: list[Check]) -> list[str]:
    found: list[str] = []
    faults: list[str] = []
    for name, look in checks:
        try:
            seen = look()
            found += [f"{name}: {seen}"] if seen else []
        except CefmError as error:
            faults.append(str(error))
    if faults:
        raise ConfigurationError("\n".join(faults))
    return found


def _places(context: RunContext, with_source: bool) -> list[Check]:
    source: list[Check] = [("source", lambda: _source(context)), ("metadata", lambda: _metadata(context))]
    return [
        ("store", lambda: _store(context)),
        *(source if with_source else []),
        ("device", context.device),
        ("workers", lambda: check_runner(context.config.runtime)),
        ("writer", lambda: _writer(context)),
    ]


def _weights_check(stage: str, context: RunContext) -> Callable[[], str]:
    def check() -> str:
        declared = getattr(import_module(f"tasks.{stage}"), "STAGE", None)
        weights = declared.weights(context.config) if declared else {}
        return ", ".join(f"{name} {digest[:12]}" for name, digest in weights.items())

    return check


def _slots(context: RunContext) -> str:
    runtime = context.config.runtime
    name = limit_name(runtime, context.device())
    if name is None or known_server() is None:
        return ""
    limit = find_limit(name)
    if limit is None and runtime.concurrency_limit:
        raise ConfigurationError(missing(name))
    return f"{limit.limit} of the limit {name}" if limit else f"not bounded; the server has no limit {name}"


def _server(context: RunContext) -> str:
    url, workers = known_server(), context.config.runtime.workers
    crowded = url is not None and workers > _SQLITE_WORKERS and is_own(url)
    return (
        f"{workers} workers on a server with SQLite, which may find it locked; give it PostgreSQL (deployments/compose.yaml)"
        if crowded
        else ""
    )


def _store(context: RunContext) -> str:
    context.open_store().preflight()
    return context.store


def _source(context: RunContext) -> str:
    classified = classified_names(context.open_source())
    return f"{len(classified.images)} images in {context.source}"


def _metadata(context: RunContext) -> str:
    table = joined_metadata({uri: beside_bytes(uri) for uri in context.metadata})
    if table is None:
        return "none"
    return f"{table.row_count} rows in {table.name}, columns {', '.join(table.recognised)}"


def _writer(context: RunContext) -> str:
    import os

    config = context.config.reports
    if config.writer == "openai" and not os.environ.get(config.api_key_env):
        raise ConfigurationError(f"reports.writer = openai: the environment variable {config.api_key_env} holds no key; set it")
    return config.writer
