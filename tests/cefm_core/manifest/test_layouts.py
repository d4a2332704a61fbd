"""Every layout of the docs page is read as the page says."""

import pytest

from cefm_core.manifest.layouts import IMAGE, LAYOUTS, MASK
from cefm_core.manifest.metadata import merge_metadata, read_metadata
from cefm_core.manifest.names import classify_names, image_id_of

TABLES = [(layout, table) for layout in LAYOUTS for table in layout.tables]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_files_are_told_apart(layout):
    found = classify_names(layout.files)
    assert {image.name for image in found.images} == {name for name, kind in layout.files.items() if kind == IMAGE}
    assert set(found.masks.values()) == {name for name, kind in layout.files.items() if kind == MASK}
    assert dict(found.ignored) == {name: kind for name, kind in layout.files.items() if kind not in (IMAGE, MASK)}
    assert not found.rejects


@pytest.mark.parametrize(("layout", "table"), TABLES, ids=lambda value: getattr(value, "name", ""))
def test_tables_are_understood(layout, table):
    read = read_metadata(table.text.encode(), table.name)
    assert not read.problems and not read.unmapped
    row = read.rows[table.image_id]
    assert row.resolution.diagnosis == table.diagnosis
    assert {name: row.fields[name] for name in table.fields} == table.fields


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_tables_of_one_package_name_its_images(layout):
    joined = merge_metadata([read_metadata(table.text.encode(), table.name) for table in layout.tables])
    images = {image_id_of(name) for name, kind in layout.files.items() if kind == IMAGE}
    assert joined.rows.keys() & images or layout.title.endswith("2016")
    assert not joined.problems


def test_malignant_is_not_melanoma_and_not_malignant_is_no_nevus():
    text = "isic_id,malignant,target\na,1,\nb,0,\nc,1,1\nd,0,1\n"
    read = read_metadata(text.encode(), "truth.csv")
    assert [read.rows[i].resolution.diagnosis for i in "ab"] == ["unknown", "unknown"]
    assert read.rows["b"].resolution.not_melanoma and not read.rows["a"].resolution.not_melanoma
    assert [(p.item, p.code) for p in read.problems] == [("d", "label_conflict")]


def test_a_diagnosis_that_the_legend_of_ph2_lacks_is_unmapped():
    text = "|| Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry ||\n|| IMD001 || || 3 || 0 ||\n|| IMD002 || || 1 || 0 ||\n"
    read = read_metadata(text.encode(), "PH2_dataset.txt")
    assert read.rows["IMD001"].resolution.unmapped
    assert read.rows["IMD002"].resolution.diagnosis == "nevus"
