"""Phantom data sets: an archive-like folder, the same to the byte each time."""

import csv

import pytest

from cefm_core.imaging.decode import decode_image, decode_mask
from cefm_core.phantoms.dataset import METADATA_COLUMNS, TRUTH_COLUMNS, plan_phantom_dataset, write_phantom_dataset

SIZE = (96, 128)


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def bytes_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_equal_arguments_give_equal_bytes_and_a_longer_set_begins_alike(tmp_path):
    write_phantom_dataset(tmp_path / "a", 4, 3, size=SIZE)
    write_phantom_dataset(tmp_path / "b", 4, 3, size=SIZE)
    write_phantom_dataset(tmp_path / "c", 6, 3, size=SIZE)
    a, b, c = (bytes_of(tmp_path / name) for name in "abc")
    assert a == b
    assert all(c[name] == content for name, content in a.items() if not name.endswith(".csv"))
    assert c["metadata.csv"].startswith(a["metadata.csv"])


def test_images_masks_and_tables_belong_together(tmp_path):
    write_phantom_dataset(tmp_path, 5, 1, size=SIZE)
    metadata, truth = read(tmp_path / "metadata.csv"), read(tmp_path / "truth.csv")
    assert tuple(metadata[0]) == METADATA_COLUMNS
    assert tuple(truth[0]) == TRUTH_COLUMNS
    assert [row["isic_id"] for row in metadata] == [row["isic_id"] for row in truth] == [f"PHANTOM_{k:07d}" for k in range(1, 6)]
    for row in truth:
        image = decode_image((tmp_path / "images" / f"{row['isic_id']}.jpg").read_bytes(), max_pixels=10**6)
        mask = decode_mask((tmp_path / "masks" / f"{row['isic_id']}.png").read_bytes(), SIZE)
        assert image.rgb.shape == (*SIZE, 3)
        assert image.repairs == mask.notes == ()
        assert int(row["mask_area_px"]) == mask.mask.sum()
        assert int(row["colour_count"]) == sum(float(row[c]) > 0 for c in row if c.startswith("colour_share_"))


def test_a_large_plan_has_repeats_and_gaps_as_archives_do():
    items = list(plan_phantom_dataset(600, 0, with_split=True))
    lesions = [item.metadata["lesion_id"] for item in items]
    assert 0.04 < 1 - len(set(lesions)) / len(lesions) < 0.12
    assert 5 < sum(item.metadata["diagnosis"] == "" for item in items) < 40
    split_of = {}
    for item in items:
        assert split_of.setdefault(item.metadata["lesion_id"], item.metadata["split"]) == item.metadata["split"]
    assert {item.metadata["split"] for item in items} == {"train", "val", "test"}
    assert {item.metadata["copyright_license"] for item in items} == {"CC0-1.0"}


def test_two_photographs_of_one_lesion_share_its_seed_and_differ_in_view():
    items = list(plan_phantom_dataset(120, 0))
    pairs = [(a, b) for a, b in zip(items, items[1:], strict=False) if a.metadata["lesion_id"] == b.metadata["lesion_id"]]
    assert pairs
    for a, b in pairs:
        assert a.spec.seed == b.spec.seed
        assert a.spec.view_seed != b.spec.view_seed


def test_an_empty_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        write_phantom_dataset(tmp_path, 0)
