"""A flow run that waits for an operator: paused with a form, until it is resumed, cancelled, or nobody came in time.

Prefect's own ``pause_flow_run`` goes on waiting after the run was cancelled; this looks at every state the run can have.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.input import RunInput
from prefect.input.run_input import keyset_from_paused_state
from prefect.states import Paused
from pydantic import Field

from cefm_core.errors import CefmError

_LOOK_AGAIN_S = 2.0


class GateDecision(RunInput):
    """What an operator decides about findings, and why; both are kept."""

    decision: Literal["go_on", "stop"] = Field(description="go_on: the run continues; stop: it ends here and publishes nothing")
    reason: str = Field(min_length=3, max_length=500, description="Why; kept with the run, so name no patient")


class NobodyDecidedError(CefmError):
    """No decision came: the time was up, or the flow run was cancelled."""


def ask(question: str, key: str, timeout_s: int) -> GateDecision:
    """Pause the flow run that calls this until an operator resumes it with a decision.

    Args:
        question: What the form says, in Markdown.
        key: Name of the pause within the flow run: lower case, digits and dashes.
        timeout_s: How long to wait, in seconds.

    Raises:
        NobodyDecidedError: The time is up, or the flow run was cancelled.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise NobodyDecidedError("nobody can be asked outside a flow run")
    run_id = context.flow_run.id
    state: Any = Paused(timeout_seconds=timeout_s, pause_key=key)
    keyset = keyset_from_paused_state(state)
    state.state_details.run_input_keyset = keyset
    form: Any = GateDecision.with_initial_data(description=question)
    deadline = time.monotonic() + timeout_s
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, state, force=True)
        form.save(keyset, flow_run_id=run_id)
        while time.monotonic() < deadline:
            time.sleep(min(_LOOK_AGAIN_S, timeout_s / 4))
            now = client.read_flow_run(run_id).state
            if now is not None and now.is_running():
                return form.load(keyset, flow_run_id=run_id)
            if now is not None and (now.is_final() or now.is_cancelling()):
                raise NobodyDecidedError("the flow run was cancelled")
    raise NobodyDecidedError(f"nobody decided within {timeout_s} s")
