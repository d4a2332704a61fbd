"""The clean-up rule on masks drawn by hand."""

import numpy as np
import pytest

from cefm_core.segmentation.postprocess import clean_mask, touches_border


def disc(side, centre, radius):
    y, x = np.mgrid[:side, :side]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def clean(mask, vignette=None, small=0.002, hole=0.005, of_largest=0.25):
    return clean_mask(mask, vignette, min_component_share=small, min_component_of_largest=of_largest, max_hole_share=hole)


def test_speck_goes_and_is_counted_and_the_input_stays():
    mask = disc(100, (50, 50), 20)
    area = int(mask.sum())
    mask[2, 2:7] = True
    before = mask.copy()
    result = clean(mask)
    assert (result.components, result.components_removed, result.removed_px) == (1, 1, 5)
    assert int(result.mask.sum()) == area
    assert np.array_equal(mask, before)


def test_small_hole_is_filled_and_a_large_one_stays():
    mask = disc(100, (50, 50), 30)
    area = int(mask.sum())
    mask[50, 50:54] = False
    assert (clean(mask).filled_px, int(clean(mask).mask.sum())) == (4, area)
    ring = disc(100, (50, 50), 30) & ~disc(100, (50, 50), 15)
    assert clean(ring).filled_px == 0
    assert np.array_equal(clean(ring).mask, ring)


def test_bay_open_to_the_frame_is_no_hole():
    mask = np.zeros((50, 50), bool)
    mask[20:30, :10] = True
    mask[24:26, :2] = False
    assert clean(mask).filled_px == 0
    mask[24:26, 0] = True
    assert clean(mask).filled_px == 2


def test_one_connectivity_diagonal_pixels_are_one_component_and_close_a_hole():
    mask = np.zeros((20, 20), bool)
    mask[5, 5] = mask[6, 6] = True
    assert clean(mask, small=0).components == 1
    diamond = np.zeros((20, 20), bool)
    for row, column in ((9, 10), (10, 9), (10, 11), (11, 10)):
        diamond[row, column] = True
    assert clean(diamond, small=0).filled_px == 1


def test_two_comparable_lesions_both_stay_and_are_flagged():
    two = disc(100, (30, 30), 15) | disc(100, (70, 70), 12)
    result = clean(two)
    assert result.several
    assert result.components == 2
    assert np.array_equal(result.mask, two)
    lesser = disc(100, (30, 30), 20) | disc(100, (80, 80), 8)
    assert clean(lesser).components_removed == 1
    assert np.array_equal(clean(lesser).mask, disc(100, (30, 30), 20))
    assert clean(lesser, of_largest=0).components == 2
    assert not clean(lesser, of_largest=0).several


def test_vignette_is_never_lesion_and_is_counted():
    mask = disc(100, (50, 50), 20)
    vignette = ~disc(100, (50, 50), 48)
    result = clean(mask | vignette, vignette)
    assert result.vignette_removed_px == int(vignette.sum())
    assert np.array_equal(result.mask, mask)


@pytest.mark.parametrize("value", [False, True])
def test_all_or_nothing(value):
    mask = np.full((40, 30), value)
    result = clean(mask)
    assert np.array_equal(result.mask, mask)
    assert result.components == int(value)
    assert touches_border(mask) is value


@pytest.mark.parametrize(("row", "column"), [(0, 5), (9, 5), (5, 0), (5, 9)])
def test_border_contact_is_seen_on_every_side(row, column):
    mask = np.zeros((10, 10), bool)
    mask[5, 5] = True
    assert not touches_border(mask)
    mask[row, column] = True
    assert touches_border(mask)
