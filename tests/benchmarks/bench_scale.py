"""What a data set costs by its size: time, memory, objects and calls, measured at two sizes and extrapolated.

``run(quick)`` returns Markdown. ``python -m tests.benchmarks.bench_scale`` writes docs/scale.md. Steps over whole tables run on made
rows without pictures; the chain runs on rendered photographs, against a store whose calls are counted.
"""

from __future__ import annotations

import gc
import io
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.orchestration import Orchestration, finished_runs, measure

ROWS = (20_000, 100_000)
IMAGES = (24, 96)
_WARM_UP = 12
TARGET = 1_000_000
_ROOT = Path(__file__).resolve().parents[2]


def run(quick: bool) -> str:
    """Measure tables and chain at two sizes each; ``quick`` at small ones."""
    from flows.server import ensure_server

    ensure_server()  # before anything imports Prefect, which reads its settings then
    rows = (2_000, 6_000) if quick else ROWS
    images = (12, 24) if quick else IMAGES
    _table_steps(100)  # imports and caches are not what grows
    tables = [_table_steps(count) for count in rows]
    chain = _chain(images)
    return "\n".join([*_tables_said(rows, tables), "", *_chain_said(images, chain), "", *_formulas(rows, tables, images, chain)])


def made_images(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows as inspection of pictures would give them: random hashes and thumbnails, so that hardly any two look alike."""
    rng = np.random.default_rng(seed)
    hashes, thumbs = rng.bytes(8 * count).hex(), rng.bytes(64 * count).hex()
    return [
        {
            "image_id": f"ISIC_{k:07d}", "uri": f"images/ISIC_{k:07d}.jpg", "size_bytes": 100_000, "image_sha256": f"{k:064x}",
            "width_px": 1024, "height_px": 768, "dhash": f"{hashes[16 * k : 16 * k + 16]}:{thumbs[128 * k : 128 * k + 128]}", "flags": [],
        }
        for k in range(count)
    ]  # fmt: skip


def made_metadata(count: int) -> bytes:
    """A metadata table as the archive gives it: seven images a patient, two a lesion, one melanoma in ten."""
    sink = io.StringIO()
    sink.write("isic_id,patient_id,lesion_id,age_approx,sex,anatom_site_general,diagnosis_1,diagnosis_3,copyright_license,attribution\n")
    for k in range(count):
        label = "Malignant,Melanoma Invasive" if k // 7 % 10 == 0 else "Benign,Nevus"
        sink.write(f"ISIC_{k:07d},IP_{k // 7},IL_{k // 2},{20 + k // 7 % 60},female,lower extremity,{label},CC-0,Anonymous\n")
    return sink.getvalue().encode()


def _table_steps(count: int) -> dict[str, tuple[float, float]]:
    """Return seconds and peak megabytes of each step over whole tables."""
    from cefm_core.config import GatesConfig, ManifestConfig
    from cefm_core.manifest.assemble import assemble_manifest
    from cefm_core.manifest.metadata import read_metadata
    from cefm_core.releases.compare import compare_versions
    from cefm_core.releases.drift import compare_with_previous
    from cefm_core.tables import manifest
    from storage.parquet import read_arrow, write_rows
    from storage.store import Store
    from tasks.check_table import contract_checks

    steps: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder)
        images, data = made_images(count), made_metadata(count)
        metadata = _step(steps, "read the metadata table", lambda: read_metadata(data, "metadata.csv"))
        assembled = _step(
            steps, "assemble: labels, duplicates, groups, split", lambda: assemble_manifest(images, metadata, ManifestConfig())
        )
        rows = [row | {"row_key": row["image_sha256"]} for row in assembled.rows]
        ref = _step(steps, "write the manifest", lambda: write_rows(store, manifest.TABLE, rows))
        table = _step(steps, "read the manifest", lambda: read_arrow(store, ref))
        frame = table.to_pandas()
        _step(steps, "gate: the manifest against its declaration", lambda: contract_checks(frame, manifest.TABLE, count))
        later = frame.assign(row_key=np.where(np.arange(count) % 100 == 0, "new", frame["row_key"]))
        _step(
            steps,
            "gate: 1 % new rows against the version before",
            lambda: compare_with_previous(frame, later, manifest.TABLE, GatesConfig()),
        )
        changed = table.set_column(table.column_names.index("row_key"), "row_key", [later["row_key"].tolist()])
        _step(steps, "diff of two versions, 1 % of the rows new", lambda: compare_versions({"manifest": table}, {"manifest": changed}))
        _step(steps, "plan a stage of which nothing is missing", _planner(store, ref, count))
    return steps


def _planner(store: Any, ref: Any, count: int) -> Callable[[], Any]:
    """Return a call that plans assess_images on a store that holds all of its rows, in parts of 256."""
    from tasks.assess_images import STAGE
    from tasks.context import RunContext
    from tasks.row_stage import Output, make_plan, run_shard

    context = RunContext(store=store.uri, source=store.uri)
    print_ = STAGE.fingerprint(context.config).digest
    numbers = [c.name for c in STAGE.table.columns if c.type == "float"]
    plan = make_plan(STAGE, context, {"manifest": ref})
    done = [Output(dict.fromkeys(numbers, 0.5) | {"flags": []})] * context.config.runtime.batch_size
    for work in plan.shards:
        run_shard(STAGE, context, print_, work, lambda items: done[: len(items)])

    def call() -> None:
        again = make_plan(STAGE, context, {"manifest": ref})
        if again.missing or again.images != count:
            raise RuntimeError(f"{again.missing} of {again.images} rows were planned again")

    return call


def _step(steps: dict[str, tuple[float, float]], name: str, work: Callable[[], Any]) -> Any:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before, begin = _memory("VmRSS"), time.process_time()
    result = work()
    steps[name] = (time.process_time() - begin, max(_memory("VmHWM") - before, 0.0))
    return result


def _memory(name: str) -> float:
    """Return one of the kernel's counters of this process, in megabytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def _chain(images: tuple[int, int]) -> list[dict[str, Any]]:
    """Run the chain on two sizes, each once from nothing and once with nothing to do."""
    from cefm_core.phantoms.dataset import write_phantom_dataset
    from flows.full_run import full_run
    from tasks.context import RunContext

    found = []
    for count in (_WARM_UP, *images):
        with tempfile.TemporaryDirectory() as folder:
            write_phantom_dataset(Path(folder) / "source", count, 7)
            source = {"source": f"{folder}/source", "metadata": f"{folder}/source/metadata.csv"}
            context = RunContext(store=f"{folder}/store", config=_SETTINGS, **source)
            with _counted() as first, _timed() as seconds:
                summary = full_run(context)
            with _counted() as second, _timed() as again:
                full_run(RunContext(store=f"{folder}/store", config=_SETTINGS, **source))
            time.sleep(_STORED_S)
            again_, first_ = _orchestration(2)
            files = [path for path in (Path(folder) / "store").rglob("*") if path.is_file()]
            found.append(
                {
                    "seconds": seconds[0], "again": again[0], "cpu": seconds[1], "cpu_again": again[1],
                    "calls": dict(first), "calls_again": dict(second), "objects": len(files),
                    "megabytes": sum(path.stat().st_size for path in files) / 2**20,
                    "tasks": f"{first_.task_runs} / {again_.task_runs}", "idle": f"{first_.idle:.1f} / {again_.idle:.1f}",
                    "stages": {stage["name"]: stage["seconds"] for stage in summary.stages},
                }
            )  # fmt: skip
    return found[1:]  # the first run of a process also loads libraries and weights


# The server stores what tasks report some seconds later.
_STORED_S = 10


def _orchestration(count: int) -> list[Orchestration]:
    """Return what orchestration cost the latest runs, the latest first."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return [measure(client, run) for run in finished_runs(client)[:count]]


# Few models and resamples: what they cost does not grow with the number of images.
_SETTINGS: dict[str, Any] = {
    "coarse": {"second": "none"},
    "refine": {"refiner": "none"},
    "alignment": {"seeds": [1], "epochs": 2, "classifier_epochs": 2},
    "evaluation": {"bootstrap_samples": 100, "leave_one_source_out": False},
}


@contextmanager
def _timed() -> Iterator[list[float]]:
    taken: list[float] = []
    begin = time.perf_counter(), time.process_time()
    yield taken
    taken += [time.perf_counter() - begin[0], time.process_time() - begin[1]]


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Count the calls that every store of this process makes to its backend."""
    from storage import store as module

    calls: Counter[str] = Counter()
    original = module._open_backend

    class Counting:
        def __init__(self, backend: Any) -> None:
            self._backend = backend

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._backend, name)
            if name not in _CALLS:
                return found

            def call(*arguments: Any, **options: Any) -> Any:
                calls[name] += 1
                return found(*arguments, **options)

            return call

    module._open_backend = lambda uri: Counting(original(uri))
    try:
        yield calls
    finally:
        module._open_backend = original


