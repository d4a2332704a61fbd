import numpy as np
import pytest

from cefm_core.alignment.preprocess import InputSpec, lesion_box, normalise, resize_view

SPEC = InputSpec(32, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def mask_of(height, width, rows, columns):
    mask = np.zeros((height, width), bool)
    mask[rows, columns] = True
    return mask


def test_box_is_a_square_around_the_lesion_with_its_margin():
    box = lesion_box(mask_of(100, 200, slice(40, 60), slice(90, 110)), margin=0.25)
    assert box == (85, 35, 115, 65)


def test_box_at_the_edge_moves_into_the_frame_and_keeps_its_size():
    x0, y0, x1, y1 = lesion_box(mask_of(100, 200, slice(0, 20), slice(180, 200)), margin=0.25)
    assert (x0, y0, x1, y1) == (170, 0, 200, 30)


def test_box_of_a_lesion_longer_than_the_short_side_is_cut_there_and_holds_the_lesion():
    mask = mask_of(100, 300, slice(10, 90), slice(50, 250))
    x0, y0, x1, y1 = lesion_box(mask)
    assert (y0, y1) == (0, 100)
    assert x0 <= 50 and x1 >= 250 and mask[y0:y1, x0:x1].sum() == mask.sum()


def test_empty_mask_has_no_box():
    assert lesion_box(np.zeros((50, 60), bool)) is None


def test_one_pixel_lesion_has_a_box_of_at_least_that_pixel():
    x0, y0, x1, y1 = lesion_box(mask_of(50, 60, slice(7, 8), slice(9, 10)))
    assert x0 <= 9 < x1 and y0 <= 7 < y1


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (31, 40), (33, 33)])
def test_every_view_has_the_models_side(shape):
    rgb = np.zeros((*shape, 3), np.uint8)
    assert tuple(resize_view(rgb, None, SPEC).shape) == (3, 32, 32)
    assert tuple(resize_view(rgb, (3, 5, 20, 19), SPEC).shape) == (3, 32, 32)


def test_centre_crop_leaves_out_the_ends_of_the_long_side_and_squash_does_not():
    rgb = np.zeros((32, 96, 3), np.uint8)
    rgb[:, :24] = 200
    squashed = InputSpec(32, SPEC.mean, SPEC.std, crop_mode="squash")
    assert int(resize_view(rgb, None, SPEC).max()) == 0
    assert int(resize_view(rgb, None, squashed).max()) >= 200


def test_crop_pct_enlarges_before_cropping():
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[:4] = 255
    whole = resize_view(rgb, None, SPEC)
    cropped = resize_view(rgb, None, InputSpec(32, SPEC.mean, SPEC.std, crop_pct=0.8))
    assert int(whole.max()) > 200 > 50 > int(cropped.max())


def test_normalise_is_the_models_own_arithmetic():
    rgb = np.full((32, 32, 3), 51, np.uint8)
    found = normalise(resize_view(rgb, None, SPEC), SPEC)[:, 0, 0].tolist()
    assert found == pytest.approx([(0.2 - 0.5) / 0.2, (0.2 - 0.4) / 0.25, (0.2 - 0.3) / 0.5], abs=1e-6)
