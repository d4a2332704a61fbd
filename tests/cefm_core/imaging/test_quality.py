"""Image quality rows: right columns, right direction, right flags."""

import cv2
import numpy as np

from cefm_core.config import QualityConfig
from cefm_core.imaging.quality import assess_image
from cefm_core.tables.image_quality import FLAGS, TABLE

CONFIG = QualityConfig()


def picture(seed=0):
    rng = np.random.default_rng(seed)
    rgb = np.clip(np.array([205, 160, 140]) + rng.normal(0, 6, (300, 400, 1)), 0, 255).astype(np.uint8)
    cv2.ellipse(rgb, (200, 150), (80, 55), 15, 0, 360, (115, 72, 50), -1, cv2.LINE_AA)
    return rgb


def test_a_row_fits_the_table():
    row = assess_image(picture(), CONFIG)
    table = TABLE.to_arrow([{**row, "image_id": "a", "image_sha256": "0", "row_key": "0"}])
    assert table.num_rows == 1
    assert {c.name for c in TABLE.columns} == {*row, "image_id", "image_sha256", "row_key"}
    for name, value in row.items():
        column = TABLE.column(name)
        if column.maximum is not None:
            assert column.minimum <= value <= column.maximum


def test_a_plain_picture_has_no_flag():
    assert assess_image(picture(), CONFIG)["flags"] == []


def test_blur_lowers_sharpness_and_is_flagged():
    blurred = cv2.GaussianBlur(picture(), (0, 0), 8)
    sharp, soft = assess_image(picture(), CONFIG), assess_image(blurred, CONFIG)
    assert soft["sharpness"] < sharp["sharpness"] / 5
    assert "blurred" in soft["flags"]


def test_exposure_follows_the_light_and_ignores_dark_corners():
    bright = assess_image(picture(), CONFIG)
    dark = assess_image((picture() * 0.3).astype(np.uint8), CONFIG)
    assert dark["exposure"] < 30 < bright["exposure"]
    assert "too_dark" in dark["flags"]
    framed = picture()
    y, x = np.mgrid[:300, :400]
    framed[np.hypot(y - 150, x - 200) > 190] = 5
    row = assess_image(framed, CONFIG)
    assert "vignette" in row["flags"]
    assert abs(row["exposure"] - bright["exposure"]) < 4


def test_flat_grey_and_green_pictures_are_flagged():
    assert "low_contrast" in assess_image(np.full((200, 200, 3), (200, 160, 140), np.uint8), CONFIG)["flags"]
    grey = np.repeat(picture()[..., :1], 3, axis=2)
    assert "greyscale_source" in assess_image(grey, CONFIG)["flags"]
    lawn = np.random.default_rng(0).integers(0, 60, (200, 200, 3)).astype(np.uint8) + np.array([20, 120, 20], np.uint8)
    assert "unusual_colour" in assess_image(lawn, CONFIG)["flags"]


def test_flags_are_sorted_and_of_the_closed_list():
    framed = np.zeros((200, 260, 3), np.uint8)
    cv2.circle(framed, (130, 100), 90, (60, 40, 30), -1)
    flags = assess_image(framed, CONFIG)["flags"]
    assert flags == sorted(flags)
    assert set(flags) <= set(FLAGS)
    assert flags


def test_the_same_picture_gives_the_same_row():
    assert assess_image(picture(), CONFIG) == assess_image(picture(), CONFIG)
