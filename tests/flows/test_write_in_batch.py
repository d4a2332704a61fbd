"""A flow whose language model is asked in a batch: one batch for all shards, seen in the UI, and nothing asked live."""

from __future__ import annotations

import shutil

import pytest
from prefect.client.orchestration import get_client

from cefm_core.config import CefmConfig
from flows.write_reports import write_reports
from storage.backends import local_path
from storage.parquet import read_rows
from storage.store import Store
from storage.versions import read_outputs
from tasks.ledgers import read_ledgers
from tests.flows.conftest import SETTINGS
from tests.tasks.llm_servers import BatchServer, Oracle

pytestmark = pytest.mark.flow


def test_all_shards_are_asked_for_in_one_batch(finished, tmp_path):
    context, _ = finished
    shutil.copytree(local_path(context.store), tmp_path / "store")
    store = Store.open(str(tmp_path / "store"))
    oracle = Oracle([corrected.facts for corrected in read_ledgers(store, read_outputs(store)).values()])
    with BatchServer(oracle) as server:
        reports = {"writer": "openai", "base_url": server.url, "llm_model": "m", "batch": True}
        runtime = SETTINGS["runtime"] | {"llm_batch_poll_s": 0.1}
        config = CefmConfig.model_validate(SETTINGS | {"reports": reports, "runtime": runtime})
        context = context.model_copy(update={"store": f"file://{tmp_path / 'store'}", "run_id": "batch", "config": config})
        result = write_reports(context)
        again = write_reports(context.model_copy(update={"run_id": "batch-again"}))
    rows = read_rows(store, result.outputs["reports"])
    assert rows and {(row["status"], row["writer"]) for row in rows} == {("published", "openai")}
    assert len(server.batches) == 1 and len(server.lines()) > 16 and server.requests == []
    assert again.outputs["reports"] == result.outputs["reports"] and again.stages[-1].cached
    with get_client(sync_client=True) as client:
        runs = {run.name for run in client.read_task_runs()}
        shown = [artifact.description for artifact in client.read_artifacts() if artifact.key == "write-reports-batches"]
    assert f"write_reports: ask_in_batch, {len(rows)} images" in runs
    assert shown == [f"{len(rows)} of {len(rows)} requests done, 0 batches under way"]
