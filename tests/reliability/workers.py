"""One run on 1, 2 and 4 workers, as threads and as Dask processes: the same outputs, and what each costs in time; what a task costs alone.

Dask is left out where prefect-dask is not installed.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.flows.services import prefect_environment
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.workspace import Ran, Workspace, make_source, run

_TITLE = "Workers: threads and Dask"
_WORKERS = (1, 2, 4)
_TASKS = 100
# Share of a run's time that may go into orchestration.
_SHARE = 0.03


def find(seed: int, count: int) -> Finding:
    """Measure what tasks cost by themselves, and run the whole chain on ``count`` images, each time on an empty store; 0: costs alone."""
    runners = ["threads", "dask"] if find_spec("prefect_dask") else ["threads"]
    runs = _runs(seed, count, runners) if count else Finding(_TITLE, [])
    return Finding(_TITLE, [*runs.lines, *([""] if runs.lines else []), *_costs_of_tasks(runners)], runs.failures)


def _runs(seed: int, count: int, runners: list[str]) -> Finding:
    with tempfile.TemporaryDirectory(prefix="cefm-workers-") as folder:
        make_source(Path(folder), count, seed)
        base = Workspace(Path(folder)).with_own_code()
        _timed(base, "threads", 2, "warm-up")
        found = [(runner, workers, *_timed(base, runner, workers, f"{runner}-{workers}")) for runner in runners for workers in _WORKERS]
    return _finding(count, found)


def _timed(base: Workspace, runner: str, workers: int, store: str) -> tuple[Ran, float]:
    dask = {"runtime__dask": "local"} if runner == "dask" else {}
    place = base.with_settings(runtime__workers=str(workers), runtime__shard_size="8", **dask)
    start = time.perf_counter()
    ran = run(replace(place, store_uri=str(base.folder / store)))
    seconds = time.perf_counter() - start
    progress(f"{runner}, {workers} workers: exit {ran.code}, {seconds:.1f} s")
    return ran, seconds


def _costs(runner: str) -> tuple[float, float]:
    """Return the seconds until two workers have done a task each, and the seconds a task that does nothing then costs."""
    from prefect import flow

    from cefm_core.config import RuntimeConfig
    from flows.runner import shard_runner
    from tasks.stage_task import stage_task

    @stage_task
    def nothing(label: str) -> None:
        """Be a task and do no work."""

    runtime = RuntimeConfig(workers=2, dask="local" if runner == "dask" else None)

    @flow(name=f"costs-{runner}")
    def costs() -> tuple[float, float]:
        start = time.perf_counter()
        with shard_runner(runtime) as shards:
            seconds = []
            for tasks in (2, _TASKS):
                for future in [shards.submit(nothing, {"label": f"nothing {number}"}) for number in range(tasks)]:
                    future.result()
                seconds.append(time.perf_counter() - start)
            return seconds[0], (seconds[1] - seconds[0]) / _TASKS

    return costs()


def _costs_of_tasks(runners: list[str]) -> list[str]:
    """Measure what workers and tasks cost by themselves, and say from which shard on that does not matter."""
    os.environ.update(prefect_environment())
    measured = {runner: _costs(runner) for runner in runners}
    rows = [[r, f"{start:.1f}", f"{1000 * task:.0f}", f"{task / _SHARE:.1f}"] for r, (start, task) in measured.items()]
    headers = ["runner", "until two workers have begun, s", "a task, ms", f"seconds of work that make it {_SHARE:.0%}"]
    return [f"What {_TASKS} tasks that do nothing cost, two at once, with the server's part of it:", "", *table(headers, rows)]


def _finding(count: int, found: list[tuple[str, int, Ran, float]]) -> Finding:
    first = found[0][2]
    failures = [f"{runner}, {workers} workers: exit {ran.code}: {ran.said[-300:]}" for runner, workers, ran, _ in found if ran.code]
    failures += [f"{r}, {w} workers: other outputs" for r, w, ran, _ in found if not ran.code and ran.outputs != first.outputs]
    rows = [
        [r, w, f"{seconds:.1f}", f"{_images(ran):.1f}", "yes" if ran.outputs == first.outputs else "no"] for r, w, ran, seconds in found
    ]
    cores = os.cpu_count()
    lines = [
        f"The whole chain on {count} images, in shards of eight, on {cores} cores. More workers than cores cannot be faster here; what "
        "shows is that the outputs do not depend on them, and what the orchestration of processes costs.",
        "",
        *table(["runner", "workers", "whole run, s", "stages over images, s", "outputs as with one thread"], rows),
    ]
    return Finding(_TITLE, lines, failures)


def _images(ran: Ran) -> float:
    """Seconds of the stages that work image by image."""
    whole = {"train_alignment", "evaluate_alignment"}
    stages: list[dict[str, Any]] = ran.summary.get("stages", [])
    return sum(stage["seconds"] for stage in stages if stage["name"] not in whole)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main("workers", find, 48)
