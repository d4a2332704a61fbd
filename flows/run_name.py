"""The name of a flow run while it goes on: operators see in the list of runs how far each is."""

from __future__ import annotations

import logging

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

logger = logging.getLogger(__name__)


def rename_run(name: str) -> None:
    """Give the current flow run another name; a server that does not take it costs the name, not the run."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, name=name)
    except Exception:  # whatever the server says, the work goes on
        logger.info("the run keeps its name", exc_info=True)


def flow_name() -> str:
    """Return the name of the current flow, or ""."""
    context = FlowRunContext.get()
    return context.flow.name if context is not None and context.flow is not None else ""
