import numpy as np
import pytest

from cefm_core.evaluation.corruption import CORRUPTIONS, corrupt


@pytest.fixture(scope="module")
def picture():
    """Skin with a dark disc, finely textured."""
    yy, xx = np.mgrid[0:200, 0:260]
    disc = ((xx - 130) ** 2 + (yy - 100) ** 2 < 60**2)[..., None]
    rgb = np.where(disc, np.array([90, 60, 50]), np.array([200, 160, 140])) + np.random.default_rng(0).normal(0, 6, (200, 260, 1))
    return np.clip(rgb, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_stays_an_image_changes_and_is_the_same_every_time(picture, name):
    before = picture.copy()
    out = corrupt(picture, name, "ISIC_1")
    assert out.shape == picture.shape and out.dtype == np.uint8
    assert 1 < np.abs(out.astype(float) - picture).mean() < 60
    np.testing.assert_array_equal(out, corrupt(picture, name, "ISIC_1"))
    np.testing.assert_array_equal(picture, before)


def sharpness(rgb):
    return np.abs(np.diff(rgb.astype(float), axis=0)).mean()


def test_each_does_what_it_says(picture):
    made = {name: corrupt(picture, name, "ISIC_1") for name in CORRUPTIONS}
    assert sharpness(made["blur"]) < 0.5 * sharpness(picture) < 0.5 * sharpness(made["noise"])
    assert made["darker"].mean() < picture.mean() - 15 and made["brighter"].mean() > picture.mean() + 15
    shift = made["colour cast"].astype(float).mean((0, 1)) - picture.mean((0, 1))
    assert shift[0] > 1 and shift[2] < -1 and abs(shift[1]) < 0.5
    hair = (picture.astype(int) - made["hair"]).max(axis=2) > 60
    assert 0.01 < hair.mean() < 0.2
    np.testing.assert_allclose(made["rotation"][100, 130].astype(int), picture[100, 130], atol=30)


def test_hairs_lie_elsewhere_on_another_image(picture):
    assert (corrupt(picture, "hair", "ISIC_1") != corrupt(picture, "hair", "ISIC_2")).any()
