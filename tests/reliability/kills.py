"""Kills at drawn moments: of the run itself, of a worker, of its Prefect server (gone, or started again at once), of the object store.

Then the same command, and nothing else. Afterwards every object and table must be there byte for byte as after an undisturbed run, no
more and no less, and every row that was committed before the kill must have been taken over. All the while a second process reads every
object as soon as it has its name. Two hours of kills may be cut short: after SIGTERM the kill at hand is the last.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from cefm_core.errors import CefmError, IntegrityError
from storage.refs import digest_of, sha256_of
from storage.store import Store
from tests.flows.services import S3Server, clean_environment, kill_tree, start_prefect_again
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.workspace import Ran, Workspace, make_source, run, started

# Of the short form, which a few kills make, and of the long one.
_IMAGES = (12, 200)
_SHORT = 5
# How often each is killed in ten attempts.
_TARGETS = ("run", "server, started again", "store", "Dask worker", "run", "server", "run", "store", "run", "Dask worker")
_STORE_AWAY_S = 3.0
_PATIENCE_S = 60.0
# Prefect tries every report for a minute; the one that fails is followed by those of the failed flows.
_GIVES_UP_S = 300.0
_enough = threading.Event()
_CUT_SHORT = " Cut short, as asked: not all kills of the command were made."
# In place of an exit code.
_HANGS = 999


def find(seed: int, count: int) -> Finding:
    """Kill ``count`` runs on a real S3 server, each at a drawn moment, and run each again."""
    rng = random.Random(seed)
    server = S3Server()
    os.environ.update(server.environment)
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="cefm-kills-") as folder:
            images = _IMAGES[count > _SHORT]
            make_source(Path(folder), images, seed)
            base = Workspace(Path(folder), environment=server.environment, store_uri=f"s3://derm/kills-{seed}-calm").with_own_code()
            _wait_for(base.store_uri)
            calm = run(base)
            if calm.code:
                return Finding(_TITLE, [], [f"the undisturbed run failed: {calm.said[-500:]}"])
            longest = sum(stage["seconds"] for stage in calm.summary["stages"])
            attempts = []
            for number in itertools.takewhile(lambda _: not _enough.is_set(), range(count)):
                target, moment = _TARGETS[number % len(_TARGETS)], rng.uniform(0.05, 0.95) * longest
                attempts.append(_attempt(base, server, f"s3://derm/kills-{seed}-{number}", target, moment))
            expected = [_objects(Store.open(base.store_uri))]
            run(base)
            expected.append(_objects(Store.open(base.store_uri)))
            return _finding(images, calm, expected, attempts)
    finally:
        server.end()


_TITLE = "Kills, and the same command again"


def _attempt(base: Workspace, server: S3Server, uri: str, target: str, moment: float) -> dict[str, Any]:
    """Kill one thing after ``moment`` seconds of a run, and run again."""
    place = replace(base, store_uri=uri)
    context = multiprocessing.get_context("spawn")
    stop, seen = context.Event(), context.Queue()
    watcher = context.Process(target=_watch, args=(uri, stop, seen))
    watcher.start()
    killed_run = _KILLS[target](place, server, moment)
    committed = _committed(Store.open(uri))
    again = run(place)
    stop.set()
    looked, half = seen.get(timeout=120)
    watcher.join(60)
    progress(f"{target} killed after {moment:.1f} s: exit {killed_run}, then {again.code}; {sum(committed.values())} rows were committed")
    return {"target": target, "exit": killed_run, "committed": committed, "again": again, "looked": looked, "half": half, "uri": uri}


def _kill_run(place: Workspace, server: S3Server, moment: float) -> int:
    with started(place) as (forker, pid):
        threading.Timer(moment, _kill, (pid,)).start()
        return forker.wait()


def _kill_worker(place: Workspace, server: S3Server, moment: float) -> int:
    """Run on two workers of Dask, and kill one of them, or the first that there is after ``moment`` seconds."""
    with started(place.with_settings(runtime__dask="local", runtime__workers="2")) as (forker, pid):
        timer = threading.Timer(moment, lambda: _kill(_worker_of(pid)))
        timer.start()
        code = forker.wait()
        timer.join()
        return code


def _worker_of(run: int) -> int:
    """Return a worker of a run, as soon as it has one; the run itself where it ends without."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(psutil.Error):
            workers = [child.pid for child in psutil.Process(run).children() if "spawn_main" in " ".join(child.cmdline())]
            if workers:
                return workers[0]
        time.sleep(0.1)
    return run


def _kill_store(place: Workspace, server: S3Server, moment: float) -> int:
    def kill_and_start_again() -> None:
        server.kill()
        time.sleep(_STORE_AWAY_S)
        server.start()

    with started(place) as (forker, _):
        timer = threading.Timer(moment, kill_and_start_again)
        timer.start()
        code = forker.wait()
        timer.join()
        _wait_for(place.store_uri)
        return code


