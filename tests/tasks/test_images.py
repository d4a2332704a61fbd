"""Reference masks: a bad one costs the score, never the image."""

import cv2
import numpy as np
import pytest

from cefm_core.errors import BadItemError
from cefm_core.imaging.decode import encode_mask_png
from storage.refs import sha256_of
from tasks.context import RunContext
from tasks.images import Pictures

DISC = cv2.circle(np.zeros((96, 128), np.uint8), (60, 50), 25, 1, -1).astype(bool)


def scores(folder, reference, mask=DISC):
    (folder / "source").mkdir()
    item = {"image_id": "a", "reference_mask_uri": None, "reference_mask_sha256": None}
    if reference is not None:
        data = cv2.imencode(".png", reference)[1].tobytes()
        (folder / "source" / "a.png").write_bytes(data)
        item |= {"reference_mask_uri": "a.png", "reference_mask_sha256": sha256_of(data)}
    return Pictures(RunContext(store=str(folder / "store"), source=str(folder / "source"))).reference_scores(item, mask)


def test_a_good_reference_gives_scores(tmp_path):
    assert scores(tmp_path, DISC.astype(np.uint8) * 255) == {"reference_dice": 1.0, "reference_jaccard": 1.0, "reference_reason": None}


@pytest.mark.parametrize("mask", [np.ones((96, 128), bool), np.zeros((96, 128), bool), DISC])
def test_a_mask_of_our_own_is_read_as_it_was_written(tmp_path, mask):
    pictures = Pictures(RunContext(store=str(tmp_path / "store"), source=str(tmp_path)))
    ref = RunContext(store=str(tmp_path / "store"), source=str(tmp_path)).open_store().put_object("mask", encode_mask_png(mask), "png")
    item = {"mask_key": ref.key, "mask_sha256": ref.sha256}
    assert np.array_equal(pictures.mask(item, mask.shape), mask)
    with pytest.raises(BadItemError, match="segment the image again"):
        pictures.mask(item, (96, 127))


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (None, "no_reference_mask"),
        (np.full((96, 128), 255, np.uint8), "mask_inverted"),
        (np.zeros((128, 96), np.uint8), "mask_size_mismatch"),
    ],
)
def test_no_usable_reference_is_null_with_its_reason(tmp_path, reference, reason):
    found = scores(tmp_path, reference)
    assert found == {"reference_dice": None, "reference_jaccard": None, "reference_reason": reason}


def test_two_empty_masks_have_no_dice(tmp_path):
    found = scores(tmp_path, np.zeros((96, 128), np.uint8), np.zeros((96, 128), bool))
    assert found == {"reference_dice": None, "reference_jaccard": None, "reference_reason": "both_masks_empty"}
