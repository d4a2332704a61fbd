"""A slot of a Prefect concurrency limit for every shard that computes on a GPU: over all runs and workers, as many at once as it says.

Nobody counts slots here: the server does, and takes one back whose holder has been silent for longer than its lease.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from cefm_core.config import RuntimeConfig
from cefm_core.errors import ConfigurationError

# The limit that is asked for on a GPU where no other is named.
GPU = "gpu"
# The shortest lease that Prefect grants. It is renewed while the shard goes on; a killed holder's slot is free within it and 15 s more.
LEASE_S = 60
# How often somebody who waits says so.
_PATIENCE_S = 30
# The most that the server gives at once.
_NEWEST_EVENTS = 50


def limit_name(runtime: RuntimeConfig, device: str) -> str | None:
    """Return the limit of which a shard on ``device`` holds a slot: the one that is named, else ``gpu`` on a GPU."""
    return runtime.concurrency_limit or (GPU if device.startswith("cuda") else None)


def find_limit(name: str) -> Any | None:
    """Return the server's limit of this name, or None."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            return client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return None


@contextmanager
def device_slot(runtime: RuntimeConfig, device: str) -> Iterator[None]:
    """Hold a slot while the body runs, where the server has a limit for it; wait for one, and say every half minute who holds them.

    A lease that cannot be renewed or given back (the server is away) ends no work: the shard goes on, with a warning.

    Args:
        runtime: The run's runtime settings.
        device: The torch device that the body computes on.

    Raises:
        ConfigurationError: The settings name a limit that the server does not have.
    """
    name = limit_name(runtime, device)
    limit = find_limit(name) if name else None
    if limit is None and runtime.concurrency_limit:
        raise ConfigurationError(missing(runtime.concurrency_limit))
    held = ExitStack()
    if limit is not None:
        _enter(held, limit)
    try:
        yield
    finally:
        _give_back(held)


def missing(name: str) -> str:
    """Say that the server has no limit of this name, and what to do."""
    return (
        f"runtime.concurrency_limit = {name}: the Prefect server has no such limit; do "
        f"`prefect global-concurrency-limit create {name} --limit N`, or leave the setting out"
    )


def holders(limit: Any) -> list[str]:
    """Return the names of the task runs that hold a slot of one of the server's limits, as its newest events say.

    The server takes seconds to store an event. A killed holder tells of no end; it is named as long as its run counts as Running.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter
    from prefect.events.filters import EventFilter

    wanted = EventFilter.model_validate({"resource": {"id": [f"prefect.concurrency-limit.{limit.id}"]}})
    with get_client(sync_client=True) as client:
        events = client.read_events(filter=wanted, limit=_NEWEST_EVENTS).events
        ended = {event.follows for event in events if event.event.endswith("released")}
        open_ = [event for event in reversed(events) if event.event.endswith("acquired") and event.id not in ended]
        ids = [str(event.resource_in_role["task-run"].id).removeprefix("prefect.task-run.") for event in open_]
        found = client.read_task_runs(task_run_filter=TaskRunFilter.model_validate({"id": {"any_": ids}})) if ids else []
        running = [(run.name, run.flow_run_id) for run in found if run.state and run.state.is_running()]
        return [f"{name} of run {client.read_flow_run(flow_run_id).name}" for name, flow_run_id in running if flow_run_id]


def _enter(held: ExitStack, limit: Any) -> None:
    """Take a slot as soon as there is one."""
    from prefect.concurrency.sync import concurrency

    with _saying_who_holds(limit):
        held.enter_context(concurrency(limit.name, lease_duration=LEASE_S, strict=True, raise_on_lease_renewal_failure=False))


def _give_back(held: ExitStack) -> None:
    try:
        held.close()
    except Exception as error:  # what was computed is worth more than a slot that comes free by itself
        _logger().warning("the slot could not be given back (%s); its lease ends within %d s", type(error).__name__, LEASE_S)


@contextmanager
def _saying_who_holds(limit: Any) -> Iterator[None]:
    """Say every half minute that the body waits, and for whom, in the log of the task that waits."""
    over, log, start = threading.Event(), _logger(), time.monotonic()

    def say() -> None:
        while not over.wait(_PATIENCE_S):
            log.warning("waiting for a slot of `%s` for %.0f s; held by %s", limit.name, time.monotonic() - start, _who(limit))

    # It may be in the middle of asking when the wait is over; nobody waits for that.
    threading.Thread(target=say, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _who(limit: Any) -> str:
    try:
        return "; ".join(holders(limit)) or "nobody who is known to run: a killed holder's lease has yet to end"
    except Exception as error:  # whoever only waits must not fail for the sake of a log line
        return f"somebody; the server does not say who ({type(error).__name__})"


def _logger() -> Any:
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)
