"""Who holds a slot, and who waits for it, as the server itself decides it."""

import time

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.states import Pending, Running

from cefm_core.config import RuntimeConfig
from flows.running import runs_under_way
from flows.server import known_server
from tasks.device_slot import device_slot
from tests.flows.services import cefm, prefect_environment

pytestmark = pytest.mark.flow


@flow(name="one_at_a_time")
def one_at_a_time():
    pass


def test_the_holder_of_a_slot_and_who_waits_for_it_are_named(prefect):
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(one_at_a_time), "slot-test", concurrency_limit=1)
        holder = client.create_flow_run_from_deployment(deployment, name="holder")
        waiting = client.create_flow_run_from_deployment(deployment, name="waiting")
        client.set_flow_run_state(holder.id, Pending())
        client.set_flow_run_state(holder.id, Running())
        client.set_flow_run_state(waiting.id, Pending())
        lines = runs_under_way()
        assert any(line.startswith("run holder: Running since 20") for line in lines)
        assert any(line.startswith("run waiting: AwaitingConcurrencySlot since 20") for line in lines)
        assert "deployment slot-test: 1 of 1 slots taken" in lines
        client.delete_flow_run(holder.id)
        assert "deployment slot-test: 0 of 1 slots taken" in runs_under_way()
        client.delete_flow_run(waiting.id)
        client.delete_deployment(deployment)
    assert not any("holder" in line or "waiting" in line for line in runs_under_way())


def test_without_a_server_none_is_started(monkeypatch, tmp_path):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("CEFM_HOME", str(tmp_path))
    assert known_server() is None
    assert list(tmp_path.iterdir()) == []


@task(task_run_name="shard 1 of 1")
def shard():
    with device_slot(RuntimeConfig(concurrency_limit="slot-of-a-device"), "cpu"):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # the server stores events after some seconds
            if lines := [line for line in runs_under_way() if line.startswith("limit slot-of-a-device: 1 of 2 slots taken: shard")]:
                return lines
            time.sleep(0.5)
    return runs_under_way()


@flow(flow_run_name="with a slot")
def with_a_slot():
    return shard()


def test_who_holds_a_slot_of_a_limit_is_named_and_nobody_afterwards(prefect):
    with get_client(sync_client=True) as client:
        limit = client.request("POST", "/v2/concurrency_limits/", json={"name": "slot-of-a-device", "limit": 2}).json()["id"]
        assert with_a_slot() == ["limit slot-of-a-device: 1 of 2 slots taken: shard 1 of 1 of run with a slot"]
        assert not any("slot-of-a-device" in line for line in runs_under_way())
        client.request("DELETE", "/v2/concurrency_limits/{id}", path_params={"id": limit})


def test_without_a_gpu_no_limit_is_asked_for():
    with device_slot(RuntimeConfig(), "cpu"):
        pass


def test_a_limit_that_the_server_lacks_is_said_before_the_first_image(phantoms, tmp_path):
    answer = cefm(
        "run", "--source", phantoms, "--store", tmp_path / "store", "--set", "runtime.concurrency_limit=nowhere",
        environment=prefect_environment(), cwd=tmp_path,
    )  # fmt: skip
    assert answer.returncode == 2
    assert (
        "runtime.concurrency_limit = nowhere: the Prefect server has no such limit; do `prefect global-concurrency-limit" in answer.stderr
    )
