"""Hostile images: mutated files go through manifest, quality and segmentation. None may crash a stage, none may get lost.

The stages run in a process of their own, whose greatest memory is compared with that of the same stages on good images alone.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.flows.services import ROOT, clean_environment
from tests.reliability.page import Finding, main, progress, table

STAGES = ("assess_images", "segment_coarse")
# Above what the same process needs for good images: one picture of the largest size that is let in, several times over, is not reached.
MEMORY_CAP_MB = 600
_GOOD = 12


def find(seed: int, count: int) -> Finding:
    """Send ``count`` mutated files through the stages."""
    from tests.reliability.hostile_files import write_hostile_files

    with tempfile.TemporaryDirectory(prefix="cefm-hostile-") as folder:
        good = _pictures(seed)
        calm = _in_a_process(Path(folder) / "calm", lambda source: write_good(source, good))
        kinds: dict[str, str] = {}
        hostile = _in_a_process(Path(folder) / "hostile", lambda source: kinds.update(write_hostile_files(source, good, seed, count)))
    return _finding(kinds, calm, hostile)


def write_good(folder: Path, good: list[Any]) -> None:
    """Write the good pictures alone."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number, rgb in enumerate(good):
        Image.fromarray(rgb).save(folder / f"ISIC_{number:07d}.png")


def _pictures(seed: int) -> list[Any]:
    from cefm_core.phantoms.render import render_phantom
    from cefm_core.phantoms.spec import sample_spec

    rng = random.Random(seed)
    return [render_phantom(sample_spec(rng.randrange(10**6)), size=(96, 128)).rgb for _ in range(_GOOD)]


def _in_a_process(folder: Path, write: Any) -> dict[str, Any]:
    write(folder / "source")
    progress(f"{sum(1 for _ in (folder / 'source').iterdir())} files written")
    answer = subprocess.run(
        [sys.executable, "-m", "tests.reliability.hostile_images", "--stages", str(folder)],
        cwd=ROOT,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        return {"crash": f"exit {answer.returncode}: {answer.stderr[-800:]}"}
    return json.loads(answer.stdout.splitlines()[-1])


def run_stages(folder: Path) -> dict[str, Any]:
    """Run the stages on ``folder/source`` as a flow would, without its server, and count."""
    import resource

    from storage.parquet import read_rows
    from tasks.build_manifest import assemble_manifest, build_manifest, scan_source
    from tasks.context import RunContext

    config = {"runtime": {"max_reject_share": 1.0, "device": "cpu"}}
    context = RunContext(store=str(folder / "store"), source=str(folder / "source"), config=config)
    store = context.open_store()
    scanned = scan_source.fn(context)
    counts: dict[str, Any] = {"build_manifest": {"in": scanned.summary["images"]}}
    facts = _row_stage(context, build_manifest, {"source_listing": scanned.files["source_listing"]})
    assembled = assemble_manifest.fn(context, scanned.files["source_listing"], facts.table)
    assembled = getattr(assembled, "data", assembled)
    refused = [row for ref in (scanned.files["rejects"], facts.rejects, assembled.files["rejects"]) for row in read_rows(store, ref)]
    counts["build_manifest"] |= {"out": assembled.summary["rows"], "rejected": len(refused)}
    tables = {"manifest": assembled.files["manifest"]}
    for name in STAGES:
        published = _row_stage(context, _task(name), tables)
        refused += read_rows(store, published.rejects)
        counts[name] = {"in": assembled.summary["rows"], "out": published.rows, "rejected": published.rejected}
    codes = Counter(row["code"] for row in refused)
    surprises = [f"{row['item']} in {row['stage']}: {row['message']}" for row in refused if row["code"] == "processing_failed"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    ignored = sum(scanned.summary["ignored"].values())
    return {"counts": counts, "codes": codes, "surprises": surprises[:20], "memory_mb": memory, "ignored": ignored}


def _task(name: str) -> Any:
    from importlib import import_module

    return getattr(import_module(f"tasks.{name}"), name)


def _row_stage(context: Any, task: Any, tables: dict[str, Any]) -> Any:
    from tasks.row_stage import make_plan, publish_rows
    from tasks.rows import row_stage

    stage = row_stage(task.name)
    plan = make_plan(stage, context, tables)
    for work in plan.shards:
        task.fn(context, plan.fingerprint, work)
    return publish_rows(stage, context, plan)


_TITLE = "Hostile images"


def _finding(kinds: dict[str, str], calm: dict[str, Any], hostile: dict[str, Any]) -> Finding:
    if crash := calm.get("crash") or hostile.get("crash"):
        return Finding(_TITLE, [f"The stages crashed on one of {len(kinds)} mutated files."], [crash])
    failures = [f"{stage}: {c['in']} in, {c['out']} out, {c['rejected']} rejected" for stage, c in hostile["counts"].items() if _lost(c)]
    failures += [f"nobody foresaw: {line}" for line in hostile["surprises"]]
    more = hostile["memory_mb"] - calm["memory_mb"]
    failures += [f"{more} MB more memory than good images need"] if more > MEMORY_CAP_MB else []
    listed = hostile["counts"]["build_manifest"]["in"] + hostile["ignored"]
    failures += [f"{len(kinds)} files, {listed} of them counted"] if listed != len(kinds) else []
    lines = [
        f"Mutated files: {len(kinds):,} of {len(set(kinds.values()))} kinds, one in five with an odd name; crashes: **0**; files that are "
        f"neither image, reject nor ignored by kind: **{len(kinds) - listed}**; faults nobody foresaw: **{len(hostile['surprises'])}**. "
        f"Memory: {hostile['memory_mb']} MB at most, {more} MB more than good images need (cap {MEMORY_CAP_MB} MB).",
        "",
        *table(["stage", "in", "out", "rejected"], [[stage, c["in"], c["out"], c["rejected"]] for stage, c in hostile["counts"].items()]),
        "",
        "Rejects by code: " + ", ".join(f"{code} {n}" for code, n in sorted(hostile["codes"].items(), key=lambda item: -item[1])) + ".",
    ]
    return Finding(_TITLE, lines, failures)


def _lost(counts: dict[str, int]) -> bool:
    return counts["in"] != counts["out"] + counts["rejected"]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.argv[1] == "--stages":
        print(json.dumps(run_stages(Path(sys.argv[2]))))
    else:
        main("hostile_images", find, 10_000)
