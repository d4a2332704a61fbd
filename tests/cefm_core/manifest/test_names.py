import random
import unicodedata

import pytest

from cefm_core.errors import BadItemError
from cefm_core.manifest.names import classify_names, image_id_of


def test_isic_2017_folder_gives_one_image_and_its_mask():
    found = classify_names(
        [
            "ISIC_0000000.jpg",
            "ISIC_0000000_superpixels.png",
            "ISIC_0000000_segmentation.png",
            ".DS_Store",
            "Thumbs.db",
            "metadata.csv",
            "README.md",
        ]
    )
    assert [(i.image_id, i.name) for i in found.images] == [("ISIC_0000000", "ISIC_0000000.jpg")]
    assert found.masks == {"ISIC_0000000": "ISIC_0000000_segmentation.png"}
    assert dict(found.ignored) == {
        "ISIC_0000000_superpixels.png": "superpixel",
        ".DS_Store": "system_file",
        "Thumbs.db": "system_file",
        "metadata.csv": "not_image",
        "README.md": "not_image",
    }
    assert found.rejects == []


@pytest.mark.parametrize(
    ("mask", "image_id"),
    [
        ("masks/A.png", "A"),
        ("Masks/A.PNG", "A"),
        ("ISIC2018_Task1_Training_GroundTruth/ISIC_0000001_segmentation.png", "ISIC_0000001"),
        ("set/GroundTruth/A.png", "A"),
        ("IMD002/IMD002_lesion/IMD002_lesion.bmp", "IMD002"),
        ("images/A_mask.png", "A"),
    ],
)
def test_masks_of_the_usual_layouts_are_linked(mask, image_id):
    found = classify_names([f"images/{image_id}.jpg", mask])
    assert found.masks == {image_id: mask}
    assert found.counts == {"paired": 1, "image_only": 0, "mask_only": 0}


def test_three_counts_of_images_and_masks():
    found = classify_names(["images/a.jpg", "images/b.jpg", "images/c.jpg", "masks/a.png", "masks/b.png", "masks/z.png"])
    assert found.counts == {"paired": 2, "image_only": 1, "mask_only": 1}
    assert ("masks/z.png", "mask_without_image") in found.ignored


def test_every_name_stands_in_exactly_one_list():
    names = [
        "a.jpg",
        "b/a.png",
        "masks/a.png",
        "a_mask.png",
        "x_superpixels.png",
        "../q.jpg",
        "n.txt",
        "d_attribute_streaks.png",
        "IMD1_roi/R1.bmp",
        ".x",
    ]
    found = classify_names(names)
    listed = [i.name for i in found.images] + list(found.masks.values()) + [n for n, _ in found.ignored] + [r.item for r in found.rejects]
    assert sorted(listed) == sorted(names)


def test_same_id_twice_keeps_the_first_by_name_in_any_order():
    names = ["b/A.png", "a/A.jpg", "c/A.JPEG"]
    results = []
    for seed in range(4):
        random.Random(seed).shuffle(names)
        found = classify_names(names)
        results.append(([i.name for i in found.images], found.rejects))
    assert all(r == results[0] for r in results)
    assert results[0][0] == ["a/A.jpg"]
    assert [(item, code) for item, code, _ in results[0][1]] == [("b/A.png", "duplicate_id"), ("c/A.JPEG", "duplicate_id")]
    assert "a/A.jpg" in results[0][1][0].message


def test_nfc_and_nfd_twins_are_a_collision_not_two_images():
    composed = "лезия ü 01.JPG"
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    found = classify_names([f"données/{composed}", f"données/{decomposed}"])
    assert [i.image_id for i in found.images] == ["лезия ü 01"]
    assert [r.code for r in found.rejects] == ["unicode_collision"]


def test_stored_spelling_of_a_decomposed_name_is_kept_for_reading():
    decomposed = unicodedata.normalize("NFD", "ü.jpg")
    found = classify_names([decomposed])
    assert found.images[0].name == decomposed
    assert found.images[0].image_id == unicodedata.normalize("NFC", "ü")


@pytest.mark.parametrize(
    "name", ["../x.jpg", "/etc/x.jpg", "a\\..\\x.jpg", "C:/x.jpg", "a/../x.jpg", "x\ny.jpg", "x\x00.jpg", "é" * 101 + ".jpg"]
)
def test_ids_that_point_elsewhere_are_rejects(name):
    found = classify_names([name, "good.jpg"])
    assert [i.image_id for i in found.images] == ["good"]
    assert [r.code for r in found.rejects] == ["bad_id"]
    assert not any(ord(c) < 32 for c in found.rejects[0].item + found.rejects[0].message)


@pytest.mark.parametrize(
    ("text", "image_id"),
    [
        ("ISIC_0000000", "ISIC_0000000"),
        ("ISIC_0000000.JPG", "ISIC_0000000"),
        ("images/ISIC_0000000.jpg", "ISIC_0000000"),
        ("ISIC_0000000_downsampled", "ISIC_0000000"),
        ("ISIC_0000000_downsampled.jpg", "ISIC_0000000"),
        (" ISIC_0000000 ", "ISIC_0000000"),
        ("lesion 1.2", "lesion 1.2"),
        ("a.b.png", "a.b"),
    ],
)
def test_file_names_and_table_cells_give_the_same_id(text, image_id):
    assert image_id_of(text) == image_id


def test_empty_id_is_refused():
    with pytest.raises(BadItemError) as caught:
        image_id_of("images/.jpg")
    assert caught.value.code == "bad_id"
