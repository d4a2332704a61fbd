"""Same input, same bytes: another number of threads, workers, batches and shards, another order, another folder, another process."""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.reliability.change_kinds import HARMLESS
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.workspace import Workspace, contents, copied, make_source, run

IMAGES = 12
_TITLE = "The same bytes"
# What a change leaves out of the comparison: work lists and parts are cut by shard, versions name their run.
_COMPARED = ("objects/", "tables/", "cache/", "fingerprints/")


def find(seed: int, count: int) -> Finding:
    """Compute everything anew, on an empty store, under ``count`` circumstances that cannot matter."""
    rng = random.Random(seed)
    kinds = HARMLESS[:count]
    rows, failures = [], []
    with tempfile.TemporaryDirectory(prefix="cefm-same-") as folder:
        make_source(Path(folder) / "base", IMAGES, seed)
        base = Workspace(Path(folder) / "base").with_own_code()
        first = run(base)
        if first.code:
            return Finding(_TITLE, [], [f"the first run failed: {first.said[-500:]}"])
        expected = _compared(base.store)
        for number, kind in enumerate(kinds):
            place = kind.change(copied(base, Path(folder) / f"again-{number}"), rng)
            again = run(replace(place, store_uri=str(Path(folder) / f"store-{number}")))
            found = _compared(Path(folder) / f"store-{number}")
            differing = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
            progress(f"{kind.name}: exit {again.code}, {len(differing)} differing")
            rows.append([kind.name, len(found), len(differing)])
            failures += [f"{kind.name}: {differing[:3]} {again.said[-200:] if again.code else ''}"] if differing or again.code else []
    same = sum(row[2] == 0 for row in rows)
    lines = [
        f"Whole chains on an empty store, {IMAGES} images, every object, table and record compared with the first run's: "
        f"**{same} of {len(rows)}** the same, byte for byte.",
        "",
        *table(["what was different", "objects compared", "differing"], rows),
    ]
    return Finding(_TITLE, lines, failures)


def _compared(store: Path) -> dict[str, str]:
    return {key: digest for key, digest in contents(store).items() if key.startswith(_COMPARED)}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main("same_bytes", find, len(HARMLESS))
