"""Corrections from the command to the page: exactly the reports concerned are written again, and the run page leads to them."""

from __future__ import annotations

import json
import shutil

import pytest

from cefm_core.config import CefmConfig
from cefm_core.errors import ConfigurationError
from cefm_core.reports.corrections import Correction
from flows.commands.correct import correct, given, show_corrections
from flows.commands.report import hand_out
from flows.redraw import recorded_config, redraw
from flows.write_reports import write_reports
from storage.backends import local_path
from storage.corrections import read_log
from storage.parquet import read_rows
from storage.store import Store
from storage.versions import latest_number, publish, read_outputs, read_version

pytestmark = pytest.mark.flow


@pytest.fixture
def copy(finished, tmp_path):
    context, _ = finished
    shutil.copytree(local_path(context.store), tmp_path / "store")
    return context.model_copy(update={"store": f"file://{tmp_path / 'store'}", "run_id": "again"})


@pytest.fixture
def image(copy):
    """An image whose border was measured."""
    store = Store.open(copy.store)
    rows = read_rows(store, read_outputs(store)["abc_features"])
    return next(row["image_id"] for row in rows if row["border_level"] is not None)


def test_a_corrected_report_is_the_only_one_written_again(copy, image):
    store = Store.open(copy.store)
    before, base = read_outputs(store), latest_number(store)
    correct(copy.store, [], Correction(image, "abc.border_score", "wrong", reviewer="R1"), "R1", False)
    result = write_reports(copy)
    stage = next(record for record in result.stages if record.name == "write_reports")
    assert stage.items_in - stage.reused == 1
    old = {row["image_id"]: row for row in read_rows(store, before["reports"])}
    new = {row["image_id"]: row for row in read_rows(store, result.outputs["reports"])}
    assert [name for name in new if new[name] != old[name]] == [image]
    assert "The border was not measured because a clinician marked it as wrong." in new[image]["text"]
    outputs = before | result.outputs
    version = publish(store, base, copy.run_id, outputs, copy.source)
    assert redraw(copy, result, outputs, version, read_version(store, base)["run_id"]).endswith("runs/again/index.html")
    page = store.read("runs/again/index.html").decode()
    assert new[image]["page_key"] in page and old[image]["page_key"] not in page and '"corrected"' in page
    assert len(store.read_json("runs/again/run.json")["site"]["stages"]) == 10
    assert recorded_config(store, "again") == copy.config != CefmConfig() == recorded_config(store, "no such run")

    old = store.read_json("runs/again/run.json")
    old["site"]["gates"] = [{"table": gate["table"]} for gate in old["site"]["gates"]]
    store.put_json("runs/older/run.json", old)
    assert redraw(copy, result, outputs, version, "older") is None, "a record of an earlier version of the code is not guessed at"

    correct(copy.store, [], Correction(image, "abc.border_score", "withdrawn", reviewer="R1"), "R1", False)
    assert write_reports(copy.model_copy(update={"run_id": "third"})).outputs["reports"] == before["reports"]


def test_files_and_one_correction_are_stored_together_or_not_at_all(copy, image, tmp_path, capsys):
    file = tmp_path / "made.csv"
    file.write_text(f"image_id,fact,kind,level\n{image},abc.border_score,level,2\nnobody,abc.border_score,level,2\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="no image nobody"):
        correct(copy.store, [file], None, "R1", False)
    with pytest.raises(ConfigurationError, match="has no level"):
        correct(copy.store, [], Correction(image, "model.p_melanoma", "level", 2, reviewer="R1"), "R1", False)
    with pytest.raises(ConfigurationError, match="never a name"):
        correct(copy.store, [], Correction(image, "abc.border_score", "wrong"), "Jane Doe", False)
    assert read_log(Store.open(copy.store)) == []
    file.write_text(f"image_id,fact,kind,level\n{image},abc.border_score,level,2\n", encoding="utf-8")
    correct(copy.store, [file], Correction(image, "quality.flags", "wrong", reviewer="R1"), "R1", True)
    assert json.loads(capsys.readouterr().out) == {"store": copy.store, "batch": 1, "corrections": 2, "images": 1}
    show_corrections(copy.store)
    (entries,) = json.loads(capsys.readouterr().out).values()
    assert [entry["fact"] for entry in entries] == ["abc.border_score", "quality.flags"]
    assert all(entry["reviewer"] == "R1" and entry["seen"] for entry in entries)


def test_half_a_correction_is_refused():
    assert given(None, None, None, False, False, "R1") is None
    for half in (("a", None, 2, False, False), ("a", "b", None, False, False), ("a", "b", 2, True, False), (None, "b", 2, False, False)):
        with pytest.raises(ConfigurationError, match="one correction is"):
            given(*half, "R1")


def test_the_corrected_report_is_handed_out_in_every_form(copy, image, tmp_path):
    for form, start in (("text", b"Quantitative"), ("markdown", b"## "), ("html", b"<!doctype html>"), ("pdf", b"%PDF-")):
        hand_out(copy.store, image, form, tmp_path / "out" / f"report.{form}")
        assert (tmp_path / "out" / f"report.{form}").read_bytes().startswith(start)
    assert len(list((tmp_path / "out").iterdir())) == 4
    with pytest.raises(ConfigurationError, match="--format docx"):
        hand_out(copy.store, image, "docx", None)
    with pytest.raises(ConfigurationError, match="no report"):
        hand_out(copy.store, "nobody", "text", None)