def _kill_server(place: Workspace, server: S3Server, moment: float, start_again: bool = False) -> int:
    """Run with a Prefect server of its own, and kill that once the run has gone on for ``moment`` seconds."""
    with tempfile.TemporaryDirectory(prefix="cefm-home-") as folder:
        home = Path(folder)
        environment = clean_environment(CEFM_HOME=folder, PYTHONPATH=str(place.code), **place.environment)
        command = [sys.executable, "-m", "flows.cli", *place.arguments()]
        process = subprocess.Popen(command, env=environment, cwd=place.code, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        drained = threading.Thread(target=process.stderr.read, daemon=True)
        while process.poll() is None and not (home / "server.json").exists():
            time.sleep(0.2)
        drained.start()
        time.sleep(moment)
        with suppress(OSError, ValueError):
            killed = json.loads((home / "server.json").read_text())
            kill_tree(int(killed["pid"]))
            if start_again:
                start_prefect_again(home, killed["url"])
        try:
            return process.wait(600 if start_again else _GIVES_UP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return _HANGS
        finally:
            drained.join(10)


_KILLS = {
    "run": _kill_run,
    "Dask worker": _kill_worker,
    "store": _kill_store,
    "server": _kill_server,
    "server, started again": partial(_kill_server, start_again=True),
}


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait_for(uri: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            return Store.open(uri).preflight()
        except CefmError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _committed(store: Store) -> dict[str, int]:
    """Return how many images each stage has a committed row or reject of."""
    from storage.parquet import read_rows
    from storage.refs import FileRef

    found: dict[str, set[str]] = {}
    for key in store.keys_below("rows"):
        if key.endswith(".json"):
            record = store.read_json(key)
            rows = [*read_rows(store, FileRef(**record["table"])), *record["rejects"]]
            found.setdefault(key.split("/")[1], set()).update(row["row_key"] for row in rows)
    return {stage: len(rows) for stage, rows in found.items()}


def _watch(uri: str, stop: Any, seen: Any) -> None:
    """Read every object once, as soon as it is listed; report how many were read, and those that were not whole."""
    store, known, half = Store.open(uri), set(), []
    while not stop.is_set():
        try:
            for key in _all_keys(store):
                if key not in known and not _whole(store, key):
                    half.append(key)
                known.add(key)
        except CefmError:
            time.sleep(0.2)  # the store is away
        time.sleep(0.02)
    seen.put((len(known), half))


def _all_keys(store: Store) -> list[str]:
    return [key for folder in ("objects", "tables", "rows", "published", "cache") for key in store.keys_below(folder)]


def _whole(store: Store, key: str) -> bool:
    """Whether an object is what its name or its record promises."""
    try:
        if key.startswith(("objects/", "tables/")):
            return sha256_of(store.read(key)) == Path(key).stem
        if key.endswith(".parquet"):
            return store.read(key)[-4:] == b"PAR1"
        record = store.read_json(key)
        return record["sha256"] == digest_of(record["outputs"]) if key.startswith("cache/") else bool(record)
    except IntegrityError:
        return False


def _finding(images: int, calm: Ran, expected: list[dict[str, str]], attempts: list[dict[str, Any]]) -> Finding:
    """``expected``: what lies in a store after one undisturbed run, and after two: the second is compared with the first by its gates."""
    failures, counts = [], {target: Counter() for target in dict.fromkeys(_TARGETS)}
    for number, attempt in enumerate(attempts):
        wrong = _faults(attempt, calm, expected[attempt["exit"] == 0])
        tally = counts[attempt["target"]]
        tally["kills"] += 1
        tally["in time"] += attempt["exit"] != 0
        tally["same bytes"] += not wrong
        tally["rows"] += sum(attempt["committed"].values())
        tally["looked"] += attempt["looked"]
        tally["half"] += len(attempt["half"])
        failures += [f"kill {number} ({attempt['target']}): {line}" for line in wrong]
    total = sum(counts.values(), Counter())
    lines = [
        f"Runs over all ten stages on a real S3 server, {images} images. Store byte-identical after the same command: "
        f"**{total['same bytes']} of {total['kills']}**. Rows committed before the kill and computed again: "
        f"**{sum(map(_recomputed, attempts))}** of {total['rows']}. "
        f"Half-written objects under a final name, seen by a second process: **{total['half']}** of {total['looked']:,} looked at."
        + _CUT_SHORT
        * _enough.is_set(),
        "",
        *table(
            ["killed (SIGKILL)", "kills", "ended the run", "same bytes after the same command", "rows taken over"],
            [[name, c["kills"], c["in time"], c["same bytes"], c["rows"]] for name, c in counts.items() if c["kills"]],
        ),
    ]
    return Finding(_TITLE, lines, failures)


def _faults(attempt: dict[str, Any], calm: Ran, expected: dict[str, str]) -> list[str]:
    again: Ran = attempt["again"]
    if attempt["exit"] == _HANGS:
        return [f"the run did not end within {_GIVES_UP_S:.0f} s"]
    if again.code:
        return [f"the same command ended with {again.code}: {again.said[-300:]}"]
    found = ["other outputs"] if again.outputs != calm.outputs else []
    now = _objects(Store.open(attempt["uri"]))
    if now != expected:
        found.append(f"objects differ: {sorted(now.keys() ^ expected.keys())[:3]}")
    if _recomputed(attempt):
        found.append(f"{_recomputed(attempt)} finished rows were computed again")
    return found + [f"half-written: {key}" for key in attempt["half"]]


def _recomputed(attempt: dict[str, Any]) -> int:
    reused = {stage["name"]: stage["reused"] for stage in attempt["again"].summary.get("stages", [])}
    return sum(max(0, rows - reused.get(stage, rows)) for stage, rows in attempt["committed"].items())


def _objects(store: Store) -> dict[str, str]:
    keys = [key for folder in ("objects", "tables", "cache", "fingerprints") for key in store.keys_below(folder)]
    return {key: sha256_of(store.read(key)) for key in keys}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: _enough.set())
    main("kills", find, 100)
