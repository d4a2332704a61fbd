"""The command's single parts on plain folders and on a finished store: they really work and write what their help says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from flows import cli
from storage import keys
from storage.backends import local_path
from storage.parquet import read_rows, write_rows
from storage.store import Store
from storage.versions import publish, read_outputs
from tests.flows.services import ROOT

COMMANDS = {
    "demo", "run", "segment", "measure", "predict", "embed", "train", "evaluate", "describe", "report", "paper-tables",
    "facts", "check-report", "show", "diff", "why", "doctor", "serve", "correct", "compare-writers", "reader-study",
}  # fmt: skip
HEAVY = {"prefect", "torch", "pandas", "numpy", "pyarrow", "obstore", "great_expectations", "timm", "sklearn", "matplotlib", "cv2", "rich"}


@pytest.fixture
def cefm(monkeypatch, capsys):
    """Run ``cefm`` in this process; return its exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cefm", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        return stop.value.code or 0, output.out, output.err

    return run


def test_help_names_every_command_and_imports_nothing_heavy():
    code = """if True:
        import sys
        heavy = set(sys.stdin.read().split())
        sys.argv = ["cefm", "--help"]
        from flows import cli
        try:
            cli.main()
        except SystemExit as stop:
            print("HEAVY", sorted(set(sys.modules) & heavy), stop.code)
    """
    answer = subprocess.run(
        [sys.executable, "-c", code], input=" ".join(HEAVY), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    listed = {line.split()[0] for line in answer.stdout.partition("Commands:")[2].splitlines() if line.startswith("  ") and line.split()}
    assert listed >= COMMANDS
    assert answer.stdout.splitlines()[-1] == "HEAVY [] 0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, phantoms):
    """Four images of different shapes, one of them broken, with reference masks of the good ones."""
    made = tmp_path_factory.mktemp("folder")
    (made / "images").mkdir()
    (made / "masks").mkdir()
    for number, scale in enumerate((1.0, 0.7, 0.5), start=1):
        name = f"PHANTOM_000000{number}"
        image, mask = (cv2.imread(str(phantoms / part)) for part in (f"images/{name}.jpg", f"masks/{name}.png"))
        cv2.imwrite(str(made / "images" / f"{name}.jpg"), cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        small = cv2.resize(mask[..., 0], None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(made / "masks" / f"{name}_segmentation.png"), small)
    (made / "images" / "broken.jpg").write_bytes(b"no image")
    return made


@pytest.mark.parametrize("refiner", ["none", "classical"])
def test_segment_writes_masks_of_each_images_own_size(cefm, folder, tmp_path, refiner):
    code, out, err = cefm("segment", folder / "images", "--out", tmp_path, "--refiner", refiner, "--json")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1]) == {"in": 4, "out": 3, "rejected": 1, "file": str(tmp_path / "masks.parquet")}
    rows = pq.read_table(tmp_path / "masks.parquet").to_pylist()
    assert [row["image_id"] for row in rows] == ["PHANTOM_0000001", "PHANTOM_0000002", "PHANTOM_0000003"]
    for row in rows:
        mask = cv2.imread(str(tmp_path / f"{row['image_id']}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == cv2.imread(str(folder / "images" / f"{row['image_id']}.jpg")).shape[:2]
        assert set(np.unique(mask)) == {0, 255}
        assert row["area_px"] == (mask > 0).sum()
        truth = cv2.imread(str(folder / "masks" / f"{row['image_id']}_segmentation.png"), cv2.IMREAD_GRAYSCALE) > 127
        assert 2 * (truth & (mask > 0)).sum() / (truth.sum() + (mask > 0).sum()) > 0.7
    rejects = pq.read_table(tmp_path / "masks.rejects.parquet").to_pylist()
    assert [(row["item"], row["code"]) for row in rejects] == [("broken", "not_an_image")]
    assert "rejected broken: not_an_image" in err


@pytest.mark.parametrize(
    ("profile", "columns"),
    [
        ("clinical", ["asymmetry_score", "border_score", "colour_count", "structure_count", "tds", "asymmetry_level", "border_level"]),
        ("paper", ["a_grey", "b2_mean_curvature", "hue_std", "saturation_std", "value_std"]),
    ],
)
def test_measure_writes_one_row_an_image(cefm, folder, tmp_path, profile, columns):
    out_file = tmp_path / "features.parquet"
    code, out, err = cefm("measure", folder / "images", folder / "masks", "--out", out_file, "--profile", profile, "--json")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["out"] == 3
    rows = pq.read_table(out_file).to_pylist()
    assert [row["image_id"] for row in rows] == ["PHANTOM_0000001", "PHANTOM_0000002", "PHANTOM_0000003"]
    assert all(rows[0][name] is not None for name in columns)
    assert 0 <= rows[0]["asymmetry_score"] <= 2 and 1 <= rows[0]["colour_count"] <= 6


def test_measure_names_what_it_lacks(cefm, folder, tmp_path):
    masks = tmp_path / "masks"
    shutil.copytree(folder / "masks", masks)
    (masks / "PHANTOM_0000002_segmentation.png").unlink()
    cv2.imwrite(str(masks / "PHANTOM_0000003_segmentation.png"), np.zeros((10, 17), np.uint8))
    code, _, err = cefm("measure", folder / "images", masks, "--out", tmp_path / "f.parquet")
    assert code == 0
    assert "rejected PHANTOM_0000002: no_mask" in err
    assert "rejected PHANTOM_0000003: mask_size_mismatch" in err
    assert cefm("measure", folder / "images", tmp_path / "no", "--out", tmp_path / "f.parquet")[0] == 2
    assert cefm("measure", folder / "images", masks, "--out", tmp_path / "f.parquet", "--profile", "x")[0] == 2


def test_no_usable_image_is_not_success(cefm, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    code, _, err = cefm("segment", tmp_path, "--out", tmp_path / "out")
    assert code == 2 and "none of 1 images could be used" in err


@pytest.mark.flow
def test_predict_calibrates_and_bounds(cefm, finished, folder, tmp_path):
    context, _ = finished
    arguments = ("predict", folder / "images", "--store", context.store, "--out", tmp_path / "p.parquet", "--json")
    code, out, err = cefm(*arguments, "--set", "refine.refiner=classical")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["out"] == 3
    for row in pq.read_table(tmp_path / "p.parquet").to_pylist():
        assert 0 <= row["p_low"] <= row["p_melanoma"] <= row["p_high"] <= 1
        assert row["abstain"] in (True, False)
        assert row["target"] is None


@pytest.mark.flow
def test_predict_agrees_with_the_run_on_the_same_image(cefm, finished, phantoms, tmp_path):
    context, summary = finished
    (tmp_path / "images").mkdir()
    shutil.copy(phantoms / "images" / "PHANTOM_0000004.jpg", tmp_path / "images")
    arguments = ("predict", tmp_path / "images", "--store", context.store, "--out", tmp_path / "p.parquet")
    assert cefm(*arguments, "--set", "refine.refiner=classical")[0] == 0
    alone = pq.read_table(tmp_path / "p.parquet").to_pylist()[0]
    whole = next(r for r in read_rows(Store.open(context.store), summary.outputs["predictions"]) if r["image_id"] == "PHANTOM_0000004")
    assert alone["p_melanoma"] == pytest.approx(whole["p_melanoma"], abs=1e-5)


@pytest.mark.flow
def test_facts_feed_check_report(cefm, finished, tmp_path):
    context, summary = finished
    report = read_rows(Store.open(context.store), summary.outputs["reports"])[2]
    code, out, _ = cefm("facts", report["image_id"], "--store", context.store)
    assert code == 0
    (tmp_path / "facts.json").write_text(out)
    (tmp_path / "report.txt").write_text(report["text"])
    code, out, _ = cefm("check-report", tmp_path / "facts.json", tmp_path / "report.txt")
    assert (code, json.loads(out)) == (0, {"publish": True, "reasons": []})
    (tmp_path / "report.txt").write_text(report["text"] + "\nThe lesion has a diameter of 7 mm and is certainly a melanoma.")
    code, out, _ = cefm("check-report", tmp_path / "facts.json", tmp_path / "report.txt")
    assert code == 1
    assert not json.loads(out)["publish"] and json.loads(out)["reasons"]
    assert cefm("check-report", tmp_path / "facts.json", tmp_path / "nowhere.txt")[0] == 2
    assert cefm("facts", "nobody", "--store", context.store)[0] == 2


@pytest.mark.flow
def test_show_leads_back_to_the_image(cefm, finished):
    context, summary = finished
    code, out, _ = cefm("show", "PHANTOM_0000005", "--store", context.store)
    shown = json.loads(out)
    assert code == 0 and shown["version"] == 1 and shown["run_id"] == summary.run_id
    assert shown["tables"].keys() >= {"manifest", "coarse_masks", "refined_masks", "abc_features", "embeddings", "predictions", "reports"}
    digests = {row["image_sha256"] for row in shown["tables"].values() if row.get("image_sha256")}
    assert len(digests) == 1
    mask = shown["tables"]["refined_masks"]["mask_key"]
    uses = json.loads(cefm("show", mask, "--store", context.store)[1])
    assert uses["rows"]["refined_masks.mask_key"] == {"count": 1, "images": ["PHANTOM_0000005"]}
    model = json.loads(cefm("show", summary.outputs["checkpoint"].sha256, "--store", context.store)[1])
    assert model["outputs"] == {"checkpoint": [1]}
    assert cefm("show", "0" * 64, "--store", context.store)[0] == 2
    assert cefm("show", "nobody", "--store", context.store)[0] == 2


@pytest.fixture
def changed(finished, tmp_path):
    """A copy of the store with a second version that lacks one report, and a second fingerprint of one stage."""
    context, summary = finished
    shutil.copytree(local_path(context.store), tmp_path / "store")
    store = Store.open(str(tmp_path / "store"))
    outputs = read_outputs(store)
    from cefm_core.tables.reports import TABLE

    rows = read_rows(store, outputs["reports"])
    publish(store, 1, "20990101T000000-aaaaaa", outputs | {"reports": write_rows(store, TABLE, rows[1:])}, context.source)
    known = store.read_json(store.keys_below("fingerprints/segment_coarse")[0])
    known["parts"]["settings.threshold"] = 0.4
    store.put_json(keys.fingerprint_key("segment_coarse", "f" * 64), known)
    return store, rows[0]["image_id"]


@pytest.mark.flow
def test_diff_names_what_changed_between_versions(cefm, changed, tmp_path):
    store, gone = changed
    code, out, _ = cefm("diff", 1, 2, "--store", store.uri, "--json")
    found = json.loads(out)["tables"]
    assert code == 0
    assert found.pop("reports") == {"added": [], "removed": [gone], "changed": [], "columns": {}}
    assert all(not kinds for table in found.values() for kinds in table.values())
    page, table = tmp_path / "page.html", tmp_path / "changes.parquet"
    code, out, _ = cefm("diff", 1, 2, "--store", store.uri, "--page", page, "--table", table)
    assert code == 0 and "reports: 39 equal, 0 changed, 0 added, 1 removed" in out
    assert "version 1" in page.read_text() and pq.read_table(table).num_rows == 0
    assert cefm("diff", 1, 9, "--store", store.uri)[0] == 2


@pytest.mark.flow
def test_why_names_the_part_of_the_key_that_changed(cefm, changed):
    store, _ = changed
    assert cefm("why", "segment_coarse", "--store", store.uri)[:2] == (0, "settings.threshold: 0.5 -> 0.4\n")
    assert cefm("why", "f" * 64, "--store", store.uri)[:2] == (0, "settings.threshold: 0.5 -> 0.4\n")
    assert "nothing changed" in cefm("why", "measure_abc", "--store", store.uri)[1]
    assert cefm("why", "no_such_stage", "--store", store.uri)[0] == 2


@pytest.mark.flow
def test_doctor_says_what_is_in_order(cefm, finished, tmp_path):
    context, _ = finished
    code, out, err = cefm("doctor", "--store", context.store, "--source", context.source, "--set", "refine.refiner=none")
    assert code == 0, err
    for line in ("ok  store: ", "ok  source: 40 images in ", "ok  device: ", "ok  writer: template", "ok  segment_coarse: "):
        assert line in out
    code, _, err = cefm("doctor", "--store", tmp_path / "new", "--set", f"coarse.weights={tmp_path / 'no.safetensors'}")
    assert code == 2 and "no.safetensors" in err


@pytest.mark.flow
def test_plan_says_what_would_run_and_why(cefm, finished, phantoms):
    context, _ = finished
    common = ("run", "--plan", "--json", "--source", phantoms, "--store", context.store, "--metadata", phantoms / "metadata.csv")
    same = ("--set", "refine.refiner=classical")
    plan = {stage["name"]: stage for stage in json.loads(cefm(*common, *same)[1])}
    rows = {name: stage for name, stage in plan.items() if stage["why"] != "runs when its tables change"}
    assert len(rows) >= 7
    assert {stage["why"] for stage in rows.values()} == {"cached"} and not any(stage["missing"] for stage in rows.values())
    plan = {stage["name"]: stage for stage in json.loads(cefm(*common, *same, "--set", "coarse.threshold=0.4")[1])}
    assert (plan["segment_coarse"]["images"], plan["segment_coarse"]["missing"]) == (40, 40)
    assert plan["segment_coarse"]["seconds"] > 0 and plan["assess_images"]["seconds"] == 0
    assert plan["segment_coarse"]["why"] == "settings, weights or code changed"
    assert plan["assess_images"]["missing"] == 0


def test_a_store_with_nothing_published_says_so(cefm, tmp_path):
    for arguments in (("show", "x"), ("facts", "x"), ("report",), ("evaluate",), ("train",)):
        code, _, err = cefm(*arguments, "--store", tmp_path)
        assert code == 2 and "nothing is published yet" in err, arguments


@pytest.mark.shared
def test_paper_tables_warn_of_the_shortcut(cefm, shared, tmp_path):
    train, test = (shared / "data" / "paper" / name for name in ("train.csv", "test.csv"))
    code, out, err = cefm("paper-tables", train, test, "--out", tmp_path / "page.md", "--json")
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["rows"] and found["headline"]
    assert (tmp_path / "page.md").read_text().startswith("#")
    assert cefm("paper-tables", train, tmp_path / "nowhere.csv")[0] == 2
