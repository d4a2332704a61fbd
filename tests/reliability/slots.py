"""Who holds the one slot of a concurrency limit is killed, alone or with the server: how long until the next run computes?

Before that two runs share the slot in peace, and every shard is counted. Nobody touches anything.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.device_slot import LEASE_S
from tests.flows.services import ask, kill_tree, start_prefect, start_prefect_again
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.workspace import Workspace, make_source

_TITLE = "One slot, and its holder killed"
_IMAGES, _SHARD, _STAGES = 24, 12, 4
_KINDS = ("run", "run and server, which starts again")
# The server looks for ended leases every 15 s.
GOAL_S = LEASE_S + 20.0
_PATIENCE_S = 600
# An event is stored some seconds after it was sent.
_STORED_S = 5


@dataclass(frozen=True)
class _Killed:
    """What followed a kill: seconds until the slot was taken again, exit codes of who took it and of the same command, what was said."""

    kind: str
    seconds: float
    codes: tuple[int, int]
    said: str


def find(seed: int, count: int) -> Finding:
    """Let two runs share a slot, then kill ``count`` holders, one after the other."""
    server = _Server()
    with tempfile.TemporaryDirectory(prefix="cefm-slots-") as folder:
        make_source(Path(folder), _IMAGES, seed)
        base = Workspace(Path(folder), environment=server.environment)
        base = base.with_settings(runtime__concurrency_limit=server.name, runtime__shard_size=str(_SHARD))
        codes, most, taken = _in_peace(base, server)
        killed = [_kill(base, server, number) for number in range(count)]
    return _finding(codes, most, taken, killed)


class _Server:
    """A Prefect server of one's own, with a limit of one slot."""

    name = "gpu"

    def __init__(self) -> None:
        self.environment = start_prefect()
        self._url, self._home = self.environment["PREFECT_API_URL"], Path(self.environment["CEFM_HOME"])
        self._limit = self.ask("/v2/concurrency_limits/", {"name": self.name, "limit": 1})["id"]

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask the server's API."""
        return ask(self._url + path, body)

    def active(self) -> int:
        """Slots taken now."""
        return int(self.ask(f"/v2/concurrency_limits/{self._limit}")["active_slots"])

    def taken(self) -> list[float]:
        """When the slot was taken, each time."""
        wanted = {
            "resource": {"id": [f"prefect.concurrency-limit.{self._limit}"]},
            "event": {"name": ["prefect.concurrency-limit.acquired"]},
        }
        page = self.ask("/events/filter", {"filter": wanted, "limit": 50})
        events = list(page["events"])
        while page.get("next_page"):
            page = self.ask(page["next_page"].partition("/api")[2])
            events += page["events"]
        return [datetime.fromisoformat(event["occurred"]).timestamp() for event in events]

    def kill_and_start_again(self) -> None:
        """End it at once, and start it on the same data."""
        kill_tree(int(json.loads((self._home / "server.json").read_text())["pid"]))
        start_prefect_again(self._home, self._url)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            try:
                self.active()
                return
            except OSError:
                time.sleep(0.5)
        raise TimeoutError("the Prefect server does not start again")


def _in_peace(base: Workspace, server: _Server) -> tuple[list[int], int, int]:
    """Return the exit codes of two runs at once, the most slots seen taken, and how often one was taken."""
    seen, over = {0}, threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            seen.add(server.active())

    watcher = threading.Thread(target=watch)
    watcher.start()
    codes = [run.wait(_PATIENCE_S) for run in [_start(base, f"peace-{number}") for number in range(2)]]
    over.set()
    watcher.join()
    time.sleep(_STORED_S)
    return codes, max(seen), len(server.taken())


def _kill(base: Workspace, server: _Server, number: int) -> _Killed:
    kind = _KINDS[number % len(_KINDS)]
    _kill_holder(base, server, f"killed-{number}")
    killed = time.time()
    if kind != "run":
        server.kill_and_start_again()
    codes = (_start(base, f"next-{number}").wait(_PATIENCE_S), _start(base, f"killed-{number}").wait(_PATIENCE_S))
    time.sleep(_STORED_S)
    since = [moment for moment in server.taken() if moment > killed]
    logs = server.ask("/logs/filter", {"logs": {"level": {"ge_": 30}}, "sort": "TIMESTAMP_DESC", "limit": 200})
    said = [log["message"] for log in logs if "waiting for a slot" in log["message"]]
    seconds = min(since) - killed if since else float("inf")
    progress(f"{kind} killed: the slot is taken again after {seconds:.1f} s, exit codes {codes}; {said[:1]}")
    return _Killed(kind, seconds, codes, said[0] if said else "")


def _kill_holder(base: Workspace, server: _Server, store: str) -> None:
    """Kill a run while it holds the slot; one that has just given it back is started again."""
    while True:
        run = _start(base, store)
        while run.poll() is None and not server.active():
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        if server.active():
            return


def _start(base: Workspace, store: str) -> subprocess.Popen[bytes]:
    place = replace(base, store_uri=str(base.folder / store))
    command = [str(Path(sys.executable).with_name("cefm")), *place.arguments()]
    return subprocess.Popen(command, env=place.environment, cwd=place.code, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _finding(codes: list[int], most: int, taken: int, killed: list[_Killed]) -> Finding:
    shards = 2 * _STAGES * _IMAGES // _SHARD
    failures = [f"a run beside another ended with {code}" for code in codes if code]
    failures += [f"{taken} slots were taken for {shards} shards"] if taken != shards else []
    failures += [f"{most} slots of one were taken"] if most > 1 else []
    for number, one in enumerate(killed):
        failures += [f"kill {number}: exit codes {one.codes}"] if any(one.codes) else []
        failures += [f"kill {number}: the slot was taken again after {one.seconds:.0f} s"] if one.seconds > GOAL_S else []
        failures += [f"kill {number}: nobody said who holds the slot: {one.said}"] if "; held by " not in one.said else []
    lines = [
        f"Two runs of {_IMAGES} images at once share one slot: most slots taken at a time **{most}**; taken **{taken}** times for {shards} "
        f"shards of {_SHARD} images in the {_STAGES} stages with networks.",
        "",
        f"Then the holder is killed, another run started, and the killed command again. The lease is {LEASE_S} s, looked at every 15 s.",
        "",
        *table(
            ["killed (SIGKILL)", "kills", "both completed", "slot taken again, median", "longest"],
            [row for kind in _KINDS if (row := _row(kind, [one for one in killed if one.kind == kind]))],
        ),
    ]
    return Finding(_TITLE, lines, failures)


def _row(kind: str, killed: list[_Killed]) -> list[Any]:
    seconds = sorted(one.seconds for one in killed)
    done = sum(not any(one.codes) for one in killed)
    return [kind, len(killed), done, f"{seconds[len(seconds) // 2]:.1f} s", f"{seconds[-1]:.1f} s"] if killed else []


if __name__ == "__main__":
    main("slots", find, 8)
