"""Who holds a slot, and who waits for it, as the server itself decides it."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Pending, Running

from flows.running import runs_under_way
from flows.server import known_server

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
