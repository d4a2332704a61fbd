"""Faults of the store: busy, slow, broken connections, altered bytes, a full disk, a read-only disk. No wrong result without a word.

A run under faults either publishes exactly what an undisturbed run publishes, or stops, soon, with a message that names the object.
The same run without faults then leaves the store whole.
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.store import Store
from storage.versions import latest_number, read_outputs
from tests.reliability.faulty_proxy import FAULTS, FaultyProxy, faulty_proxy
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.small_stage import SmallRun, dangling, s3_server

NAMES = [f"image-{number}" for number in range(6)]
# A run has some forty calls: one in ten goes wrong; "always" is a server that never recovers.
SHARES = {"now and then": 0.1, "always": 1.0}
LONGEST_S = 120.0
_DISK_BYTES = 400_000
_WORDS = {
    "drop_reply": "answer lost",
    "drop_request": "connection refused before the request is done",
    "503": "503 SlowDown",
    "slow": "slow answers",
    "reset": "connection reset in the middle of an answer",
    "corrupt_reply": "a bit of the answer flips",
    "corrupt_request": "a bit of the request flips",
}


def find(seed: int, count: int) -> Finding:
    """Run ``count`` times under each fault of the network, and as often on a full and a read-only disk."""
    tally: dict[str, Counter[str]] = {}
    failures: list[str] = []
    with s3_server() as upstream, faulty_proxy(upstream) as proxy:
        expected = _published(SmallRun(f"s3://derm/faults-{seed}-none", NAMES, "run"))
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        for fault in FAULTS[1:]:
            for often, share in SHARES.items():
                name = f"{_WORDS[fault]}, {often}"
                attempts = range(count if often == "now and then" else 1)
                tally[name] = Counter()
                for attempt in attempts:
                    proxy.rng = rng = random.Random(f"{seed} {name} {attempt}")
                    proxy.choose = _chooser(fault, share, rng)
                    run = SmallRun(f"s3://derm/faults-{seed}-{fault}-{share}-{attempt}", NAMES, "run")
                    failures += [f"{name}, run {attempt}: {e}" for e in _judge(run, expected, tally[name], lambda: _quiet(proxy))]
                progress(f"{name}: {dict(tally[name])}")
    for name, spoiled in (("disk full", _full), ("disk read-only", _read_only)):
        tally[name], found = _on_disk(spoiled, seed, count, expected)
        failures += [f"{name}: {line}" for line in found]
    headers = ["fault", "runs", "published the right thing", "stopped, naming the object", "silent wrong results"]
    columns = ("right", "stopped", "wrong")
    rows = [[name, sum(c[k] for k in columns) or "not run here (needs root)", *(c[k] for k in columns)] for name, c in tally.items()]
    lines = [
        f"Runs of the stage machinery under faults; each was then repeated without: silent wrong results **{_all(tally, 'wrong')}** "
        f"of {sum(_all(tally, key) for key in columns)}; stores not whole after the repetition: **{_all(tally, 'not whole')}**. "
        f"Longest run: {max(c['longest_ms'] for c in tally.values()) / 1000:.0f} s.",
        "",
        *table(headers, rows),
    ]
    return Finding("Faults of the store", lines, failures)


def _all(tally: dict[str, Counter[str]], key: str) -> int:
    return sum(counts[key] for counts in tally.values())


def _chooser(fault: str, share: float, rng: random.Random) -> Callable[[str, str], str]:
    return lambda method, path: fault if rng.random() < share else ""


def _quiet(proxy: FaultyProxy) -> None:
    proxy.choose = lambda method, path: ""


def _published(run: SmallRun) -> dict[str, str]:
    number = run.go()
    return {name: ref.sha256 for name, ref in read_outputs(Store.open(run.store), number).items()}


def _judge(run: SmallRun, expected: dict[str, str], counts: Counter[str], mend: Callable[[], None]) -> list[str]:
    """Run under the fault, then without, and count what came of it."""
    found = []
    start = time.perf_counter()
    try:
        run.go()
        stopped = ""
    except Exception as error:  # every way to stop is looked at
        stopped = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    counts["longest_ms"] = max(counts["longest_ms"], round(1000 * seconds))
    mend()
    if seconds > LONGEST_S:
        found.append(f"took {seconds:.0f} s")
    opened = Store.open(run.store)
    published = latest_number(opened)
    if published and {n: ref.sha256 for n, ref in read_outputs(opened, published).items()} != expected:
        counts["wrong"] += 1
        found.append("published something else")
    elif stopped:
        counts["stopped"] += 1
        if not any(word in stopped for word in (run.store.removeprefix("s3://"), "store s3://")):
            found.append(f"the message names no object: {stopped[:300]}")
    else:
        counts["right"] += 1
    return found + _whole_again(run, expected, counts)


def _whole_again(run: SmallRun, expected: dict[str, str], counts: Counter[str]) -> list[str]:
    if _published(run) == expected and not dangling(Store.open(run.store), latest_number(Store.open(run.store))):
        return []
    counts["not whole"] += 1
    return ["not whole after the run was repeated without faults"]


@contextmanager
def _disk() -> Iterator[Path | None]:
    """Mount a small disk of one's own; None where that is not allowed."""
    with tempfile.TemporaryDirectory(prefix="cefm-disk-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "cefm", folder]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def _on_disk(
    spoil: Callable[[Path, random.Random], Callable[[], None]], seed: int, count: int, expected: dict[str, str]
) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    found: list[str] = []
    for attempt in range(count):
        with _disk() as disk:
            if disk is None:
                return counts, found
            (disk / "store").mkdir()
            mend = spoil(disk, random.Random(f"{seed} {attempt}"))
            found += _judge(SmallRun(str(disk / "store"), NAMES, "run"), expected, counts, mend)
    return counts, found


def _full(disk: Path, rng: random.Random) -> Callable[[], None]:
    """Leave so little room that a run gets somewhere and no further."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(b"x" * (free - rng.randrange(8) * 8192))
    return filler.unlink


def _read_only(disk: Path, rng: random.Random) -> Callable[[], None]:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    return lambda: subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True) and None


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main("store_faults", find, 40)
