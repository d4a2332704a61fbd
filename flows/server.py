"""A Prefect server of one's own: started when no API is configured, reused while it lives, stopped with the command.

Nothing here imports Prefect: its settings are read from the environment at import time, so they are set first.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from cefm_core.errors import ConfigurationError

_START_TIMEOUT_S = 180
_OFFLINE = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "GX_ANALYTICS_ENABLED": "false",
}


def cefm_home() -> Path:
    """Return the folder of the local server's database and log: ``CEFM_HOME``, or ``~/.cefm``."""
    return Path(os.environ.get("CEFM_HOME", Path.home() / ".cefm"))


def set_environment() -> None:
    """Set what must be set before Prefect is imported: offline, no analytics, JSON results."""
    for name, value in _OFFLINE.items():
        os.environ.setdefault(name, value)


def ensure_server(keep: bool = False) -> str:
    """Return the API's URL, having started a local server if none is configured and none is running.

    Args:
        keep: Leave a server that this call started running when the process ends.

    Raises:
        ConfigurationError: The server does not answer in time; the message names its log.
    """
    set_environment()
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        return configured
    home = cefm_home()
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
    url = _running(home) or _start(home, keep)
    os.environ["PREFECT_API_URL"] = url
    return url


def ui_url(api_url: str) -> str:
    """Return the address of the UI that belongs to an API."""
    return api_url.removesuffix("/api")


def _running(home: Path) -> str | None:
    record = home / "server.url"
    if not record.exists():
        return None
    url = record.read_text(encoding="utf-8").strip()
    return url if _healthy(url) else None


def _start(home: Path, keep: bool) -> str:
    port = _free_port()
    url, log = f"http://127.0.0.1:{port}/api", home / "server.log"
    environment = os.environ | {"PREFECT_API_URL": url, "PREFECT_SERVER_API_HOST": "127.0.0.1", "PREFECT_SERVER_API_PORT": str(port)}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("ab") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink, start_new_session=True)
    record = home / "server.url"
    if not keep:
        atexit.register(_stop, process, record)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if _healthy(url):
            record.write_text(url, encoding="utf-8")
            return url
        time.sleep(0.25)
    _stop(process, record)
    raise ConfigurationError(f"the local Prefect server did not start; see {log}, or set PREFECT_API_URL to one that runs")


def _stop(process: subprocess.Popen[bytes], record: Path) -> None:
    record.unlink(missing_ok=True)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def _free_port() -> int:
    preferred = 4200
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
