"""What a rule's severity does in a flow, on a real Prefect server."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from cefm_core.tables.image_quality import TABLE
from storage.gates import read_history
from storage.parquet import write_rows
from storage.store import Store
from storage.versions import publish

pytestmark = pytest.mark.flow
ASKS = {"gates": {"drift": "ask", "ask_timeout_s": 60, "least_rows": 20}}


def quality(count, sharpness, start=0):
    rng = np.random.default_rng(start)
    return [
        {
            "image_id": f"i{k:03}", "image_sha256": f"{k}", "row_key": f"{k}-{sharpness}",
            "sharpness": sharpness + rng.random(), "exposure": 50.0,
            "contrast": 20.0, "hair_share": 0.0, "vignette_share": 0.0, "glare_share": 0.0,
            "ink_share": 0.0, "skin_hue_share": 1.0, "flags": [],
        }
        for k in range(start, start + count)
    ]  # fmt: skip


@pytest.fixture
def place(tmp_path):
    """A source, and a store whose version 1 holds sharp images."""
    source, store = tmp_path / "source", Store.open(str(tmp_path / "store"))
    source.mkdir()
    for k in range(100, 130):
        cv2.imwrite(str(source / f"i{k:03}.jpg"), np.full((80, 90, 3), 120, np.uint8))
    table = write_rows(store, TABLE, quality(100, 10.0))
    publish(store, 0, "run-1", {"image_quality": table}, str(source))
    store.put_json("runs/run-1/gates.json", [])
    blurred = write_rows(store, TABLE, quality(100, 10.0) + quality(30, 1.0, start=100))
    return source, store, blurred


def started(place, config):
    """Run the gate in a flow of its own; return that flow, its context and what it collects."""
    from prefect import flow

    from flows.gate import gate
    from flows.stage_run import FlowResult
    from tasks.context import RunContext

    source, store, table = place
    context = RunContext(store=store.uri, source=str(source), config=config, run_id="run-2")
    result = FlowResult()

    @flow(name="gated")
    def gated() -> None:
        gate(context, result, "image_quality", table, 130)

    return gated, result


def answered(decision, reason, seen):
    """Do what the operator's Resume button does, once the flow run waits; keep what the form says in ``seen``."""
    from prefect.client.orchestration import get_client

    def operate():
        with get_client(sync_client=True) as client:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                waiting = [run for run in client.read_flow_runs() if run.state and run.state.is_paused()]
                if waiting:
                    # The form is saved just after the state.
                    time.sleep(1)
                    run, keyset = f"/flow_runs/{waiting[0].id}", waiting[0].state.state_details.run_input_keyset
                    seen.append(client._client.get(f"{run}/input/{keyset['description']}").text)
                    for answer in ({"decision": decision}, {"decision": decision, "reason": reason}):
                        seen.append(client._client.post(f"{run}/resume", json={"run_input": answer}).json())
                    return
                time.sleep(0.2)

    thread = threading.Thread(target=operate)
    thread.start()
    return thread


def test_an_operator_lets_the_run_go_on_and_is_not_asked_twice(prefect, place):
    gated, result = started(place, ASKS)
    seen: list = []
    operator = answered("go_on", "new camera at one site", seen)
    gated()
    operator.join()
    assert "sharpness: median" in seen[0]
    assert seen[1]["status"] == "REJECT", "a reason must be given"
    assert seen[2]["status"] == "ACCEPT"
    assert (result.gates[0]["decision"], result.gates[0]["reason"]) == ("go_on", "new camera at one site")
    again, result = started(place, ASKS)
    begin = time.monotonic()
    again()
    assert result.gates[0]["reason"] == "new camera at one site" and time.monotonic() - begin < 30


def test_an_operator_stops_the_run(prefect, place):
    from cefm_core.errors import GateFailedError

    gated, _ = started(place, ASKS)
    operator = answered("stop", "wrong delivery", [])
    with pytest.raises(GateFailedError, match="stopped by an operator: wrong delivery"):
        gated()
    operator.join()
    _, store, _ = place
    rows = pq.read_table(store.uri.removeprefix("file://") + "/runs/run-2/gates.parquet").to_pylist()
    (asked,) = [row for row in rows if not row["passed"]]
    assert (asked["column"], asked["severity"], asked["decision"], asked["reason"]) == ("sharpness", "ask", "stop", "wrong delivery")


def test_nobody_decides(prefect, place):
    from cefm_core.errors import GateFailedError

    gated, _ = started(place, {"gates": ASKS["gates"] | {"ask_timeout_s": 2}})
    with pytest.raises(GateFailedError, match="nobody decided within 2 s"):
        gated()


def test_a_cancelled_run_does_not_wait_on(prefect, place):
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    from cefm_core.errors import GateFailedError

    def cancel():
        with get_client(sync_client=True) as client:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                for run in client.read_flow_runs():
                    if run.state and run.state.is_paused():
                        client.set_flow_run_state(run.id, Cancelled(), force=True)
                        return
                time.sleep(0.2)

    gated, _ = started(place, {"gates": ASKS["gates"] | {"ask_timeout_s": 600}})
    operator = threading.Thread(target=cancel)
    operator.start()
    with pytest.raises(GateFailedError, match="the flow run was cancelled"):
        gated()
    operator.join()


def test_a_stop_writes_the_offending_rows_with_their_pictures(prefect, place):
    from cefm_core.errors import GateFailedError

    gated, result = started(place, {"gates": {"drift": "stop", "least_rows": 20}})
    with pytest.raises(GateFailedError, match=r"sharpness: median .*gates\.html"):
        gated()
    page = (place[1].read("runs/run-2/gates.html")).decode()
    assert page.count("data:image/jpeg;base64,") == 12 and "and 18 more rows" in page
    assert "https://" not in page and "<link" not in page
    assert result.gates[0]["failures"]


def test_a_warning_goes_on_and_enters_the_history(prefect, place):
    from flows.gate import record_gates

    gated, result = started(place, {"gates": {"least_rows": 20}})
    gated()
    (line,) = result.gates[0]["warnings"]
    assert "sharpness" in line and "i1" in line
    _, store, table = place
    from storage.gates import write_gates

    write_gates(store, "run-2", result.gates)
    publish(store, 1, "run-2", {"image_quality": table}, "source")
    history = read_history(store)
    assert [entry["version"] for entry in history] == [2, 1]
    assert history[0]["gates"][0]["warnings"] == 1
    assert callable(record_gates)
