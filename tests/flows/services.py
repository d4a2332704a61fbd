"""Real services on 127.0.0.1 for the tests of this folder, each started once and ended with the session, and the ``cefm`` command."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from flows.server import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
_SERVER = "import sys; from flows.server import ensure_server; print(ensure_server(), flush=True); sys.stdin.readline()"
_FOREIGN = ("PREFECT", "CEFM", "AWS")

QUICK = (
    "coarse.second=none", "refine.refiner=none", "alignment.seeds=[1]", "alignment.epochs=2", "alignment.classifier_epochs=2",
    "evaluation.bootstrap_samples=100", "runtime.shard_size=16",
)  # fmt: skip


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without what a developer's shell or another test may have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {"OMP_NUM_THREADS": "1"} | extra


@cache
def prefect_environment() -> dict[str, str]:
    """Environment of commands that use the session's own Prefect server, which this starts."""
    return start_prefect()


def start_prefect(**variables: str) -> dict[str, str]:
    """Start a Prefect server under further variables; return the environment of commands that use it. It ends with the session."""
    home = Path(tempfile.mkdtemp(prefix="cefm-home-"))
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        env=clean_environment(CEFM_HOME=str(home), **variables),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    url = process.stdout.readline().strip()

    def end() -> None:
        process.communicate("\n", timeout=60)
        shutil.rmtree(home, ignore_errors=True)

    atexit.register(end)
    if not url:
        raise RuntimeError((home / "server.log").read_text()[-2000:])
    return clean_environment(PREFECT_API_URL=url, PREFECT_HOME=str(home / "prefect"), CEFM_HOME=str(home))


def ask(url: str, body: Any = None) -> Any:
    """Ask an API for JSON: GET, or POST where there is a body."""
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.load(answer)


def ask_prefect(path: str, body: Any = None) -> Any:
    """Ask the API of the session's own Prefect server."""
    return ask(prefect_environment()["PREFECT_API_URL"] + path, body)


def start_prefect_again(home: Path, url: str) -> None:
    """Start the Prefect server of a home again, where its runs expect it, after it was killed; the last of them stops it."""
    environment = clean_environment(PREFECT_HOME=str(home / "prefect"), PREFECT_API_URL=url) | SETTINGS
    port = url.removesuffix("/api").rpartition(":")[2]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    (home / "server.json").write_text(json.dumps({"url": url, "pid": process.pid}))


@cache
def s3_environment() -> dict[str, str]:
    """AWS variables of the session's own S3 server with the bucket ``derm``, which this starts."""
    server = S3Server()
    server.start()
    atexit.register(server.end)
    return server.environment


class S3Server:
    """A real S3 server on 127.0.0.1 with the bucket ``derm``, which can be killed and started again on the same folder."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cefm-s3-"))
        self._ports = {name: free_port() for name in ("s3", "master", "filer", "volume", "admin")}
        self._grpc = {name: free_port() for name in self._ports}
        self._credentials = {"AWS_ACCESS_KEY_ID": "reader-and-writer", "AWS_SECRET_ACCESS_KEY": "not-a-secret-outside-tests"}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """AWS variables of its clients."""
        return self._credentials | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._ports['s3']}", "AWS_REGION": "us-east-1"}

    def start(self) -> None:
        """Start it; it takes objects some seconds later."""
        log = (self._folder / "weed.log").open("ab")
        environment = clean_environment(**self._credentials)
        self._process = subprocess.Popen(self._command(), env=environment, cwd=self._folder, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def end(self) -> None:
        """Stop it and remove its folder."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _command(self) -> list[str]:
        return [
            str(Path(sys.executable).with_name("weed")), "mini", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-bucket=derm", "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            *(f"-{name}.port={port}" for name, port in self._ports.items()),
            *(f"-{name}.port.grpc={port}" for name, port in self._grpc.items()),
        ]  # fmt: skip


class PostgresServer:
    """A real PostgreSQL server on 127.0.0.1, which can be killed and started again on the same data."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cefm-postgres-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # It refuses to run as root.
        self._as: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
        if self._as:
            shutil.chown(self._folder, "nobody", "nogroup")
        command = [_postgres("initdb"), "-D", str(self._folder / "data"), "-U", "cefm", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, cwd=self._folder, check=True, capture_output=True, **self._as)

    @property
    def url(self) -> str:
        """Connection of Prefect's server."""
        return f"postgresql+asyncpg://cefm@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "postgres.log").open("ab") as log:
            command = [_postgres("postgres"), "-D", str(self._folder / "data"), "-h", "127.0.0.1", "-p", str(self._port), "-k", ""]
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **self._as)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            time.sleep(0.1)
        raise RuntimeError((self._folder / "postgres.log").read_text()[-2000:])

    def kill(self) -> None:
        """End it at once, with every connection and every open transaction."""
        assert self._process is not None
        kill_tree(self._process.pid)
        self._process.wait(30)

    def end(self) -> None:
        """Stop it and remove its folder."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)


def has_postgres() -> bool:
    """Return whether a PostgreSQL server is installed."""
    return bool(_postgres("initdb") and _postgres("postgres"))


def _postgres(program: str) -> str:
    """Return the path of a program of PostgreSQL: on the PATH, or where Debian puts it; "" where there is none."""
    return shutil.which(program) or next((str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))), "")


def kill_tree(root: int) -> None:
    """Kill a process and whatever it started; all are halted first, so that none can report of another."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    tree = [root]
    for process in tree:
        tree += [child for child, parent in parents.items() if parent == process]
    for sign in (signal.SIGSTOP, signal.SIGKILL):
        for process in tree:
            with suppress(ProcessLookupError):
                os.kill(process, sign)


def free_port() -> int:
    """A port nobody listens on, from a range whose offset by 10,000 is a port too (a default of the S3 server)."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 50000:
            return port


def cefm(*arguments: object, environment: dict[str, str], cwd: Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the installed ``cefm`` command."""
    command = [str(Path(sys.executable).with_name("cefm")), *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def settings(*pairs: str) -> list[str]:
    """``--set`` flags."""
    return [part for pair in pairs for part in ("--set", pair)]
