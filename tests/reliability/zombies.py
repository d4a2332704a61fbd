"""A worker and its run are killed at once, so that nobody can report it: how long until the run is marked, freed, and goes on.

A real server with the automations of deployments/, a real process worker in a session of its own, killed with everything it started; a
second worker waits. Nobody touches anything.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tests.flows.services import ROOT, ask_prefect, kill_tree, prefect_environment
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.workspace import make_source

GOAL_S = 60.0
_PATIENCE_S = 300.0
_POOL = "zombies"
_IMAGES = 60


def find(seed: int, count: int) -> Finding:
    """Kill ``count`` workers, one after the other, each in the middle of a run."""
    rng = random.Random(seed)
    deployment = _set_up()
    with tempfile.TemporaryDirectory(prefix="cefm-zombies-") as folder:
        make_source(Path(folder), _IMAGES, seed)
        found = [_cycle(Path(folder), deployment, number, rng) for number in range(count)]
    return _finding(found)


def _set_up() -> str:
    """Make pool, deployment and automations known to the server; return the deployment's id."""
    _prefect("work-pool", "create", _POOL, "--type", "process")
    _prefect("--no-prompt", "deploy", "--name", "prepare-dataset", "--pool", _POOL)
    known = {automation["name"] for automation in ask_prefect("/automations/filter", {})}
    for automation in yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())["automations"]:
        if automation["name"] not in known:
            ask_prefect("/automations/", automation)
    return next(d["id"] for d in ask_prefect("/deployments/filter", {}) if d["work_pool_name"] == _POOL)


def _cycle(folder: Path, deployment: str, number: int, rng: random.Random) -> dict[str, float]:
    """Start a run, kill its worker with everything below it, and time what follows."""
    config = {"refine": {"refiner": "none"}, "runtime": {"shard_size": 4, "workers": 1}}
    context = {"store": str(folder / f"store-{number}"), "source": str(folder / "source"), "config": config}
    run = ask_prefect(f"/deployments/{deployment}/create_flow_run", {"parameters": {"context": context}})["id"]
    first = _worker(folder, f"first-{number}")
    _until(run, lambda state: state["type"] == "RUNNING")
    _until_shard(run)
    time.sleep(rng.uniform(0, 3))
    killed = time.time()
    kill_tree(first)
    second = _worker(folder, f"second-{number}")
    try:
        _until(run, lambda state: state["type"] == "CRASHED" or state["name"] in ("AwaitingRetry", "Retrying"))
        crashed = _time_of(run, "CRASHED")
        _until(run, lambda state: state["type"] == "RUNNING")
        resumed = _time_of(run, "RUNNING")
        _until(run, lambda state: state["type"] in ("COMPLETED", "FAILED", "CANCELLED"), patience=900)
    finally:
        kill_tree(second)
    done = ask_prefect(f"/flow_runs/{run}")["state"]["type"]
    progress(f"{number}: crashed {crashed - killed:.1f} s after the kill, on again after {resumed - killed:.1f} s, {done}")
    return {"crashed": crashed - killed, "resumed": resumed - killed, "completed": float(done == "COMPLETED")}


def _worker(folder: Path, name: str) -> int:
    with (folder / f"{name}.log").open("wb") as log:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", _POOL, "--name", name]
        process = subprocess.Popen(command, env=prefect_environment(), cwd=folder, stdout=log, stderr=log, start_new_session=True)
    return process.pid


def _until(run: str, reached: Any, patience: float = _PATIENCE_S) -> None:
    deadline = time.monotonic() + patience
    while not reached(ask_prefect(f"/flow_runs/{run}")["state"]):
        if time.monotonic() > deadline:
            raise TimeoutError(f"run {run} stays {ask_prefect(f'/flow_runs/{run}')['state']['name']}")
        time.sleep(0.5)


def _until_shard(run: str) -> None:
    """Wait until the run has finished a shard, so that there is something not to be lost."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        tasks = ask_prefect("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        if any("shard" in task["name"] and task["state_type"] == "COMPLETED" for task in tasks):
            return
        time.sleep(0.5)
    raise TimeoutError(f"run {run} finishes no shard")


def _time_of(run: str, kind: str) -> float:
    """Return when the run last entered a state of a kind, by the server's clock, which is ours."""
    from datetime import datetime

    states = ask_prefect(f"/flow_run_states/?flow_run_id={run}")
    return max(datetime.fromisoformat(state["timestamp"]).timestamp() for state in states if state["type"] == kind)


def _prefect(*arguments: str) -> None:
    command = [sys.executable, "-m", "prefect", *arguments]
    subprocess.run(command, env=prefect_environment(), cwd=ROOT, capture_output=True, check=True, timeout=300)


def _finding(found: list[dict[str, float]]) -> Finding:
    def at(name: str, share: float) -> float:
        values = sorted(cycle[name] for cycle in found)
        return values[min(len(values) - 1, round(share * (len(values) - 1)))]

    rows = [
        [title, f"{at(name, 0.5):.1f} s", f"{at(name, 0.95):.1f} s", f"{at(name, 1.0):.1f} s"]
        for name, title in (("crashed", "kill to Crashed"), ("resumed", "kill to running again"))
    ]
    done = sum(cycle["completed"] for cycle in found)
    lines = [
        f"Workers killed with their run (SIGKILL), nobody touching anything: {len(found)}; runs that were completed by another worker: "
        f"**{done:.0f}**. Goal: 95 % within {GOAL_S:.0f} s.",
        "",
        *table(["time", "median", "95 %", "longest"], rows),
    ]
    failures = [f"{len(found) - done:.0f} runs were not completed"] if done < len(found) else []
    failures += [f"95 % only within {at('crashed', 0.95):.0f} s"] if at("crashed", 0.95) > GOAL_S else []
    return Finding("Zombies", lines, failures)


if __name__ == "__main__":
    main("zombies", find, 20)
