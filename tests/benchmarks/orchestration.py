"""What orchestration costs a run: its task runs, and the seconds in which none of them was at work, as the Prefect server remembers.

    python tests/benchmarks/orchestration.py [--run PART_OF_ITS_NAME]

The longest finished run of the whole chain, or the latest one of that name; from the configured API, or the local server's memory.
What the server's process takes of the cores while tasks are at work does not show here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

_PAGE = 200


@dataclass(frozen=True)
class Orchestration:
    """What a run came to.

    Attributes:
        name: Name of the run.
        task_runs: Task runs of it and of the flows it called.
        seconds: Wall-clock time.
        idle: Of these, the seconds in which no task was at work.
    """

    name: str
    task_runs: int
    seconds: float
    idle: float

    @property
    def share(self) -> float:
        """The share of the time in which no task was at work, 0..1."""
        return self.idle / self.seconds


def measure(client: Any, run: Any) -> Orchestration:
    """Measure a finished run of the whole chain."""
    called = _all(client.read_flow_runs, flow_run_filter=_filter("FlowRunFilter", {"parent_flow_run_id": {"any_": [str(run.id)]}}))
    ids = [str(one.id) for one in (run, *called)]
    tasks = list(_all(client.read_task_runs, task_run_filter=_filter("TaskRunFilter", {"flow_run_id": {"any_": ids}})))
    # A task run that stands for a flow is at work only as that flow's own tasks are.
    own = [task for task in tasks if task.start_time and task.end_time and task.state.state_details.child_flow_run_id is None]
    seconds = (run.end_time - run.start_time).total_seconds()
    return Orchestration(run.name, len(tasks), seconds, seconds - _covered([(task.start_time, task.end_time) for task in own]))


def finished_runs(client: Any) -> list[Any]:
    """Return the finished runs of the whole chain, the latest first."""
    runs = _all(
        client.read_flow_runs,
        flow_filter=_filter("FlowFilter", {"name": {"any_": ["full_run"]}}),
        flow_run_filter=_filter("FlowRunFilter", {"state": {"type": {"any_": ["COMPLETED"]}}}),
    )
    return sorted(runs, key=lambda run: run.start_time, reverse=True)


def _filter(kind: str, value: dict[str, Any]) -> Any:
    from prefect.client.schemas import filters

    return getattr(filters, kind).model_validate(value)


def _all(read: Any, **wanted: Any) -> Iterator[Any]:
    offset = 0
    while page := read(**wanted, limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def _covered(spans: list[tuple[datetime, datetime]]) -> float:
    """Return the seconds that lie within at least one span."""
    total, end = 0.0, None
    for first, last in sorted(spans):
        start = first if end is None else max(first, end)
        if last > start:
            total += (last - start).total_seconds()
            end = last
    return total


def main() -> None:
    """Print the figures of one run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", default="", help="part of the run's name; the longest run where it is left out")
    asked = parser.parse_args()
    from flows.server import ensure_server

    ensure_server()
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        runs = [run for run in finished_runs(client) if asked.run in run.name]
        if not runs:
            sys.exit(f"no finished run of the whole chain has {asked.run!r} in its name")
        chosen = runs[0] if asked.run else max(runs, key=lambda run: run.end_time - run.start_time)
        found = measure(client, chosen)
    print(f"{found.name}: {found.task_runs} task runs, {found.seconds:.0f} s, no task at work for {found.idle:.1f} s ({found.share:.1%})")


if __name__ == "__main__":
    main()
