"""One Prefect server and one finished run for all flow tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.server import set_environment

SETTINGS = {
    "refine": {"refiner": "classical"},
    "alignment": {"seeds": [1, 2], "epochs": 3, "classifier_epochs": 3},
    "evaluation": {"bootstrap_samples": 100},
    "runtime": {"shard_size": 16},
}


@pytest.fixture(scope="session")
def prefect():
    """A Prefect API for flows run in this process."""
    set_environment()
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "400")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=400):
        yield


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """A folder of rendered lesions with metadata and reference masks."""
    from cefm_core.phantoms.dataset import write_phantom_dataset

    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_dataset(folder, 40, 7)
    return folder


@pytest.fixture(scope="session")
def finished(prefect, phantoms, tmp_path_factory):
    """The context and summary of a finished run; tests work on copies of its store."""
    from flows.full_run import full_run
    from tasks.context import RunContext

    context = RunContext(
        store=str(tmp_path_factory.mktemp("finished")), source=str(phantoms), metadata=str(phantoms / "metadata.csv"), config=SETTINGS
    )
    return context, full_run(context)
