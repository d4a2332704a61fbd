"""Contours and prompts drawn over an image."""

import cv2
import numpy as np

from cefm_core.config import RefineConfig
from cefm_core.segmentation.overlay import COARSE_RGB, NEGATIVE_RGB, POSITIVE_RGB, REFINED_RGB, draw_overlay
from cefm_core.segmentation.prompts import make_prompts


def _near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture.astype(int) - colour).max(axis=2) < 40


def test_each_contour_lies_on_its_mask_and_the_rest_is_untouched() -> None:
    rgb = np.full((200, 300, 3), 128, np.uint8)
    coarse, refined = (cv2.circle(np.zeros((200, 300), np.uint8), (150, 100), r, 1, -1) > 0 for r in (40, 60))
    before = rgb.copy()
    picture = draw_overlay(rgb, coarse, refined)
    assert np.array_equal(rgb, before)
    ys, xs = np.nonzero(_near(picture, COARSE_RGB))
    assert len(xs) > 100 and np.abs(np.hypot(xs - 150, ys - 100) - 40).max() < 2
    ys, xs = np.nonzero(_near(picture, REFINED_RGB))
    assert len(xs) > 200 and np.abs(np.hypot(xs - 150, ys - 100) - 60).max() < 2
    far = np.hypot(*np.meshgrid(np.arange(300) - 150, np.arange(200) - 100)) > 65
    assert (picture[far] == 128).all()


def test_a_large_image_is_reduced_and_points_keep_their_place() -> None:
    mask = cv2.circle(np.zeros((1200, 1600), np.uint8), (400, 900), 200, 1, -1) > 0
    prompts = make_prompts(mask, RefineConfig())
    picture = draw_overlay(np.full((1200, 1600, 3), 128, np.uint8), mask, None, prompts, max_side_px=800)
    assert picture.shape == (600, 800, 3)
    for points, colour in ((prompts.positive, POSITIVE_RGB), (prompts.negative, NEGATIVE_RGB)):
        drawn = _near(picture, colour)
        for x, y in points:
            assert drawn[round(y / 2), round(x / 2)], f"no point drawn at ({x / 2}, {y / 2})"


def test_empty_masks_and_no_prompts_leave_the_image_as_it_is() -> None:
    rgb = np.random.RandomState(0).randint(0, 255, (40, 50, 3), dtype=np.uint8)
    empty = np.zeros((40, 50), bool)
    assert np.array_equal(draw_overlay(rgb, empty, empty), rgb) and np.array_equal(draw_overlay(rgb), rgb)
