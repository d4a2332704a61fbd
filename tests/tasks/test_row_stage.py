from pathlib import Path

import pytest
from pydantic import ValidationError

from cefm_core.config import CefmConfig, RuntimeConfig
from cefm_core.errors import BadItemError, ConfigurationError
from cefm_core.stages import STAGES
from cefm_core.tables import source_listing
from cefm_core.tables.schema import Column, Table
from storage.parquet import read_rows, write_rows
from storage.store import Store
from tasks.context import RunContext
from tasks.row_stage import Output, RowStage, make_plan, publish_rows, run_shard

LENGTHS = Table(
    "lengths",
    "measure_lengths",
    "Length of a name",
    (
        Column("image_id", "string", "Image"),
        Column("length", "int", "Length"),
        Column("mask_key", "string", "Mask"),
        Column("mask_sha256", "string", "Digest"),
    ),
)
STAGE = RowStage(
    name="measure_lengths",
    table=LENGTHS,
    upstream=("source_listing",),
    entries=("cefm_core.errors",),
    inputs=lambda rows: {name: rows["source_listing"][name] for name in ("image_id", "image_sha256")},
    settings=lambda config: config.coarse.model_dump(mode="json"),
    objects=("mask",),
)


class Bench:
    """A stage over named items, with a record of what was processed."""

    def __init__(self, folder):
        (folder / "source").mkdir()
        self.store = Store.open(str(folder / "store"))
        self.context = RunContext(
            store=str(folder / "store"), source=str(folder / "source"), config=CefmConfig(runtime=RuntimeConfig(shard_size=3))
        )
        self.processed: list[str] = []

    def listing(self, names, changed=()):
        rows = [{"image_id": n, "uri": n, "size_bytes": 1, "image_sha256": n + ("2" if n in changed else ""), "row_key": n} for n in names]
        return {"source_listing": write_rows(self.store, source_listing.TABLE, rows)}

    def process(self, items):
        outputs = []
        for item in items:
            self.processed.append(item["image_id"])
            if item["image_id"].startswith("bad"):
                raise BadItemError("truncated", "cut")
            if item["image_id"].startswith("odd"):
                raise ZeroDivisionError("surprise")
            outputs.append(Output({"length": len(item["image_id"])}, {"mask": (item["image_id"].encode(), "png")}))
        return outputs

    def run(self, tables, context=None):
        context = context or self.context
        self.processed.clear()
        plan = make_plan(STAGE, context, tables)
        for work in plan.shards:
            run_shard(STAGE, context, plan.fingerprint, work, self.process)
        return plan, publish_rows(STAGE, context, plan)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


NAMES = [f"image-{n}" for n in range(7)]


def test_every_item_is_a_row_or_a_reject(bench):
    plan, published = bench.run(bench.listing([*NAMES, "bad-1", "odd-1"]))
    assert (plan.images, published.rows, published.rejected) == (9, 7, 2)
    codes = {row["item"]: row["code"] for row in read_rows(bench.store, published.rejects)}
    assert codes == {"bad-1": "truncated", "odd-1": "processing_failed"}


def test_a_second_run_does_nothing_and_gives_the_same_bytes(bench):
    tables = bench.listing([*NAMES, "bad-1"])
    _, first = bench.run(tables)
    plan, second = bench.run(tables)
    assert (plan.missing, plan.shards, bench.processed) == (0, [], [])
    assert second == first


def test_a_surprise_is_asked_for_again_a_bad_item_is_not(bench):
    tables = bench.listing(["image-1", "bad-1", "odd-1"])
    bench.run(tables)
    bench.run(tables)
    assert set(bench.processed) == {"odd-1"}


def test_what_does_not_fit_into_memory_is_split_then_rejected_and_asked_for_again(bench):
    """The process may take 1 GB more than it has; one image wants 2 GB, and a batch of three would."""
    import resource

    wanted = {"image-1": 4e8, "image-2": 4e8, "image-3": 4e8, "image-large": 2e9}

    def process(items):
        bench.processed.append([item["image_id"] for item in items])
        held = bytearray(int(sum(wanted[item["image_id"]] for item in items)))
        return [Output({"length": len(held) and len(i["image_id"])}, {"mask": (i["image_id"].encode(), "png")}) for i in items]

    tables = bench.listing(wanted)
    plan = make_plan(STAGE, bench.context, tables)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + 10**9, limits[1]))
    try:
        for work in plan.shards:
            run_shard(STAGE, bench.context, plan.fingerprint, work, process)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    published = publish_rows(STAGE, bench.context, plan)
    assert (published.rows, [row["code"] for row in read_rows(bench.store, published.rejects)]) == (3, ["out_of_memory"])
    assert max(map(len, bench.processed)) > 1
    assert make_plan(STAGE, bench.context, tables).missing == 1


