"""Masks as path data: right place, holes included, nothing for an empty mask."""

import re

import numpy as np

from cefm_core.reports.contours import svg_path


def points(path):
    return np.array([[int(v) for v in pair.split()] for part in re.findall(r"M([^Z]+)Z", path) for pair in part.split("L")])


def test_a_rectangle_keeps_its_corners():
    mask = np.zeros((60, 80), dtype=bool)
    mask[10:40, 20:70] = True
    found = points(svg_path(mask))
    assert found.min(axis=0).tolist() == [20, 10] and found.max(axis=0).tolist() == [69, 39]


def test_a_disc_is_drawn_within_a_pixel_with_few_points():
    y, x = np.mgrid[:400, :500]
    mask = (x - 250) ** 2 + (y - 200) ** 2 <= 150**2
    found = points(svg_path(mask))
    radius = np.hypot(found[:, 0] - 250, found[:, 1] - 200)
    assert np.abs(radius - 150).max() <= 1.5 and 12 <= len(found) < 200


def test_a_hole_is_a_second_outline_and_an_empty_mask_has_none():
    mask = np.zeros((50, 50), dtype=bool)
    mask[5:45, 5:45] = True
    mask[20:30, 20:30] = False
    assert svg_path(mask).count("M") == 2
    assert svg_path(np.zeros((5, 5), dtype=bool)) is None
