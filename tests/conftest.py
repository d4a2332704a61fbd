"""Fixtures that every test folder shares."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the development data set, beside the project; the test skips, visibly, where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data" / "dermoscopy" / "metadata.csv").exists():
        pytest.skip("development data set is not beside the project")
    return folder