def test_inserting_changing_and_removing_cost_only_the_items_concerned(bench):
    bench.run(bench.listing(NAMES))
    bench.run(bench.listing(["a-new-one", *NAMES], changed=["image-3"]))
    assert sorted(bench.processed) == ["a-new-one", "image-3"]
    _, published = bench.run(bench.listing(NAMES[1:]))
    assert bench.processed == []
    assert published.rows == 6


@pytest.mark.parametrize("damage", ["delete", "flip"])
def test_a_damaged_output_is_re_made_alone(bench, tmp_path, damage):
    tables = bench.listing(NAMES)
    _, first = bench.run(tables)
    row = read_rows(bench.store, first.table)[2]
    file = tmp_path / "store" / row["mask_key"]
    if damage == "delete":
        file.unlink()
    else:
        file.write_bytes(b"x" + file.read_bytes()[1:])
    _, second = bench.run(tables)
    assert bench.processed == [row["image_id"]]
    assert second == first
    assert file.read_bytes() == row["image_id"].encode()


def test_a_lost_part_costs_its_shard(bench, tmp_path):
    tables = bench.listing(NAMES)
    _, first = bench.run(tables)
    next((tmp_path / "store" / "rows").rglob("*.parquet")).write_bytes(b"half a file")
    _, second = bench.run(tables)
    assert 1 <= len(bench.processed) <= 3
    assert second == first


def test_a_shard_killed_before_its_record_never_happened(bench):
    tables = bench.listing(NAMES)
    plan = make_plan(STAGE, bench.context, tables)
    run_shard(STAGE, bench.context, plan.fingerprint, plan.shards[0], bench.process)

    def killed(items):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_shard(STAGE, bench.context, plan.fingerprint, plan.shards[1], killed)
    bench.run(tables)
    assert len(bench.processed) == 4


def test_settings_re_make_everything_and_runtime_nothing(bench):
    tables = bench.listing(NAMES)
    bench.run(tables)
    slower = bench.context.model_copy(update={"config": CefmConfig(runtime=RuntimeConfig(workers=7, batch_size=2, shard_size=5))})
    bench.run(tables, slower)
    assert bench.processed == []
    other = bench.context.model_copy(update={"config": CefmConfig.model_validate({"coarse": {"threshold": 0.4}})})
    bench.run(tables, other)
    assert len(bench.processed) == 7


def test_little_work_is_shared_among_the_workers(bench):
    tables = bench.listing([f"image-{n:03}" for n in range(100)])
    runtime = RuntimeConfig(workers=4, shard_size=256)
    plan = make_plan(STAGE, bench.context.model_copy(update={"config": CefmConfig(runtime=runtime)}), tables)
    assert [len(bench.store.read_json(work.key)) for work in plan.shards] == [25, 25, 25, 25]


def test_refresh_recomputes(bench):
    tables = bench.listing(NAMES)
    bench.run(tables)
    bench.run(tables, bench.context.model_copy(update={"refresh": ("measure_lengths",)}))
    assert len(bench.processed) == 7


def test_a_configuration_error_stops_the_shard(bench):
    plan = make_plan(STAGE, bench.context, bench.listing(NAMES))

    def misconfigured(items):
        raise ConfigurationError("weights missing")

    with pytest.raises(ConfigurationError):
        run_shard(STAGE, bench.context, plan.fingerprint, plan.shards[0], misconfigured)


def test_rejects_are_retried_alone_when_asked(bench):
    tables = bench.listing([*NAMES, "bad-1"])
    bench.run(tables)
    _, published = bench.run(tables, bench.context.model_copy(update={"retry_rejects": True}))
    assert bench.processed == ["bad-1"]
    assert (published.rows, published.rejected) == (7, 1)


def test_a_stage_and_all_after_it_compute_anew_when_asked(bench):
    context = bench.context.model_copy(update={"resume_from": "measure_abc", "refresh": ("build_manifest",)})
    anew = [stage.name for stage in STAGES if context.computes_anew(stage.name)]
    assert anew == [
        "build_manifest",
        "measure_abc",
        "embed_images",
        "train_alignment",
        "evaluate_alignment",
        "rank_descriptors",
        "write_reports",
    ]
    assert not any(bench.context.computes_anew(stage.name) for stage in STAGES)


@pytest.mark.parametrize("field", [{"refresh": ("measure",)}, {"resume_from": "measure"}])
def test_a_stage_that_is_none_is_refused(bench, field):
    with pytest.raises(ValidationError, match="the stages are build_manifest, assess_images"):
        RunContext(store="a", source="b", **field)
