"""Bad items become rows with a reason, bad runs one clear message; a traceback nobody sees."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from cefm_core.imaging.decode import encode_jpeg
from cefm_core.phantoms.dataset import write_phantom_dataset
from flows import cli
from storage.parquet import read_rows
from storage.refs import FileRef
from storage.store import Store
from tests.flows.services import QUICK, cefm, prefect_environment, settings

UNLABELLED = "PHANTOM_0000006"
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def one_image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    (folder / "lesion.jpg").write_bytes(encode_jpeg(np.full((80, 90, 3), 180, np.uint8), 90))
    return folder


@pytest.fixture
def stopped(monkeypatch, capsys, tmp_path):
    """Run ``cefm run`` where it must stop before any server is started; return its exit code and message."""

    def fail():
        pytest.fail("a server was started before the fault was found")

    monkeypatch.setattr("flows.commands.run.ensure_server", fail)

    def run(*arguments, store=tmp_path / "store"):
        monkeypatch.setattr(sys, "argv", ["cefm", "run", "--store", str(store), *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        message = capsys.readouterr().err
        assert "Traceback" not in message
        return stop.value.code, message

    return run


def test_no_such_source(stopped, tmp_path):
    assert stopped("--source", tmp_path / "nowhere") == (
        2,
        f"cefm: source file://{tmp_path / 'nowhere'}: no such folder; give the folder that holds the images\n",
    )


def test_empty_source(stopped, tmp_path):
    (tmp_path / "empty").mkdir()
    code, message = stopped("--source", tmp_path / "empty")
    assert code == 2 and "empty; give a folder that holds images" in message


def test_source_without_images(stopped, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "readme.txt").write_text("no image")
    code, message = stopped("--source", tmp_path / "texts")
    assert code == 2 and "no image among 1 files" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"age,sex\n40,male\n", "no column with the image id; found: age, sex; expected one of: isic_id"),
        (b"isic_id,diagnosis\n", "a header but no rows"),
        (b"\xff\x00\xfe" * 9, "not UTF-8"),
    ],
)
def test_unusable_metadata(stopped, one_image, tmp_path, content, expected):
    (tmp_path / "table.csv").write_bytes(content)
    code, message = stopped("--source", one_image, "--metadata", tmp_path / "table.csv")
    assert code == 2 and "table.csv" in message and expected in message


def test_metadata_that_is_not_there(stopped, one_image, tmp_path):
    code, message = stopped("--source", one_image, "--metadata", tmp_path / "nowhere.csv")
    assert code == 2 and "nowhere.csv: cannot be read" in message


def test_store_that_cannot_be_written(stopped, one_image, tmp_path):
    (tmp_path / "file").write_text("a file, not a folder")
    code, message = stopped("--source", one_image, store=tmp_path / "file" / "store")
    assert code == 2 and message.count("\n") == 1 and "cannot be opened" in message


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("coarse.treshold=0.4", "coarse.treshold: Extra inputs are not permitted"),
        ("coarse.threshold=7", "coarse.threshold: Input should be less than 1"),
        ("coarse.threshold=high", "coarse.threshold: Input should be a valid number"),
        ("runtime.shard_size=1" + 40 * "0", "runtime.shard_size: Input should be less than or equal to 2147483647"),
        ("alignment.seeds=[]", "alignment.seeds: Tuple should have at least 1 item"),
        ("alignment.seeds=[-1]", "alignment.seeds.0: Input should be greater than or equal to 0"),
        ("runtime.llm_timeout_s=inf", "runtime.llm_timeout_s: Input should be a finite number"),
        ("refine.refiner=magic", "refine.refiner: Input should be 'auto', 'sam2', 'medsam-lite', 'classical' or 'none'"),
        ("alignment.seeds=[1,", "the list is not JSON"),
        ("alignment.seeds=[1,true,x]", "the list is not JSON"),
        ("threshold", "write it as stage.setting=value"),
        ("threshold=0.4", "threshold: Extra inputs are not permitted"),
    ],
)
def test_wrong_setting(stopped, one_image, pair, expected):
    code, message = stopped("--source", one_image, "--set", pair)
    assert code == 2 and expected in message


@pytest.mark.parametrize("option", ["--source", "--store"])
def test_an_empty_address_is_not_the_current_folder(monkeypatch, capsys, tmp_path, option):
    places = {"--source": str(tmp_path), "--store": str(tmp_path / "store")} | {option: " "}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cefm", "run", *(part for pair in places.items() for part in pair)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2 and "empty address" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_gpu_that_is_not_there(stopped, one_image):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    code, message = stopped("--source", one_image, "--set", "runtime.device=cuda")
    assert code == 2 and "runtime.device = cuda: no CUDA device here; set it to cpu or auto" in message


def test_every_fault_is_named_at_once(stopped, tmp_path):
    code, message = stopped("--source", tmp_path / "nowhere", "--metadata", tmp_path / "no.csv", "--set", "reports.writer=openai")
    assert code == 2
    assert all(part in message for part in ("no such folder", "no.csv: cannot be read", "CEFM_LLM_API_KEY holds no key"))


@pytest.mark.parametrize("option", [[], ["--store"], ["--no-such-flag"]])
def test_wrong_usage(monkeypatch, capsys, option):
    monkeypatch.setattr(sys, "argv", ["cefm", "run", *option])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    message = capsys.readouterr().err
    assert stop.value.code == 2 and "Error: " in message and "Traceback" not in message


def test_a_fault_nobody_foresaw_is_one_line(monkeypatch, capsys, tmp_path):
    def broken(*_):
        raise RuntimeError("wheels came off\nand more")

    monkeypatch.delenv("CEFM_TRACEBACK", raising=False)
    monkeypatch.setattr("flows.commands.run.run", broken)
    monkeypatch.setattr(sys, "argv", ["cefm", "run", "--source", "s", "--store", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("cefm: failed: RuntimeError: wheels came off; run again to resume")


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """Rendered lesions among files and metadata rows that are bad in every way an archive's can be."""
    folder = tmp_path_factory.mktemp("spoiled")
    write_phantom_dataset(folder, 16, 7)
    images = folder / "images"
    good = (images / "PHANTOM_0000001.jpg").read_bytes()
    (images / "truncated.jpg").write_bytes(good[: len(good) // 2])
    (images / "text.jpg").write_text("<html>not found</html>")
    (images / "zero.jpg").write_bytes(b"")
    (images / "a\\..\\..\\outside.jpg").write_bytes(good)
    (images / f"{MARKUP}.jpg").write_bytes((images / "PHANTOM_0000002.jpg").read_bytes())
    table = folder / "metadata.csv"
    lines = [line for line in table.read_text().splitlines() if not line.startswith(f"{UNLABELLED},")]
    commas = "," * (lines[0].count(",") - 1)
    lines += [f"../../outside,nevus{commas}", f",nevus{commas}", f"text,nevus{commas}"]
    table.write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def ran(spoiled, tmp_path_factory):
    """The ``cefm run`` of the spoiled folder: its answer, its summary and its store."""
    store = tmp_path_factory.mktemp("store")
    arguments = ["run", "--source", spoiled, "--metadata", spoiled / "metadata.csv", "--store", store, "--json", *settings(*QUICK)]
    answer = cefm(*arguments, environment=prefect_environment(), cwd=store)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer, json.loads(answer.stdout.splitlines()[-1]), Store.open(str(store))


def table(ran, name):
    _, summary, store = ran
    return read_rows(store, FileRef(**summary["outputs"][name]))


@pytest.mark.flow
def test_each_bad_item_is_a_row_with_its_reason(ran):
    found = {row["item"]: row["code"] for row in table(ran, "rejects")}
    assert found == {
        "truncated": "truncated",
        "text": "not_an_image",
        "zero": "empty_file",
        "images/a\\..\\..\\outside.jpg": "bad_id",
        "metadata.csv row 17: ../../outside": "bad_id",
        "metadata.csv row 18: ": "bad_id",
    }
    assert all(row["message"] for row in table(ran, "rejects"))


@pytest.mark.flow
def test_no_traceback_and_counts_add_up(ran):
    answer, summary, _ = ran
    assert "Traceback" not in answer.stderr + answer.stdout
    for stage in summary["stages"]:
        assert stage["in"] == stage["out"] + stage["rejected"], stage
    first = summary["stages"][0]
    assert first["rejected"] == len(table(ran, "rejects"))
    assert first["out"] == 17


@pytest.mark.flow
def test_an_unlabelled_image_is_reported_but_neither_fitted_nor_scored(ran):
    manifest = {row["image_id"]: row for row in table(ran, "manifest")}
    assert manifest[UNLABELLED]["diagnosis"] == "unknown"
    assert manifest[UNLABELLED]["target"] is None
    assert {row["image_id"] for row in table(ran, "reports")} == manifest.keys()
    prediction = next(row for row in table(ran, "predictions") if row["image_id"] == UNLABELLED)
    assert prediction["p_melanoma"] is not None
    assert prediction["target"] is None
    labelled = {
        split: sum(row["target"] is not None for row in manifest.values() if row["split"] == split and row["duplicate_of"] is None)
        for split in {row["split"] for row in manifest.values()}
    }
    for row in table(ran, "metrics"):
        if row["metric"] == "roc_auc" and row["stratum"] == "all" and row["model"] == "combined":
            assert row["n"] <= labelled[row["split"]]


@pytest.mark.flow
def test_nothing_is_written_outside_the_store(ran, spoiled):
    _, _, store = ran
    keys = store.keys_below("objects") + store.keys_below("tables") + store.keys_below("runs")
    assert keys and not any(".." in key or "\\" in key or "<" in key for key in keys)
    assert not list(spoiled.parent.glob("*outside*"))


@pytest.mark.flow
def test_markup_in_a_name_stays_text_on_the_pages(ran):
    _, summary, store = ran
    page = next(row["page_key"] for row in table(ran, "reports") if row["image_id"] == MARKUP)
    for key in (page, f"runs/{summary['run_id']}/index.html"):
        text = store.read(key).decode()
        assert MARKUP not in text
        assert "onerror=alert(1)" in text  # it is there, but as text


@pytest.mark.flow
def test_too_many_rejects_stop_the_run_with_their_causes(ran, spoiled):
    _, _, store = ran
    pairs = settings(*QUICK, "runtime.max_reject_share=0.1")
    arguments = ["run", "--source", spoiled, "--metadata", spoiled / "metadata.csv", "--store", store.uri, *pairs]
    answer = cefm(*arguments, environment=prefect_environment(), cwd=spoiled)
    assert answer.returncode == 3, answer.stderr[-3000:]
    assert "6 of 23 items were rejected, more than max_reject_share = 0.1" in answer.stderr
    assert "truncated" in answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout
    assert len(store.keys_below("published")) == 1


@pytest.mark.flow
def test_a_missing_weight_file_stops_the_run_before_its_first_image(one_image, tmp_path):
    pairs = settings(f"coarse.weights={tmp_path / 'no.safetensors'}", "embed.model=vit_tiny_patch16_224", "embed.weights=none.safetensors")
    arguments = ["run", "--source", one_image, "--store", tmp_path / "store", *pairs]
    answer = cefm(*arguments, environment=prefect_environment(), cwd=tmp_path)
    assert answer.returncode == 2, answer.stderr[-3000:]
    assert "coarse.weights" in answer.stderr and "embed.weights" in answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout
    assert Store.open(str(tmp_path / "store")).keys_below("tables") == []
