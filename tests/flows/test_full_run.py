"""The whole chain, and what each kind of change makes it do again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.full_run import full_run
from flows.summary import summary_markdown
from storage.parquet import read_rows
from storage.store import Store, local_path
from storage.versions import latest_number
from tests.flows.conftest import SETTINGS

pytestmark = pytest.mark.flow
ROOT = Path(__file__).resolve().parents[2]
ROW_STAGES = [
    "build_manifest",
    "assess_images",
    "segment_coarse",
    "refine_masks",
    "measure_abc",
    "embed_images",
    "rank_descriptors",
    "write_reports",
]


def stages(summary) -> dict[str, dict]:
    return {stage["name"]: stage for stage in summary.stages}


def done(summary) -> dict[str, int]:
    """Items each stage really worked on."""
    return {name: stage["in"] - stage["reused"] for name, stage in stages(summary).items()}


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished store, to change."""
    context, summary = finished
    shutil.copytree(local_path(context.store), tmp_path / "store")
    return context.model_copy(update={"store": f"file://{tmp_path / 'store'}", "run_id": "again"}), summary


def test_every_stage_is_there_and_counts_add_up(finished):
    _, summary = finished
    assert [stage["name"] for stage in summary.stages] == [
        "build_manifest", "assess_images", "segment_coarse", "refine_masks", "measure_abc",
        "embed_images", "train_alignment", "evaluate_alignment", "rank_descriptors", "write_reports",
    ]  # fmt: skip
    for stage in summary.stages:
        assert stage["in"] == stage["out"] + stage["rejected"], stage
    assert summary.outputs.keys() >= {"manifest", "abc_features", "predictions", "metrics", "reports", "rejects", "model_card"}


def test_scores_have_intervals_and_counts(finished):
    _, summary = finished
    auc = next(value for name, value in summary.metrics.items() if name.startswith("AUC"))
    assert auc["n"] > 0
    assert auc["value"] is None or 0 <= auc["value"] <= 1
    if auc["low"] is None:
        assert auc["reason"]
    else:
        assert auc["low"] <= auc["value"] <= auc["high"]


def test_a_second_run_does_no_work_and_writes_the_same_bytes(copy):
    context, before = copy
    after = full_run(context)
    assert all(stage["cached"] for stage in after.stages), done(after)
    assert after.outputs == before.outputs
    assert after.version == before.version


@pytest.mark.parametrize(
    ("table", "stage", "column"), [("coarse_masks", "segment_coarse", "mask_key"), ("reports", "write_reports", "page_key")]
)
def test_a_deleted_output_is_re_made_alone(copy, table, stage, column):
    context, before = copy
    store = Store.open(context.store)
    row = read_rows(store, before.outputs[table])[5]
    (local_path(context.store) / row[column]).unlink()
    after = full_run(context)
    assert done(after) == dict.fromkeys(stages(after), 0) | {stage: 1}
    assert after.outputs == before.outputs


def test_a_threshold_re_makes_what_depends_on_it(copy):
    context, before = copy
    config = context.config.model_copy(update={"coarse": context.config.coarse.model_copy(update={"threshold": 0.35})})
    after = done(full_run(context.model_copy(update={"config": config})))
    assert [after[name] for name in ("build_manifest", "assess_images")] == [0, 0]
    assert after["segment_coarse"] == stages(before)["segment_coarse"]["in"]
    assert after["measure_abc"] > 0
    assert after["train_alignment"] > 0


