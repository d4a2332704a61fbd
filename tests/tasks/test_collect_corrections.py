"""The table of corrections: one row an image, whatever the log holds."""

from cefm_core.reports.corrections import Correction
from cefm_core.tables import manifest
from storage.corrections import add_corrections
from storage.parquet import read_rows, write_rows
from storage.store import Store
from tasks.collect_corrections import collect_corrections, corrections_of
from tasks.context import RunContext


def manifest_of(store, *image_ids):
    blank = {
        column.name: {"string": "x", "int": 1, "float": 1.0, "bool": False, "strings": []}.get(column.type)
        for column in manifest.TABLE.columns
    }
    return write_rows(store, manifest.TABLE, [blank | {"image_id": image_id} for image_id in image_ids])


def test_every_image_has_a_row_and_only_those_with_corrections_have_another_key(tmp_path):
    store = Store.open(str(tmp_path))
    images = manifest_of(store, "a", "b", "c")
    context = RunContext(store=str(tmp_path), source=str(tmp_path))
    before = read_rows(store, collect_corrections.fn(context, images).files["corrections"])
    add_corrections(store, [Correction("b", "abc.border_score", "wrong", reviewer="R1"), Correction("gone", "quality.flags", "wrong")])
    outputs = collect_corrections.fn(context, images)
    after = read_rows(store, outputs.files["corrections"])
    assert [row["image_id"] for row in after] == ["a", "b", "c"] and outputs.summary == {"images": 3}
    assert [row["row_key"] == old["row_key"] for row, old in zip(after, before, strict=True)] == [True, False, True]
    assert [row["correction_count"] for row in after] == [0, 1, 0]
    assert corrections_of(after[0]) == () and corrections_of(after[1])[0].reviewer == "R1"


def test_a_correction_taken_back_leaves_the_row_as_it_was(tmp_path):
    store = Store.open(str(tmp_path))
    images = manifest_of(store, "a")
    context = RunContext(store=str(tmp_path), source=str(tmp_path))
    before = collect_corrections.fn(context, images).files
    add_corrections(store, [Correction("a", "abc.border_score", "wrong")])
    add_corrections(store, [Correction("a", "abc.border_score", "withdrawn")])
    assert collect_corrections.fn(context, images).files == before
