"""preflight: everything that would stop a run, found before its first image."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from prefect import get_run_logger

from cefm_core.errors import CefmError, ConfigurationError
from cefm_core.stages import STAGES
from tasks.context import RunContext


def preflight(context: RunContext) -> None:
    """Check everything before the first image and log what was found.

    Raises:
        ConfigurationError: Anything is unusable; every fault is named, with its remedy.
    """
    for line in check(context):
        get_run_logger().info(line)


def check(context: RunContext, with_source: bool = True) -> list[str]:
    """Check store, source, device, weights and writer.

    Args:
        context: The run.
        with_source: Whether there is a source to check.

    Returns:
        One line for each thing that was found in order.

    Raises:
        ConfigurationError: Anything is unusable; every fault is named, with its remedy.
    """
    found: list[str] = []
    faults: list[str] = []
    for name, look in _checks(context):
        if name == "source" and not with_source:
            continue
        try:
            found.append(f"{name}: {look()}")
        except CefmError as error:
            faults.append(str(error))
    if faults:
        raise ConfigurationError("\n".join(faults))
    return found


def _checks(context: RunContext) -> list[tuple[str, Callable[[], str]]]:
    checks: list[tuple[str, Callable[[], str]]] = [
        ("store", lambda: _store(context)),
        ("source", lambda: f"{len(context.open_source().names())} files in {context.source}"),
        ("device", lambda: context.device()),
        ("writer", lambda: _writer(context)),
    ]
    return checks + [(stage.name, _weights_check(stage.name, context)) for stage in STAGES]


def _weights_check(stage: str, context: RunContext) -> Callable[[], str]:
    def check() -> str:
        declared = getattr(import_module(f"tasks.{stage}"), "STAGE", None)
        weights = declared.weights(context.config) if declared else {}
        return ", ".join(f"{name} {digest[:12]}" for name, digest in weights.items()) or "no weights needed"

    return check


def _store(context: RunContext) -> str:
    context.open_store().preflight()
    return context.store


def _writer(context: RunContext) -> str:
    import os

    config = context.config.reports
    if config.writer == "openai" and not os.environ.get(config.api_key_env):
        raise ConfigurationError(f"reports.writer = openai: the environment variable {config.api_key_env} holds no key; set it")
    return config.writer
