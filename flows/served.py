"""The flows that `cefm serve` lets operators start from the UI, and the process that runs what they start.

A worker's pools, schedules and automations belong to `prefect.yaml` and deployments/; this is for one machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from flows.server import set_environment

SERVED = ("full_run", "prepare_dataset", "train_alignment", "evaluate_alignment", "write_reports")
# A run tells the server so often, in seconds, that it lives.
_HEARTBEAT_S = "30"
_PATIENCE_S = 30


@contextmanager
def runs_from_the_ui() -> Iterator[None]:
    """Run what is started from the UI, in a process beside this one, until the context ends.

    The server's address must stand in ``PREFECT_API_URL``.
    """
    environment = os.environ | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": _HEARTBEAT_S}
    process = subprocess.Popen([sys.executable, "-m", "flows.served"], env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def main() -> None:
    """Make the flows known to the server and run what is asked for, one run at a time."""
    set_environment()
    from prefect import serve
    from prefect.deployments.runner import EntrypointType

    flows = [getattr(import_module(f"flows.{name}"), name) for name in SERVED]
    deployments = [
        flow.to_deployment(name.replace("_", "-") + "-here", tags=["cefm"], entrypoint_type=EntrypointType.MODULE_PATH)
        for name, flow in zip(SERVED, flows, strict=True)
    ]
    serve(*deployments, limit=1, print_starting_message=False)


if __name__ == "__main__":
    main()
