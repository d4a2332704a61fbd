"""The manifest from the tables that come with a source."""

import cv2
import numpy as np
import pytest

from cefm_core.errors import ConfigurationError
from storage.parquet import read_rows
from tasks.build_manifest import STAGE, assemble_manifest, build_manifest, scan_source
from tasks.context import RunContext
from tasks.row_stage import make_plan, publish_rows

TRUTH = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nISIC_1,1,0,0,0,0,0,0,0,0\nISIC_2,0,1,0,0,0,0,0,0,0\nISIC_3,0,1,0,0,0,0,0,0,0\n"
METADATA = "image,age_approx,sex,lesion_id\nISIC_1,55,female,L1\nISIC_2,40,male,L2\nISIC_3,,male,L3\n"
DUPLICATES = "image_name_1,image_name_2\nISIC_2,ISIC_3\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    random = np.random.default_rng(3)
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / "images" / f"ISIC_{number}.jpg"), random.integers(0, 255, (96, 128, 3), np.uint8))
    for name, text in {"truth.csv": TRUTH, "metadata.csv": METADATA, "duplicates.csv": DUPLICATES}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def manifest(folder, **tables):
    context = RunContext(store=str(folder / "store"), source=str(folder / "images"), **tables)
    listing = scan_source.fn(context).files["source_listing"]
    plan = make_plan(STAGE, context, {"source_listing": listing})
    for work in plan.shards:
        build_manifest.fn(context, plan.fingerprint, work)
    facts = publish_rows(STAGE, context, plan).table
    outputs = assemble_manifest.fn(context, listing, facts)
    outputs = getattr(outputs, "data", outputs)
    return {row["image_id"]: row for row in read_rows(context.open_store(), outputs.files["manifest"])}


def test_two_tables_of_the_same_images_are_joined(folder):
    rows = manifest(folder, metadata=(str(folder / "truth.csv"), str(folder / "metadata.csv")))
    assert [(row["diagnosis"], row["age_years"], row["sex"]) for row in rows.values()] == [
        ("melanoma", 55.0, "female"),
        ("nevus", 40.0, "male"),
        ("nevus", None, "male"),
    ]


def test_one_table_may_stand_alone(folder):
    rows = manifest(folder, metadata=str(folder / "truth.csv"))
    assert [row["target"] for row in rows.values()] == [1, 0, 0]
    assert all(row["lesion_id"] is None for row in rows.values())


def test_a_listed_duplicate_is_processed_and_not_trained_on(folder):
    tables = {"metadata": str(folder / "truth.csv"), "duplicates": str(folder / "duplicates.csv")}
    rows = manifest(folder, **tables)
    assert rows["ISIC_3"]["duplicate_of"] == "ISIC_2"
    assert (rows["ISIC_2"]["target"], rows["ISIC_3"]["target"]) == (0, None)
    assert rows["ISIC_2"]["group_id"] == rows["ISIC_3"]["group_id"]


def test_a_duplicates_list_that_changes_is_noticed(folder):
    tables = {"metadata": str(folder / "truth.csv"), "duplicates": str(folder / "duplicates.csv")}
    manifest(folder, **tables)
    (folder / "duplicates.csv").write_text("image_name_1,image_name_2\nISIC_1,ISIC_2\n")
    assert manifest(folder, **tables)["ISIC_2"]["duplicate_of"] == "ISIC_1"


def test_a_missing_table_is_named(folder):
    with pytest.raises(ConfigurationError, match=r"nowhere\.csv"):
        manifest(folder, metadata=str(folder / "nowhere.csv"))


def test_a_dicom_photograph_is_taken_and_its_patient_is_not(folder):
    from tests.cefm_core.imaging.test_dicom import dicom

    (folder / "images" / "1.2.840.4711.dcm").write_bytes(dicom())
    rows = manifest(folder, metadata=str(folder / "truth.csv"))
    assert rows["1.2.840.4711"]["flags"] == ["dicom_photograph", "no_metadata"]
    kept = b"".join(path.read_bytes() for path in (folder / "store").rglob("*") if path.is_file())
    kept += str(list(rows.values())).encode()
    assert not any(part in kept for part in (b"Doe", b"PAT-4711", b"19700101"))
