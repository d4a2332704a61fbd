"""Masks: one disc, written in every convention that occurs in the wild."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cefm_core.errors import BadItemError
from cefm_core.imaging.decode import decode_mask, encode_mask_png

SHAPE = (96, 128)


def disc(height=96, width=128, radius=None):
    y, x = np.mgrid[:height, :width]
    radius = radius or min(height, width) * 0.207
    return (y - height / 2 + 0.5) ** 2 + (x - width / 2 + 0.5) ** 2 < radius**2


def saved(array, kind="PNG", **options):
    stream = BytesIO()
    (Image.fromarray(array) if isinstance(array, np.ndarray) else array).save(stream, kind, **options)
    return stream.getvalue()


def code_of(data, shape=SHAPE):
    with pytest.raises(BadItemError) as caught:
        decode_mask(data, shape)
    return caught.value.code


def as_rgb(mask, colour):
    return (mask[..., None] * np.array(colour)).astype(np.uint8)


def as_palette(mask):
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 60, 0, 0])
    return picture


@pytest.mark.parametrize(
    ("encode", "notes"),
    [
        (lambda m: m.astype(np.uint8), ()),
        (lambda m: m.astype(np.uint8) * 255, ()),
        (lambda m: m, ()),
        (lambda m: m.astype(np.uint16) * 65535, ()),
        (lambda m: as_rgb(m, (255, 255, 255)), ()),
        (lambda m: as_rgb(m, (1, 1, 1)), ()),
        (lambda m: as_rgb(m, (255, 0, 0)), ("mask_coloured",)),
        (as_palette, ()),
        (lambda m: np.dstack([np.zeros((*m.shape, 3), np.uint8), m.astype(np.uint8) * 255]), ("mask_from_alpha",)),
    ],
)
def test_every_convention_gives_the_same_lesion(encode, notes):
    result = decode_mask(saved(encode(disc())), SHAPE)
    assert np.array_equal(result.mask, disc())
    assert result.mask.dtype == np.bool_
    assert result.notes == notes


def test_an_inverted_or_full_mask_is_refused():
    assert code_of(saved(~disc())) == "mask_inverted"
    assert code_of(saved(np.ones(SHAPE, np.uint8))) == "mask_inverted"


def test_a_lesion_cut_by_three_sides_is_not_called_inverted():
    mask = np.ones(SHAPE, bool)
    mask[:, :9] = False
    assert decode_mask(saved(mask), SHAPE).mask.sum() == mask.sum()


def test_a_jpeg_mask_is_thresholded_at_half_scale_and_says_so():
    result = decode_mask(saved(disc().astype(np.uint8) * 255, "JPEG", quality=75), SHAPE)
    assert abs(result.mask.sum() / disc().sum() - 1) < 0.01
    (note,) = result.notes
    name, count = note.split(":")
    assert name == "mask_not_binary"
    assert int(count) > 100


def test_a_photograph_is_no_mask():
    noise = np.random.default_rng(1).integers(0, 256, SHAPE).astype(np.uint8)
    assert code_of(saved(noise)) == "mask_unclear"


def test_an_empty_mask_is_noted():
    assert decode_mask(saved(np.zeros(SHAPE, np.uint8)), SHAPE).notes == ("mask_empty",)


def test_a_scaled_mask_is_resized_by_nearest_neighbour_and_noted():
    result = decode_mask(saved(disc(250, 350)), (500, 700))
    assert result.notes == ("mask_resized_from_350x250",)
    assert result.mask.sum() == 4 * disc(250, 350).sum()


@pytest.mark.parametrize("size", [(500, 702), (501, 700), (700, 500), (250, 250)])
def test_a_few_pixels_off_or_another_aspect_is_refused(size):
    assert code_of(saved(disc(*size)), (500, 700)) == "mask_size_mismatch"


def test_a_truncated_mask_is_refused():
    data = saved(np.random.default_rng(1).random(SHAPE) > 0.5)
    assert code_of(data[: len(data) // 2]) == "truncated"
    assert code_of(b"") == "empty_file"


def test_the_png_round_trip_is_lossless_two_valued_and_the_same_each_time():
    mask = disc(301, 403)
    data = encode_mask_png(mask)
    assert data == encode_mask_png(mask.copy())
    assert np.array_equal(decode_mask(data, mask.shape).mask, mask)
    assert sorted(np.unique(np.asarray(Image.open(BytesIO(data)).convert("L")))) == [0, 255]
    assert np.array_equal(decode_mask(encode_mask_png(mask[:, ::-1]), mask.shape).mask, mask[:, ::-1])


@pytest.mark.shared
def test_real_masks_are_hardly_ever_called_inverted(shared):
    paths = sorted((shared / "data" / "dermoscopy" / "masks").glob("*.png"))[::40]
    refused = 0
    for path in paths:
        data = path.read_bytes()
        try:
            decode_mask(data, Image.open(BytesIO(data)).size[::-1])
        except BadItemError:
            refused += 1
    assert refused <= len(paths) * 0.01