_CALLS = ("put", "get", "head", "list", "delete")


def _tables_said(rows: tuple[int, int], found: list[dict[str, tuple[float, float]]]) -> list[str]:
    lines = [f"Steps over whole tables, {rows[0]:,} and {rows[1]:,} made rows without pictures, one process:", ""]
    lines += ["| step | " + " | ".join(f"{n:,} rows: CPU s | MB" for n in rows) + " |", "| --- |" + " ---: | ---: |" * len(rows)]
    for name in found[0]:
        lines.append(f"| {name} | " + " | ".join(f"{steps[name][0]:.2f} | {steps[name][1]:.0f}" for steps in found) + " |")
    return lines


def _chain_said(images: tuple[int, int], found: list[dict[str, Any]]) -> list[str]:
    lines = [f"The whole chain, {images[0]} and {images[1]} rendered photographs of 600 x 450, CPU, one network, no refiner:", ""]
    lines += ["| | " + " | ".join(f"{n} images" for n in images) + " |", "| --- |" + " ---: |" * len(images)]
    measured = {
        "first run, CPU s": "{cpu:.1f}", "first run, s": "{seconds:.1f}",
        "again, nothing to do, CPU s": "{cpu_again:.1f}", "again, nothing to do, s": "{again:.1f}",
        "objects in the store": "{objects}",
        "megabytes in the store": "{megabytes:.1f}",
        "task runs, first run / again": "{tasks}",
        "no task at work, s, first run / again": "{idle}",
    }  # fmt: skip
    lines += [f"| {title} | " + " | ".join(form.format(**row) for row in found) + " |" for title, form in measured.items()]
    for name in _CALLS:
        cells = [f"{row['calls'].get(name, 0)} / {row['calls_again'].get(name, 0)}" for row in found]
        lines.append(f"| calls `{name}`, first run / again | " + " | ".join(cells) + " |")
    lines += [f"| {stage}, s | " + " | ".join(f"{row['stages'][stage]:.1f}" for row in found) + " |" for stage in found[0]["stages"]]
    return lines


