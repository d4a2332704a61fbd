"""Augmentation keeps image and mask together, and never calls an artefact lesion."""

import numpy as np
import pytest

from cefm_core.segmentation.augmentation import (
    add_sticker,
    add_vignette,
    augment_pair,
    degrade,
    empty_skin,
    jitter_geometry,
    jitter_light,
    smooth_skin,
)


def pair(side=96):
    y, x = np.mgrid[:side, :side]
    inside = np.hypot(y - 40, x - 52) < 18
    rgb = np.where(inside[..., None], (90, 50, 40), (220, 180, 160)).astype(np.uint8)
    return rgb, (inside * 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(6))
def test_geometry_moves_image_and_mask_alike(seed):
    rgb, mask = jitter_geometry(*pair(), np.random.default_rng(seed))
    dark = rgb[..., 0] < 155
    assert ((mask > 127) == dark).mean() > 0.99
    assert 0.02 < dark.mean() < 0.4


@pytest.mark.parametrize("change", [add_vignette, add_sticker])
def test_what_is_covered_is_not_marked(change):
    for seed in range(20):
        before, reference = pair()
        rgb, mask = change(before, reference, np.random.default_rng(seed))
        assert (mask <= reference).all()
        removed = (reference > 0) & (mask == 0)
        assert (rgb[removed] != before[removed]).any() or not removed.any()
    assert np.array_equal(pair()[0], before)


def test_light_and_grain_keep_place_and_type():
    rgb, _ = pair()
    for seed in range(8):
        for change in (jitter_light, degrade):
            result = change(rgb, np.random.default_rng(seed))
            assert (result.dtype, result.shape) == (np.uint8, rgb.shape)
            assert result[40, 52].astype(int).sum() < result[5, 5].astype(int).sum()


def test_empty_skin_holds_no_lesion_and_none_where_there_is_no_room():
    rgb, mask = pair()
    patch, empty = empty_skin(rgb, mask, np.random.default_rng(0))
    assert patch.shape == rgb.shape
    assert patch.min() > 150
    assert not empty.any()
    assert empty_skin(rgb, np.full_like(mask, 255), np.random.default_rng(0)) is None
    plain, empty = smooth_skin(64, np.random.default_rng(0))
    assert plain.std() > 0
    assert not empty.any()


def test_one_seed_gives_one_pair_and_leaves_the_input_alone():
    rgb, mask = pair()
    kept = rgb.copy(), mask.copy()
    first = augment_pair(rgb, mask, np.random.default_rng(7))
    again = augment_pair(rgb, mask, np.random.default_rng(7))
    other = augment_pair(rgb, mask, np.random.default_rng(8))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert np.array_equal(rgb, kept[0])
    assert np.array_equal(mask, kept[1])
