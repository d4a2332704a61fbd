"""Changes to outputs, inputs, settings, weights and code: all of them noticed, and nothing done again after those that cannot matter.

Each change is made to a copy of a finished workspace, and the same command is run. After damage to the store the store must be what it
was, byte for byte; after any other change the outputs must be those of a run on an empty store.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.reliability.change_kinds import HARMLESS, KINDS, Kind
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.workspace import Ran, Workspace, broken_names, contents, copied, make_source, run

IMAGES = 12


def find(seed: int, count: int) -> Finding:
    """Try ``count`` kinds of changes, and as large a share of the harmless ones."""
    rng = random.Random(seed)
    kinds = KINDS if count >= len(KINDS) else rng.sample(KINDS, count)
    harmless = HARMLESS if count >= len(KINDS) else rng.sample(HARMLESS, max(1, count * len(HARMLESS) // len(KINDS)))
    with tempfile.TemporaryDirectory(prefix="cefm-changes-") as folder:
        make_source(Path(folder) / "base", IMAGES, seed)
        base = Workspace(Path(folder) / "base").with_own_code()
        first = run(base)
        if first.code:
            return Finding(_TITLE, [], [f"the first run failed: {first.said[-500:]}"])
        noticed = [_noticed(kind, base, first, Path(folder) / f"kind-{n}", rng) for n, kind in enumerate(kinds)]
        repeated = [_repeated(kind, base, first, Path(folder) / f"harmless-{n}", rng) for n, kind in enumerate(harmless)]
    return _finding(kinds, noticed, harmless, repeated)


_TITLE = "Changes are noticed, and nothing is done twice"


def _noticed(kind: Kind, base: Workspace, first: Ran, folder: Path, rng: random.Random) -> str:
    """Return "" if a change was noticed and answered rightly, or what is wrong."""
    place = kind.change(copied(base, folder), rng)
    before = contents(base.store)
    after = run(place)
    progress(f"{kind.name}: exit {after.code}, worked on {sum(after.worked.values())}")
    if after.code:
        wrong = f"exit {after.code}: {after.said[-300:]}"
    elif kind.damages_store:
        wrong = _not_mended(kind, first, after, before, contents(place.store))
    else:
        wrong = _not_as_new(kind, place, after)
    shutil.rmtree(place.folder)
    return wrong


def _not_mended(kind: Kind, first: Ran, after: Ran, before: dict[str, str], now: dict[str, str]) -> str:
    if after.outputs != first.outputs:
        return "other outputs"
    if kind.stays_damaged:
        return "" if after.summary["version"] == 2 else "no version took its place"
    lost = [key for key in before if now.get(key) != before[key]]
    # A row that was made again stands in a part of its own, beside the part that holds it already, and a table is gathered by its parts; a
    # gate's outcome is that of one run, which had another version before it than the first.
    doubled = [key for key in now if key not in before and not key.startswith(("work/", "rows/", "gathered/", "objects/gates/"))]
    return f"not as before: {lost[:3]}" if lost else f"new objects: {doubled[:3]}" if doubled else ""


def _not_as_new(kind: Kind, place: Workspace, after: Ran) -> str:
    fresh = replace(place, store_uri=str(place.folder / "fresh"))
    expected = run(fresh)
    if expected.code:
        return f"the run on an empty store failed: {expected.said[-300:]}"
    if after.outputs != expected.outputs:
        return f"other than on an empty store: {sorted(n for n in expected.outputs if after.outputs.get(n) != expected.outputs[n])}"
    if broken := broken_names(contents(place.store)):
        return f"broken objects: {broken[:3]}"
    if not after.worked[kind.stage]:
        return f"{kind.stage} did not run"
    again = [stage for stage in kind.spared if after.worked[stage]]
    return f"done again for nothing: {again}" if again else ""


def _repeated(kind: Kind, base: Workspace, first: Ran, folder: Path, rng: random.Random) -> str:
    """Return "" if a harmless change made no stage run again, or what is wrong."""
    place = kind.change(copied(base, folder), rng)
    after = run(place)
    progress(f"{kind.name}: exit {after.code}, worked on {sum(after.worked.values())}")
    shutil.rmtree(place.folder)
    if after.code:
        return f"exit {after.code}: {after.said[-300:]}"
    again = [name for name, items in after.worked.items() if items]
    return f"ran again: {again}" if again else "" if after.outputs == first.outputs else "other outputs"


def _finding(kinds: list[Kind], noticed: list[str], harmless: list[Kind], repeated: list[str]) -> Finding:
    seen, needless = noticed.count(""), len(repeated) - repeated.count("")
    lines = [
        f"Noticed and answered rightly: **{seen} of {len(kinds)}** kinds of changes. "
        f"Needless re-runs after changes that cannot matter: **{needless} of {len(harmless)}**.",
        "",
        *table(["change", "noticed"], [[kind.name, "yes" if not wrong else "no"] for kind, wrong in zip(kinds, noticed, strict=True)]),
        "",
        *table(["cannot matter", "re-run"], [[kind.name, "yes" if w else "no"] for kind, w in zip(harmless, repeated, strict=True)]),
    ]
    found = [*zip(kinds, noticed, strict=True), *zip(harmless, repeated, strict=True)]
    return Finding(_TITLE, lines, [f"{kind.name}: {wrong}" for kind, wrong in found if wrong])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main("changes", find, len(KINDS))
