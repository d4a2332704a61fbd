"""What a flow works on: what it was handed, or the latest published version."""

from __future__ import annotations

from cefm_core.errors import ConfigurationError
from storage.refs import FileRef
from storage.versions import read_outputs
from tasks.context import RunContext


def needed(context: RunContext, inputs: dict[str, FileRef] | None, *names: str) -> dict[str, FileRef]:
    """Return the named outputs.

    Args:
        context: The run.
        inputs: What was handed over, or None for the latest published version.
        names: Output names, e.g. ``manifest``.

    Raises:
        ConfigurationError: One is not there; the message names the stages to run first.
    """
    return needed_from(context.store, available(context, inputs), *names)


def available(context: RunContext, inputs: dict[str, FileRef] | None) -> dict[str, FileRef]:
    """Return everything a flow was handed, or all outputs of the latest published version."""
    return inputs if inputs is not None else read_outputs(context.open_store())


def needed_from(store: str, found: dict[str, FileRef], *names: str) -> dict[str, FileRef]:
    """Return the named outputs among ``found``.

    Raises:
        ConfigurationError: One is not there; the message names the store.
    """
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigurationError(f"store {store}: {', '.join(missing)} not published yet; run the earlier stages first")
    return {name: found[name] for name in names}
