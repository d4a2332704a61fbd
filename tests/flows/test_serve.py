"""`cefm serve`: one command gives server, UI, report site and a process that runs what is started in the UI; one signal
ends them all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cefm_core.phantoms.dataset import write_phantom_dataset
from tests.flows.services import ask, clean_environment, free_port

pytestmark = pytest.mark.flow
_PATIENCE_S = 420
_IMAGES = 48


def wait_for(found):
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if value := found():
                return value
        except (OSError, ValueError, KeyError, StopIteration):
            pass
        time.sleep(0.5)
    raise TimeoutError


def ended(state):
    return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None


def processes_of(session):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == session:
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_run_is_started_cancelled_and_started_again_from_the_ui_and_everything_ends_with_one_signal(tmp_path):
    store, source, home, port = tmp_path / "store", tmp_path / "source", tmp_path / "home", free_port()
    store.mkdir()
    write_phantom_dataset(source, _IMAGES, 7, size=(192, 256))
    command = [str(Path(sys.executable).with_name("cefm")), "serve", "--store", str(store), "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        served = subprocess.Popen(
            command, env=clean_environment(CEFM_HOME=str(home)), cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    try:
        server = wait_for(lambda: json.loads((home / "server.json").read_text()))
        api = server["url"]
        config = {"refine": {"refiner": "none"}, "runtime": {"workers": 1, "shard_size": 16}}
        context = {"store": str(store), "source": str(source), "config": config}
        cancelled = start(api, context, "first")
        wait_for(lambda: ask(f"{api}/task_runs/filter", shards_of(cancelled)))
        wait_for(lambda: ask(f"{api}/flow_runs/{cancelled}/set_state", {"state": {"type": "CANCELLING"}, "force": False}))
        assert wait_for(lambda: ended(ask(f"{api}/flow_runs/{cancelled}")["state"]))["type"] == "CANCELLED"
        assert any(rows_of(store).values())
        again = start(api, context, "second")
        assert wait_for(lambda: ended(ask(f"{api}/flow_runs/{again}")["state"]))["type"] == "COMPLETED"
        # A row in two parts would have been computed twice.
        assert rows_of(store) == dict.fromkeys(
            ("build_manifest", "assess_images", "segment_coarse", "refine_masks", "measure_abc"), _IMAGES
        )
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).status == 200
    finally:
        os.kill(served.pid, signal.SIGINT)
        served.wait(90)
    assert wait_for(lambda: not processes_of(served.pid) and not processes_of(server["pid"]))


def start(api, context, key):
    """Start a run as the UI does and return its id.

    A busy server answers 503, as it does to Prefect's own client, which asks again; the key keeps that from starting two runs.
    """
    deployment = wait_for(lambda: next(d for d in ask(f"{api}/deployments/filter", {}) if d["name"] == "prepare-dataset-here"))
    wish = {"parameters": {"context": context}, "idempotency_key": key}
    return wait_for(lambda: ask(f"{api}/deployments/{deployment['id']}/create_flow_run", wish))["id"]


def shards_of(run):
    """Filter of a run's finished shards."""
    return {
        "flow_runs": {"id": {"any_": [run]}},
        "task_runs": {"name": {"like_": "assess_images: shard"}, "state": {"type": {"any_": ["COMPLETED"]}}},
    }


def rows_of(store):
    """Return the number of rows in the committed parts of each stage."""
    return {
        folder.name: sum(pq.read_metadata(part).num_rows for part in folder.rglob("*.parquet"))
        for folder in sorted((store / "rows").iterdir())
    }
