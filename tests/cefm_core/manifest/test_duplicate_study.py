import cv2
import pytest

from cefm_core.config import ManifestConfig
from cefm_core.imaging.decode import encode_jpeg
from cefm_core.manifest.duplicate_study import score_features, score_hashes, share, study_markdown, truth_of
from cefm_core.manifest.inspect import inspect_image
from cefm_core.phantoms.render import render_phantom


@pytest.fixture(scope="module")
def facts():
    """Eight lesions, and copies of the first two: one smaller, one a centre square, and a corner that no hash knows."""
    pictures = {f"i{seed}": render_phantom(seed, (240, 320)).rgb for seed in range(8)}
    pictures["copy0"] = cv2.resize(pictures["i0"], (200, 150), interpolation=cv2.INTER_AREA)
    pictures["crop1"] = pictures["i1"][:, 40:280]
    pictures["part2"] = pictures["i2"][20:170, 30:200]
    return [inspect_image(encode_jpeg(rgb, 80), ManifestConfig()) | {"image_id": name} for name, rgb in pictures.items()]


def test_truth_tells_copies_from_lesions():
    rows = {"a": {"dup_group": "1", "lesion_id": "L"}, "b": {"dup_group": "1", "lesion_id": "L"}, "c": {"dup_group": "1"}, "d": {}}
    assert truth_of(rows, [("d", "a"), ("d", "nobody")]) == ({("a", "c"), ("b", "c"), ("a", "d")}, {("a", "b")})


def test_hashes_find_copies_and_features_crops_too(facts):
    copies, lesions = {("copy0", "i0"), ("crop1", "i1"), ("i2", "part2")}, {("i2", "i3")}
    hashes = score_hashes(facts, copies, lesions)
    default = next(row for row in hashes if row.default)
    assert (default.copies, default.lesions, default.pairs) == (2, 0, 2)
    features = score_features(facts, copies - {("i2", "part2")}, lesions, {("i2", "part2"), ("copy0", "i0")})
    default = next(row for row in features if row.default)
    assert (default.copies, default.lesions, default.seen, default.pairs) == (2, 0, 1, 3)
    page = study_markdown(hashes, features, len(facts), 3, 1, "phantoms", 5)
    assert "3 of the 5 show the same picture" in page
    assert "0.985 (default) | 2 | 2 of 2: 1.00" in page
    assert "| 8 (default) | 3 | 3 of 3: 1.00 (0.44 to 1.00) | 1 | 2 of 3" in page


def test_intervals_by_hand():
    assert share(8, 10) == "8 of 10: 0.80 (0.49 to 0.94)"
    assert share(0, 0) == "none"
