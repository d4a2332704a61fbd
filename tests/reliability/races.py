"""Races between processes: of many publishers exactly one wins, and a reader never sees half an object."""

from __future__ import annotations

import multiprocessing
import os
import random
import tempfile
import time
from collections import Counter
from typing import Any

from cefm_core.errors import ConflictError
from storage.refs import sha256_of
from storage.store import Store
from storage.versions import publish, read_version
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.small_stage import s3_server

PUBLISHERS = 16
# Reads asked for by one key of races; 100 keys then make 100,000 reads.
READS_PER_KEY = 1000
_READERS, _WRITERS = 4, 2
_KEYS = 8


def find(seed: int, count: int) -> Finding:
    """Race for ``count`` keys, and read while others write, on a local store and on a real S3 server."""
    context = multiprocessing.get_context("spawn")
    rows, failures = [], []
    with tempfile.TemporaryDirectory(prefix="cefm-races-") as folder, s3_server():
        for name, uri, share in (("local disk", folder, 0.6), ("S3 server", f"s3://derm/races-{seed}", 0.4)):
            progress(f"{name}: {PUBLISHERS} publishers")
            wrong, messages = _race(context, uri, count)
            progress(f"{name}: readers")
            reads, torn = _read_while_written(context, uri, seed, int(count * READS_PER_KEY * share))
            rows.append([name, f"{PUBLISHERS} x {count}", count - len(wrong), messages, f"{reads:,}", torn])
            failures += [f"{name}: {line}" for line in wrong] + ([f"{name}: {torn} torn reads"] if torn else [])
    headers = ["store", "publishers x versions", "exactly one winner", "losers with a message", "verified reads", "torn"]
    return Finding("Races", table(headers, rows), failures)


def _race(context: Any, uri: str, count: int) -> tuple[list[str], int]:
    """Let every publisher publish every version; return the versions without exactly one winner, and the losers' messages."""
    barrier, answers = context.Barrier(PUBLISHERS), context.Queue()
    workers = [context.Process(target=_publisher, args=(uri, number, count, barrier, answers)) for number in range(PUBLISHERS)]
    for worker in workers:
        worker.start()
    said = [answers.get(timeout=600) for _ in range(PUBLISHERS * count)]
    for worker in workers:
        worker.join(60)
    winners = Counter(version for version, _, won, _ in said if won)
    wrong = [f"version {version}: {winners[version]} winners" for version in range(1, count + 1) if winners[version] != 1]
    store = Store.open(uri)
    holder = {version: read_version(store, version)["run_id"] for version in range(1, count + 1)}
    wrong += [f"version {v}: held by {holder[v]}, won by {name}" for v, name, won, _ in said if won and holder[v] != name]
    losers = [message for _, _, won, message in said if not won]
    wrong += [f"loser without a message: {message!r}" for message in losers if "run again" not in message]
    return wrong, len(losers)


def _publisher(uri: str, number: int, count: int, barrier: Any, answers: Any) -> None:
    store, name = Store.open(uri), f"publisher-{number}"
    mine = store.put_object("note", name.encode(), "txt")
    for version in range(1, count + 1):
        barrier.wait(300)
        try:
            publish(store, version - 1, name, {"note": mine, "version": store.put(f"v/{version}", str(version).encode())}, "nowhere")
            answers.put((version, name, True, ""))
        except ConflictError as error:
            answers.put((version, name, False, str(error)))


def _read_while_written(context: Any, uri: str, seed: int, reads: int) -> tuple[int, int]:
    """Return how many reads were made while the same keys were written over, and how many of them were torn."""
    stop, answers = context.Event(), context.Queue()
    store = Store.open(uri)
    for key in range(_KEYS):
        store.put(f"torn/{key}", _sealed(random.Random(key)))
    writers = [context.Process(target=_writer, args=(uri, seed + number, stop, answers)) for number in range(_WRITERS)]
    readers = [context.Process(target=_reader, args=(uri, seed + number, reads // _READERS, answers)) for number in range(_READERS)]
    for process in [*writers, *readers]:
        process.start()
    found = [answers.get(timeout=1800) for _ in readers]
    stop.set()
    for process in [*writers, *readers]:
        process.join(60)
    return sum(done for done, _ in found), sum(torn for _, torn in found)


def _writer(uri: str, seed: int, stop: Any, answers: Any) -> None:
    store, rng = Store.open(uri), random.Random(seed)
    while not stop.is_set():
        store.put(f"torn/{rng.randrange(_KEYS)}", _sealed(rng))
        time.sleep(0.001)


def _reader(uri: str, seed: int, reads: int, answers: Any) -> None:
    store, rng, torn = Store.open(uri), random.Random(seed), 0
    for _ in range(reads):
        data = store.read(f"torn/{rng.randrange(_KEYS)}")
        torn += data[:64] != sha256_of(data[64:]).encode()
    answers.put((reads, torn))


def _sealed(rng: random.Random) -> bytes:
    """Return bytes of a drawn length behind their own digest."""
    body = rng.randbytes(rng.randrange(1, 60_000))
    return sha256_of(body).encode() + body


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main("races", find, 100)
