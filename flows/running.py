"""Which runs go on or wait, and who holds the slots of deployments and limits: for operators who wonder why nothing happens."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from tasks.device_slot import holders

_SHOWN = 20
# What holds a slot, and what waits: a run that has yet to start is scheduled, whatever its state is called.
_HOLDING = ("RUNNING", "PENDING", "CANCELLING", "PAUSED")
_WAITING = ("Late", "AwaitingConcurrencySlot", "AwaitingRetry")
# Prefect keeps the slots of deployments as limits too, and says of each in its own words.
_OF_DEPLOYMENTS = "deployment:"


def runs_under_way() -> list[str]:
    """Return a line for each run that goes on or waits, for each deployment with slots and each limit of which some are taken.

    The server's address is configured.
    """
    with get_client(sync_client=True) as client:
        runs = _runs(client, {"type": {"any_": list(_HOLDING)}}) + _runs(client, {"name": {"any_": list(_WAITING)}})
        return [_line(run) for run in runs] + _slots(client, runs) + _limits(client)


def _runs(client: SyncPrefectClient, state: dict[str, Any]) -> list[FlowRun]:
    # A flow that another one calls is part of that one's run.
    chosen = FlowRunFilter.model_validate({"state": state, "parent_task_run_id": {"is_null_": True}})
    return client.read_flow_runs(flow_run_filter=chosen, limit=_SHOWN)


def _line(run: FlowRun) -> str:
    state = run.state
    name, since = (state.name, f" since {state.timestamp:%Y-%m-%d %H:%M:%S} UTC") if state else ("no state", "")
    return f"run {run.name}: {name}{since}"


def _slots(client: SyncPrefectClient, runs: list[FlowRun]) -> list[str]:
    """Say of each deployment concerned how many of its slots are taken."""
    lines = []
    for deployment_id in dict.fromkeys(run.deployment_id for run in runs if run.deployment_id):
        with suppress(ObjectNotFound):
            deployment = client.read_deployment(deployment_id)
            if limit := deployment.global_concurrency_limit:
                lines.append(f"deployment {deployment.name}: {limit.active_slots} of {limit.limit} slots taken")
    return lines


def _limits(client: SyncPrefectClient) -> list[str]:
    """Say of each limit in use how many slots are taken, and by which task runs."""
    limits = client.read_global_concurrency_limits(limit=_SHOWN, offset=0)
    return [
        f"limit {limit.name}: {limit.active_slots} of {limit.limit} slots taken: " + ("; ".join(holders(limit)) or "nobody known")
        for limit in limits
        if limit.active_slots and not limit.name.startswith(_OF_DEPLOYMENTS)
    ]
