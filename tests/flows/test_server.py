"""The local server: started when there is none, shared, and stopped by the last to leave."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flows.services import cefm, clean_environment

pytestmark = pytest.mark.flow
ROOT = Path(__file__).resolve().parents[2]
CLIENT = "import sys; from flows.server import ensure_server; print(ensure_server(), flush=True); sys.stdin.readline()"


def client(home):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")} | {"CEFM_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT], env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def doctor(url, home, workers):
    answer = cefm(
        "doctor", "--store", home / "store", "--set", f"runtime.workers={workers}",
        environment=clean_environment(PREFECT_API_URL=url, CEFM_HOME=str(home)), cwd=home,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def healthy(url):
    from flows.server import _healthy

    return _healthy(url)


def test_two_clients_share_one_server_and_the_last_stops_it(tmp_path):
    first = client(tmp_path)
    url = first.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    second = client(tmp_path)
    assert second.stdout.readline().strip() == url
    many, few = (doctor(url, tmp_path, workers) for workers in (9, 8))
    assert "9 workers on a server with SQLite" in many and "SQLite" not in few
    first.communicate("\n", timeout=60)
    assert healthy(url)
    second.communicate("\n", timeout=60)
    deadline = time.monotonic() + 20
    while healthy(url) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not healthy(url)