def _formulas(
    rows: tuple[int, int], tables: list[dict[str, tuple[float, float]]], images: tuple[int, int], chain: list[dict[str, Any]]
) -> list[str]:
    """Return straight lines through both sizes, and what they say of a million images."""
    lines = [f"Straight lines through both sizes (n images), and their value at n = {TARGET:,}:", ""]
    lines += ["| what | formula | n = 1,000,000 |", "| --- | --- | ---: |"]
    slow = [sum(step[0] for step in steps.values()) for steps in tables]
    lines.append(_line("table steps together, CPU s", rows, slow, "{:,.0f} s"))
    lines.append(_line("largest table step, MB", rows, [max(step[1] for step in steps.values()) for steps in tables], "{:,.0f} MB"))
    for title, key, form in (
        ("objects", "objects", "{:,.0f}"),
        ("store, MB", "megabytes", "{:,.0f} MB"),
        ("first run, CPU s", "cpu", "{:,.0f} s"),
    ):
        lines.append(_line(title, images, [row[key] for row in chain], form))
    for title, key in (("calls of the first run", "calls"), ("calls when nothing is to do", "calls_again")):
        lines.append(_line(title, images, [sum(row[key].values()) for row in chain], "{:,.0f}"))
    return lines


def _line(title: str, sizes: tuple[int, int], values: list[float], form: str) -> str:
    slope = (values[1] - values[0]) / (sizes[1] - sizes[0])
    fixed = values[0] - slope * sizes[0]
    return f"| {title} | {fixed:.4g} + {slope:.4g} n | {form.format(fixed + slope * TARGET)} |"


def main() -> None:
    """Write docs/scale.md."""
    from tests.benchmarks.collect import _machine

    head = ["# Scale", "", "Made by `python -m tests.benchmarks.bench_scale`.", "", f"Machine: {_machine()}.", ""]
    (_ROOT / "docs" / "scale.md").write_text("\n".join([*head, run(quick=False), "", _READ]), encoding="utf-8")


_READ = """How to read it:

- A stage's shards run on as many cores or workers as there are; its time divides by them, the steps over whole tables do not.
- Threads, or Dask (`runtime.dask`): Dask needs seconds to start its workers and more for every task; [reliability.md](reliability.md), last
  section, has both as measured. On one machine threads are enough: decoding and networks leave the interpreter's lock. A second machine
  pays once a stage takes minutes, with shards of at least the seconds of work that the section's last column names.
- Objects grow with the images (two masks, a page, a picture and a thumbnail each) and with the shards (a part and its record each);
  tables, figures and records are few. A no-op run reads every object it believes once, because it believes only digests.
- Orchestration costs seconds, whatever the size: a run of 5,420 photographs had 216 task runs, and for 4.3 s of 1,696 s (0.3 %) no task was
  at work (`python tests/benchmarks/orchestration.py` says so of any run that the Prefect server remembers).
- Prefect holds one task run a shard: n / 256 a stage, so some 30,000 for a million images. Give it PostgreSQL and raise
  `runtime.shard_size` to keep that below a few hundred a flow run.
- Second photographs of a lesion are looked for among all images at once: some 0.1 MB and 7 ms of CPU an image at 5,475 photographs. The
  made rows above hold no local features. Where 100,000 images and 10 GB are too much, `manifest.least_matches = 0` leaves it out.
- The straight lines hold while tables fit into memory. Whole tables are read by one process; the largest step above is the limit.
"""


if __name__ == "__main__":
    main()
