import logging

import pytest

from tasks import llm_batch_api, llm_endpoint
from tests.tasks.batch_world import SECRET, World


@pytest.fixture
def world(tmp_path, monkeypatch, caplog):
    """A server with a batch interface whose key never reaches a log."""
    monkeypatch.setattr(llm_endpoint, "_BACKOFF_S", 0.02)
    monkeypatch.setattr(llm_batch_api, "_BACKOFF_S", 0.02)
    monkeypatch.setenv("CEFM_LLM_API_KEY", SECRET)
    caplog.set_level(logging.INFO)
    made = World(tmp_path)
    yield made
    made.server.stop()
    assert SECRET not in caplog.text
