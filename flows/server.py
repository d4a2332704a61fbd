"""A Prefect server of one's own: started when no API is configured, reused while it lives, stopped with the command.

Nothing here imports Prefect: its settings are read from the environment at import time, so they are set first.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

from cefm_core.errors import ConfigurationError

_START_TIMEOUT_S = 420
# The API that flows of this process talk to, once there is one.
_used: list[str] = []
# What every server and command is told before Prefect is imported.
SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "GX_ANALYTICS_ENABLED": "false",
    # A database that goes away for seconds makes the server answer so; by itself Prefect would give the run up at the first.
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    # By itself the server keeps leases in memory: one that starts again would leave the slots of killed runs taken for ever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # Who waits for a slot asks again after this at most, on average; by itself after 30 s, in which a free GPU would idle.
    "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
}


def cefm_home() -> Path:
    """Return the folder of the local server's database and log: ``CEFM_HOME``, or ``~/.cefm``."""
    return Path(os.environ.get("CEFM_HOME", Path.home() / ".cefm"))


def set_environment() -> None:
    """Set what must be set before Prefect is imported: offline, no analytics, JSON results, lasting leases."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def ensure_server() -> str:
    """Return the API's URL, having started a local server if none is configured and none is running.

    The server is shared by every ``cefm`` process of this home; the last one to end stops it.

    Raises:
        ConfigurationError: The server does not answer in time; the message names its log.
    """
    set_environment()
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        _used.append(configured)
        return configured
    home = cefm_home()
    (home / "clients").mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
    (home / "clients" / str(os.getpid())).touch()
    atexit.register(_leave, home, os.getpid())
    url = _running(home) or _start(home)
    os.environ["PREFECT_API_URL"] = url
    _used.append(url)
    return url


def end_process(code: int) -> NoReturn:
    """End the process; at once where the server that it used is gone.

    Prefect holds back what it has yet to tell the server, and tries for ten seconds an event to get rid of it, which takes minutes.
    """
    if _used and _refuses(_used[-1]):
        print(f"cefm: the Prefect server {_used[-1]} is gone; what it knows of this run ends early", file=sys.stderr)
        if (cefm_home() / "clients" / str(os.getpid())).exists():
            _leave(cefm_home(), os.getpid())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def known_server() -> str | None:
    """Return the URL of the configured API, or of the local server that runs; None where there is neither. Starts nothing."""
    return os.environ.get("PREFECT_API_URL") or _running(cefm_home())


def is_own(api_url: str) -> bool:
    """Whether an API is the local server that ``cefm`` starts, which keeps its runs in SQLite."""
    return api_url == _running(cefm_home())


def ui_url(api_url: str) -> str:
    """Return the address of the UI that belongs to an API."""
    return api_url.removesuffix("/api")


def _running(home: Path) -> str | None:
    try:
        url = json.loads((home / "server.json").read_text(encoding="utf-8"))["url"]
    except (OSError, ValueError, KeyError):
        return None
    return url if _healthy(url) else None


def _start(home: Path) -> str:
    port = _free_port()
    url, log = f"http://127.0.0.1:{port}/api", home / "server.log"
    environment = os.environ | {"PREFECT_API_URL": url, "PREFECT_SERVER_API_HOST": "127.0.0.1", "PREFECT_SERVER_API_PORT": str(port)}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("ab") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink, start_new_session=True)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if _healthy(url):
            (home / "server.json").write_text(json.dumps({"url": url, "pid": process.pid}), encoding="utf-8")
            return url
        time.sleep(0.25)
    _stop(process.pid)
    raise ConfigurationError(f"the local Prefect server did not start; see {log}, or set PREFECT_API_URL to one that runs")


def _leave(home: Path, pid: int) -> None:
    """Stop the server if no other process of this home uses it."""
    if os.getpid() != pid:  # a forked child ends without having come
        return
    (home / "clients" / str(pid)).unlink(missing_ok=True)
    others = [int(client.name) for client in (home / "clients").iterdir() if client.name.isdigit()]
    if any(_alive(other) for other in others):
        return
    try:
        server = json.loads((home / "server.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    (home / "server.json").unlink(missing_ok=True)
    _stop(int(server["pid"]))


def _stop(pid: int) -> None:
    for sign, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 2.0)):
        if not _alive(pid):
            return
        os.killpg(pid, sign)
        deadline = time.monotonic() + patience
        while _alive(pid) and time.monotonic() < deadline:
            time.sleep(0.1)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _refuses(url: str) -> bool:
    """Whether nobody listens there; a server that is only slow, or far away, does not count."""
    try:
        urllib.request.urlopen(f"{url}/health", timeout=10).close()
    except urllib.error.URLError as error:
        return isinstance(error.reason, ConnectionRefusedError)
    except OSError:
        return False
    return False


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
