import io

import numpy as np
import pytest
from PIL import Image

from cefm_core.config import ManifestConfig
from cefm_core.errors import BadItemError
from cefm_core.manifest.inspect import difference_hash, inspect_image, thumbprint
from cefm_core.tables import image_facts

CONFIG = ManifestConfig()


def encoded(rgb, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind, **options)
    return buffer.getvalue()


def lesion(width=160, height=120):
    rgb = np.full((height, width, 3), (230, 190, 170), np.uint8)
    y, x = np.mgrid[:height, :width]
    rgb[((x - 60) / 30) ** 2 + ((y - 50) / 25) ** 2 < 1] = (90, 50, 40)
    return rgb


def test_sizes_hash_and_no_flags():
    facts = inspect_image(encoded(lesion()), CONFIG)
    assert (facts["width_px"], facts["height_px"], facts["flags"]) == (160, 120, [])
    dhash, thumb = facts["dhash"].split(":")
    assert (len(dhash), len(thumb)) == (16, 128)


def test_every_fact_has_its_column():
    names = {column.name for column in image_facts.TABLE.columns}
    assert inspect_image(encoded(lesion()), CONFIG).keys() <= names


def test_orientation_tag_turns_the_size_and_is_flagged():
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = inspect_image(encoded(lesion(), "JPEG", exif=exif), CONFIG)
    assert (facts["width_px"], facts["height_px"]) == (120, 160)
    assert any("orientation" in flag for flag in facts["flags"])


@pytest.mark.parametrize(("data", "code"), [(b"", "empty_file"), (b"<html>not found</html>", "not_an_image"), (None, "truncated")])
def test_bad_bytes_are_bad_items(data, code):
    if data is None:
        whole = encoded(lesion(), "JPEG")
        data = whole[: len(whole) // 2]
    with pytest.raises(BadItemError) as caught:
        inspect_image(data, CONFIG)
    assert caught.value.code == code


def test_hash_by_hand():
    # Nine columns that rise from left to right, but for the last row, which falls.
    grey = np.tile(np.arange(9, dtype=np.uint8) * 20, (8, 1))
    grey[-1] = grey[-1][::-1]
    assert difference_hash(grey) == "ff" * 7 + "00"


def test_thumbprint_is_the_area_mean():
    grey = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4, np.ones((5, 7), np.uint8))
    assert list(bytes.fromhex(thumbprint(grey))) == [v * 4 for v in range(64)]
