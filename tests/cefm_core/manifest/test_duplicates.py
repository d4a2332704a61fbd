import cv2
import numpy as np
import pytest

from cefm_core.errors import ConfigurationError
from cefm_core.manifest.duplicates import near_duplicate_pairs, read_duplicate_list
from cefm_core.manifest.inspect import centre_square, difference_hash, thumbprint

THRESHOLDS = {"max_bits": 8, "min_correlation": 0.985}


def picture(seed):
    """Return a grey picture (90, 120) with broad blobs that depend on the seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (6, 8)).astype(np.uint8)
    return cv2.resize(coarse, (120, 90), interpolation=cv2.INTER_CUBIC)


def pairs_of(greys, **changed):
    squares = [centre_square(g) for g in greys]
    return near_duplicate_pairs([difference_hash(g) for g in squares], [thumbprint(g) for g in squares], **(THRESHOLDS | changed))


def jpeg(grey, quality):
    return cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize(
    "copy",
    [
        lambda g: jpeg(g, 40),
        lambda g: cv2.resize(g, (60, 45), interpolation=cv2.INTER_AREA),
        lambda g: np.clip(g * 1.1 + 8, 0, 255).astype(np.uint8),
        lambda g: g[1:-1, 1:-1],
        lambda g: jpeg(g[:, 15:105], 60),
    ],
    ids=["recompressed", "half size", "brighter", "cropped by a pixel", "cut to a square"],
)
def test_copies_are_found_and_strangers_are_not(copy):
    greys = [picture(seed) for seed in range(8)]
    greys += [copy(g) for g in greys]
    assert pairs_of(greys) == [(i, i + 8) for i in range(8)]


def test_blank_pictures_are_not_each_others_copies():
    blank = [np.full((90, 120), level, np.uint8) for level in (0, 0, 128, 255)]
    assert pairs_of(blank) == []
    step = (np.arange(120) > 60).astype(np.uint8)
    assert pairs_of([level + step for level in blank[:3]]) == [], "one grey level of difference is no picture"


def test_another_shape_is_another_picture():
    grey = picture(1)
    assert pairs_of([grey, cv2.resize(grey, (90, 90), interpolation=cv2.INTER_AREA)]) == []


def test_without_thumbprints_nothing_is_claimed():
    dhash = difference_hash(picture(1))
    assert near_duplicate_pairs([dhash, dhash], [None, None], **THRESHOLDS) == []


def test_empty_and_single():
    assert near_duplicate_pairs([], [], **THRESHOLDS) == []
    assert pairs_of([picture(1)]) == []


@pytest.mark.parametrize("max_bits", [0, 3, 8])
def test_bands_lose_no_pair(max_bits):
    """Against comparing all with all, on hashes of which many lie within a few bits of each other."""
    rng = np.random.default_rng(7)
    seeds = rng.integers(0, 2**63, 12, dtype=np.uint64)
    hashes = []
    for _ in range(400):
        flips = rng.choice(64, rng.integers(0, 7), replace=False)
        hashes.append(int(seeds[rng.integers(12)]) ^ sum(1 << int(b) for b in flips))
    thumb = thumbprint(picture(3))
    found = near_duplicate_pairs([f"{h:016x}" for h in hashes], [thumb] * 400, max_bits=max_bits, min_correlation=0.985)
    wanted = [(i, j) for i in range(400) for j in range(i + 1, 400) if (hashes[i] ^ hashes[j]).bit_count() <= max_bits]
    assert found == wanted
    assert len(wanted) > 50


def test_more_bits_than_the_bands_can_find_is_refused():
    with pytest.raises(ConfigurationError, match="near_duplicate_bits"):
        pairs_of([picture(1)], max_bits=9)


def test_duplicates_list_with_and_without_extensions():
    data = b"\xef\xbb\xbfimage_name_1,image_name_2\r\nISIC_A,ISIC_B.jpg\r\nISIC_C.JPG,ISIC_D\r\n"
    assert read_duplicate_list(data, "d.csv") == [("ISIC_A", "ISIC_B"), ("ISIC_C", "ISIC_D")]


@pytest.mark.parametrize("data", [b"", b"a,b\n", b"a,b\nx\n", b"a,b,c\nx,y,z\n", b"a,b\nx,\n", b"\xff\xfe\xff"])
def test_something_else_is_no_duplicates_list(data):
    with pytest.raises(ConfigurationError, match="duplicates list d.csv"):
        read_duplicate_list(data, "d.csv")


@pytest.mark.shared
def test_real_duplicates_list(shared):
    path = shared / "data" / "isic_metadata" / "ISIC_2020_Training_Duplicates.csv"
    assert len(read_duplicate_list(path.read_bytes(), path.name)) == 425
