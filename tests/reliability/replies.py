"""Ambiguous replies: a write is done, and its answer never comes.

Whichever store call of a publication it was, nothing may be lost, doubled or dangling.
"""

from __future__ import annotations

import os
import random
from collections import Counter

from storage.store import Store
from storage.versions import latest_number, read_version
from tests.reliability.faulty_proxy import FaultyProxy, faulty_proxy
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.small_stage import SmallRun, dangling, s3_server

# Publications into one store, one upon the other.
_VERSIONS = 5


def find(seed: int, count: int) -> Finding:
    """Publish ``count`` versions; in each, the answer to one call, drawn at random, is dropped."""
    rng = random.Random(seed)
    wrong: list[str] = []
    methods: Counter[str] = Counter()
    with s3_server() as upstream, faulty_proxy(upstream) as proxy:
        direct = [Store.open(f"s3://derm/replies-{seed}-{number}") for number in range(-(-count // _VERSIONS))]
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        calls = _calls_of_a_run(proxy, f"s3://derm/replies-calls-{seed}")
        for number in range(count):
            wrong += _one(proxy, direct[number // _VERSIONS], number % _VERSIONS + 1, rng.randrange(calls), methods)
            if number % 100 == 99:
                progress(f"{number + 1} publications, {len(wrong)} faults")
    lines = [
        f"Publications with one dropped answer each, on a real S3 server: {count}; store calls of a publication: {calls}. "
        f"Lost, doubled or dangling: **{len(wrong)}**.",
        "",
        *table(["call whose answer was dropped", "times"], [[method, n] for method, n in sorted(methods.items())]),
    ]
    return Finding("Answers that never come", lines, wrong)


def _calls_of_a_run(proxy: FaultyProxy, store: str) -> int:
    proxy.calls = 0
    SmallRun(store, ["a", "b", "c"], "calls").go()
    return proxy.calls


def _one(proxy: FaultyProxy, direct: Store, number: int, place: int, methods: Counter[str]) -> list[str]:
    seen = 0

    def choose(method: str, path: str) -> str:
        nonlocal seen
        seen += 1
        if seen - 1 != place:
            return ""
        methods[f"{method} {_what(path)}"] += 1
        return "drop_reply"

    proxy.choose = choose
    run = SmallRun(direct.uri, [f"{number}-a", f"{number}-b", f"{number}-c"], f"run-{number}")
    try:
        published = run.go()
    except Exception as error:  # every way to stop is counted
        return [f"publication {number}, call {place}: stopped ({type(error).__name__}: {str(error).splitlines()[0][:200]})"]
    finally:
        proxy.choose = lambda method, path: ""
    return [f"publication {number}, call {place}: {fault}" for fault in _faults(direct, run, number, published)]


def _faults(direct: Store, run: SmallRun, number: int, published: int) -> list[str]:
    found = []
    if published != number or latest_number(direct) != number:
        found.append(f"version {published} returned, {latest_number(direct)} there, {number} expected")
    elif read_version(direct, number)["run_id"] != run.run_id:
        found.append("another run's version")
    if lost := dangling(direct, latest_number(direct)):
        found.append(f"dangling: {lost}")
    if sorted(run.processed) != sorted(run.names):
        found.append(f"worked on {run.processed}")
    return found


def _what(path: str) -> str:
    """Name what a request is about: the folder below the store's root, or a listing."""
    if "list-type" in path:
        return "list"
    parts = path.split("?")[0].strip("/").split("/")
    return parts[2] if len(parts) > 2 else "bucket"


if __name__ == "__main__":
    main("replies", find, 1000)
