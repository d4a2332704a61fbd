"""Images: one repair or one reason for each way in which a file departs from 8-bit RGB."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from cefm_core.errors import BadItemError
from cefm_core.imaging.decode import decode_image, encode_jpeg, image_size

LIMIT = 1_000_000


def photo(height=120, width=160, seed=3):
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 220, (height // 20, width // 20, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def saved(picture, kind, **options):
    stream = BytesIO()
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(stream, kind, **options)
    return stream.getvalue()


def code_of(data, **options):
    with pytest.raises(BadItemError) as caught:
        decode_image(data, max_pixels=options.pop("max_pixels", LIMIT), **options)
    return caught.value.code


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_return_the_very_pixels_without_a_repair(kind):
    pixels = photo()
    result = decode_image(saved(pixels, kind), max_pixels=LIMIT)
    assert np.array_equal(result.rgb, pixels)
    assert result.repairs == ()
    assert result.rgb.flags.writeable


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_decodes_as_pillow_decodes_it(progressive):
    data = saved(photo(), "JPEG", quality=90, progressive=progressive)
    assert np.array_equal(decode_image(data, max_pixels=LIMIT).rgb, np.asarray(Image.open(BytesIO(data))))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.995])
def test_a_jpeg_cut_anywhere_is_truncated(share, progressive):
    data = saved(photo(), "JPEG", quality=90, progressive=progressive)
    assert code_of(data[: int(len(data) * share)]) == "truncated"


def test_a_jpeg_that_lost_only_its_last_bytes_is_truncated():
    data = saved(photo(), "JPEG", quality=90)
    assert code_of(data[:-2]) == "truncated"
    assert code_of(data[:-12]) == "truncated"


def test_a_half_jpeg_padded_with_zeros_or_closed_with_an_end_marker_is_truncated():
    data = saved(photo(), "JPEG", quality=90)
    half = data[: len(data) // 2]
    assert code_of(half + bytes(len(data) - len(half))) == "truncated"
    assert code_of(half + b"\xff\xd9") == "truncated"


def test_a_thumbnail_that_ends_inside_the_exif_block_does_not_count_as_the_end():
    exif = Image.Exif()
    exif[0x010E] = "\xff\xd9 thumbnail"
    data = saved(Image.fromarray(photo()), "JPEG", quality=90, exif=exif)
    marked = data[:40] + b"\xff\xd9" + data[42:]
    assert code_of(marked[: len(data) // 2]) == "truncated"


def test_grey_padding_of_a_complete_picture_is_not_mistaken_for_missing_data():
    padded = np.vstack([photo(), np.full((40, 160, 3), 128, np.uint8)])
    assert decode_image(saved(padded, "JPEG", quality=95), max_pixels=LIMIT).rgb.shape == (160, 160, 3)


@pytest.mark.parametrize("share", [0.3, 0.97])
def test_a_cut_png_and_tiff_are_truncated(share):
    for kind in ("PNG", "TIFF"):
        data = saved(photo(), kind)
        assert code_of(data[: int(len(data) * share)]) == "truncated"


def test_a_png_without_its_last_chunk_or_with_a_damaged_stream_is_truncated():
    data = saved(photo(), "PNG")
    assert code_of(data[:-12]) == "truncated"
    damaged = bytearray(data)
    damaged[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    assert code_of(bytes(damaged)) == "truncated"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"<html><body>404 Not Found</body></html>", "not_an_image"),
        (b"just words", "not_an_image"),
        (b"BM but a text all the same, and long enough for a header of a bitmap file", "not_an_image"),
        (b"\xff\xd8\xff", "truncated"),
        (b"GIF89a" + bytes(50), "unsupported_mode"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "unsupported_mode"),
    ],
)
def test_what_is_no_image_has_its_own_code(data, code):
    assert code_of(data) == code


def huge_png(side):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")


def test_size_is_judged_from_the_header_and_pillows_own_guard_stays(monkeypatch):
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(BadItemError, match="20000 x 20000.*1000000") as caught:
        decode_image(huge_png(20_000), max_pixels=LIMIT)
    assert caught.value.code == "too_large"
    assert before == Image.MAX_IMAGE_PIXELS
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert image_size(huge_png(20_000), max_pixels=10**9) == (20_000, 20_000)


def test_the_callers_limit_decides_even_above_pillows():
    monkey = saved(photo(), "PNG")
    assert decode_image(monkey, max_pixels=120 * 160).rgb.shape == (120, 160, 3)
    assert code_of(monkey, max_pixels=120 * 160 - 1) == "too_large"


def test_a_short_side_below_the_limit_is_too_small():
    assert code_of(saved(photo(40, 160), "PNG"), min_side_px=64) == "too_small"


def test_every_exif_orientation_is_applied_and_recorded():
    upright = photo()
    stored = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        result = decode_image(saved(np.ascontiguousarray(pixels), "PNG", exif=exif), max_pixels=LIMIT)
        assert np.array_equal(result.rgb, upright), orientation
        assert result.repairs == (f"exif_orientation_{orientation}_applied",)


def test_16_bit_grey_is_scaled_not_clipped():
    ramp = np.array([[0, 257, 32768, 65535]], np.uint16)
    result = decode_image(saved(ramp, "PNG"), max_pixels=LIMIT)
    assert result.rgb[0, :, 0].tolist() == [0, 1, 128, 255]
    assert result.repairs == ("16_bit_scaled", "greyscale_source")
    assert result.greyscale


def test_16_bit_colour_png_is_recorded():
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    row = b"\x00" + struct.pack(">6H", 65535, 32768, 0, 0, 65535, 0)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    result = decode_image(data, max_pixels=LIMIT)
    assert result.repairs == ("16_bit_scaled",)
    assert result.rgb[0, 0].tolist() == [255, 128, 0]


def test_cmyk_and_palette_are_converted_and_recorded():
    picture = Image.fromarray(photo())
    cmyk = decode_image(saved(picture.convert("CMYK"), "JPEG", quality=95), max_pixels=LIMIT)
    assert cmyk.repairs == ("cmyk_converted",)
    assert np.abs(cmyk.rgb.astype(int) - photo()).mean() < 12
    palette = decode_image(saved(picture.quantize(200), "PNG"), max_pixels=LIMIT)
    assert palette.repairs == ("palette_converted",)
    assert np.abs(palette.rgb.astype(int) - photo()).mean() < 12


def test_transparent_pixels_become_white_and_hidden_colour_stays_hidden():
    rgba = np.zeros((10, 10, 4), np.uint8)
    rgba[...] = (200, 10, 10, 255)
    rgba[:5, :, 3] = 0
    rgba[9, :, 3] = 128
    result = decode_image(saved(rgba, "PNG"), max_pixels=LIMIT)
    assert result.repairs == ("alpha_composited_on_white",)
    assert result.rgb[0, 0].tolist() == [255, 255, 255]
    assert result.rgb[6, 0].tolist() == [200, 10, 10]
    assert result.rgb[9, 0].tolist() == [227, 132, 132]


def test_opaque_alpha_is_dropped_and_recorded():
    rgba = np.dstack([photo(), np.full((120, 160), 255, np.uint8)])
    result = decode_image(saved(rgba, "PNG"), max_pixels=LIMIT)
    assert result.repairs == ("opaque_alpha_dropped",)
    assert np.array_equal(result.rgb, photo())


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_a_picture_without_colour_is_flagged_whatever_its_mode(mode):
    grey = Image.fromarray(photo()).convert("L").convert(mode)
    assert decode_image(saved(grey, "PNG"), max_pixels=LIMIT).repairs == ("greyscale_source",)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_sample_types_without_a_scale_are_refused(mode):
    assert code_of(saved(Image.fromarray(photo()).convert("L").convert(mode), "TIFF")) == "unsupported_mode"


def test_encoded_jpegs_carry_no_metadata():
    data = encode_jpeg(photo(), 90)
    assert not Image.open(BytesIO(data)).getexif()
    assert b"Exif" not in data
    assert np.abs(decode_image(data, max_pixels=LIMIT).rgb.astype(int) - photo()).mean() < 6


def test_good_and_bad_items_in_many_threads_do_not_disturb_each_other():
    good = saved(photo(), "JPEG", quality=90)
    expected = decode_image(good, max_pixels=LIMIT).rgb

    def attempt(index):
        if index % 2:
            return code_of(good[: len(good) // 2])
        return np.array_equal(decode_image(good, max_pixels=LIMIT).rgb, expected)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, range(64))) == [True, "truncated"] * 32
