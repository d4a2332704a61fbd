"""Real services on 127.0.0.1 for the tests of this folder, each started once and ended with the session, and the ``cefm`` command."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SERVER = "import sys; from flows.server import ensure_server; print(ensure_server(), flush=True); sys.stdin.readline()"
_FOREIGN = ("PREFECT", "CEFM", "AWS")

QUICK = (
    "refine.refiner=none", "alignment.seeds=[1]", "alignment.epochs=2", "alignment.classifier_epochs=2",
    "evaluation.bootstrap_samples=100", "runtime.shard_size=16",
)  # fmt: skip


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without what a developer's shell or another test may have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {"OMP_NUM_THREADS": "1"} | extra


@cache
def prefect_environment() -> dict[str, str]:
    """Environment of commands that use the session's own Prefect server, which this starts."""
    home = Path(tempfile.mkdtemp(prefix="cefm-home-"))
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        env=clean_environment(CEFM_HOME=str(home)),
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


@cache
def s3_environment() -> dict[str, str]:
    """AWS variables of the session's own S3 server with the bucket ``derm``, which this starts."""
    folder = Path(tempfile.mkdtemp(prefix="cefm-s3-"))
    ports = {name: free_port() for name in ("s3", "master", "filer", "volume", "admin")}
    command = [
        str(Path(sys.executable).with_name("weed")), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=derm",
        "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *(f"-{name}.port.grpc={free_port()}" for name in ports),
    ]  # fmt: skip
    credentials = {"AWS_ACCESS_KEY_ID": "reader-and-writer", "AWS_SECRET_ACCESS_KEY": "not-a-secret-outside-tests"}
    log = (folder / "weed.log").open("wb")
    process = subprocess.Popen(command, env=clean_environment(**credentials), cwd=folder, stdout=log, stderr=log)

    def end() -> None:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return credentials | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}", "AWS_REGION": "us-east-1"}


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