def test_a_weight_file_re_makes_what_depends_on_it(copy, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    weights = tmp_path / "other.safetensors"
    with safe_open(ROOT / "cefm_core" / "weights" / "ultralight_vmunet.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = file.metadata()
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1e-3
    save_file(tensors, weights, facts)
    context, before = copy
    config = context.config.model_copy(update={"coarse": context.config.coarse.model_copy(update={"weights": str(weights)})})
    after = done(full_run(context.model_copy(update={"config": config})))
    assert after["segment_coarse"] == stages(before)["segment_coarse"]["in"]
    assert after["assess_images"] == 0


def test_one_changed_image_re_makes_its_own_rows(copy, phantoms, tmp_path):
    import cv2

    source = tmp_path / "source"
    shutil.copytree(phantoms, source)
    victim = sorted((source / "images").iterdir())[3]
    cv2.imwrite(str(victim), cv2.GaussianBlur(cv2.imread(str(victim)), (0, 0), 1.5))
    context, _ = copy
    after = done(full_run(context.model_copy(update={"source": f"file://{source}", "metadata": (f"file://{source / 'metadata.csv'}",)})))
    assert {name: after[name] for name in ROW_STAGES if name != "write_reports"} == dict.fromkeys(ROW_STAGES[:-1], 1) | {
        "build_manifest": 1
    }
    assert after["train_alignment"] > 0


def test_one_core_function_re_makes_what_calls_it(copy, tmp_path):
    """A copy of the code with one function changed runs in a process of its own."""
    context, before = copy
    code = tmp_path / "code"
    for name in ("cefm_core", "storage", "tasks", "flows"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    module = code / "cefm_core" / "abc_features" / "paper_profile.py"
    module.write_text(module.read_text() + "\n\ndef _added() -> int:\n    return 1\n")
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(SETTINGS))
    script = (
        "import json, sys\nfrom flows.full_run import full_run\nfrom tasks.context import RunContext\n"
        "context = RunContext.model_validate_json(open(sys.argv[1]).read())\n"
        "print(json.dumps(full_run(context).model_dump(mode='json')))\n"
    )
    request = tmp_path / "context.json"
    request.write_text(context.model_dump_json())
    environment = os.environ | {
        "PYTHONPATH": str(code),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    }
    environment.pop("PREFECT_API_URL", None)
    answer = subprocess.run(
        [sys.executable, "-c", script, str(request)], env=environment, cwd=code, capture_output=True, text=True, timeout=300, check=False
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    after = json.loads(answer.stdout.splitlines()[-1])
    worked = {stage["name"]: stage["in"] - stage["reused"] for stage in after["stages"]}
    images = stages(before)["measure_abc"]["in"]
    assert worked == dict.fromkeys(worked, 0) | {"measure_abc": images, "write_reports": images}


def test_a_dry_run_counts_and_publishes_nothing(copy):
    context, before = copy
    plan = full_run(context.model_copy(update={"resume_from": "measure_abc"}), dry_run=True)
    todo = {stage.name: stage.missing for stage in plan.stages}
    images = stages(before)["measure_abc"]["in"]
    assert [todo[name] for name in ("build_manifest", "segment_coarse", "measure_abc", "write_reports")] == [0, 0, images, images]
    store = Store.open(context.store)
    assert latest_number(store) == before.version
    assert not store.keys_below(f"runs/{context.run_id}")


def test_the_list_of_runs_says_which_version_came_of_it(finished):
    from prefect.client.orchestration import get_client

    context, summary = finished
    with get_client(sync_client=True) as client:
        names = [run.name for run in client.read_flow_runs()]
    assert f"full_run {context.title}: version {summary.version}" in names


def test_the_summary_compares_each_stage_with_the_run_before(copy):
    context, before = copy
    after = full_run(context.model_copy(update={"refresh": ("assess_images",)}))
    was = stages(before)["assess_images"]
    assert stages(after)["assess_images"]["before"] == pytest.approx(was["seconds"] / was["in"], abs=1e-4)
    text = summary_markdown(after)
    assert "run before, s per item" in text
    assert f"| {stages(after)['assess_images']['before']:.3f} |" in text


def test_progress_says_how_many_and_the_rate(finished):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        said = [artifact.description for artifact in client.read_artifacts() if artifact.type == "progress"]
    assert any(re.fullmatch(r"done: 40 of 40 images, [0-9.]+ (images/s|s an image)", text) for text in said)
