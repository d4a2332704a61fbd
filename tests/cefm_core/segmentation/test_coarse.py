"""The coarse stage with the shipped weights, on images drawn here."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from cefm_core.config import CoarseConfig
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.coarse import CoarseSegmenter, confidence, to_network_side, weights_digests
from cefm_core.tables import coarse_masks


def lesion_image(height=192, width=256, centre=(0.5, 0.5), radius=0.22, seed=0):
    """Skin with grain and one brown spot with a soft rim, and the spot's mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - centre[0] * height, x - centre[1] * width) / (radius * height)
    share = 1 / (1 + np.exp(np.clip((distance - 1) * 25, -50, 50)))
    texture = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 2)[..., None] * 30
    image = (1 - share[..., None]) * np.array([222, 178, 158]) + share[..., None] * (np.array([105, 66, 48]) + texture)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8), distance <= 1


@pytest.fixture(scope="module")
def segmenter():
    return CoarseSegmenter.load(CoarseConfig())


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_finds_the_spot_at_the_images_own_size(segmenter):
    for shape in ((192, 256), (767, 1022), (300, 200), (64, 64)):
        rgb, truth = lesion_image(*shape)
        found = segmenter.segment([rgb])[0]
        assert found.mask.shape == shape
        assert found.mask.dtype == np.bool_
        assert dice(found.mask, truth) > 0.85, shape


def test_row_fits_the_table_and_describes_the_mask(segmenter):
    found = segmenter.segment([lesion_image()[0]])[0]
    row = found.row
    assert row["area_px"] == int(found.mask.sum())
    assert row["area_share"] == pytest.approx(found.mask.mean())
    assert row["components"] == 1
    assert 0.8 < row["confidence"] <= 1
    assert found.probability_mean == row["probability_mean"]
    lineage = {"image_id": "a", "mask_key": "k", "mask_sha256": "s", "image_sha256": "i", "row_key": "r"}
    reference = {"reference_dice": None, "reference_jaccard": None, "reference_reason": "no_reference_mask"}
    table = coarse_masks.TABLE.to_arrow([row | lineage | reference])
    assert table.num_rows == 1
    assert set(row["flags"]) <= set(coarse_masks.FLAGS)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_image_of_one_colour_has_an_empty_mask_and_says_so(segmenter, value):
    found = segmenter.segment([np.full((120, 160, 3), value, np.uint8)])[0]
    assert not found.mask.any()
    assert {"constant_image", "empty_mask"} <= set(found.row["flags"])
    assert (found.row["confidence"], found.row["confidence_reason"]) == (None, "empty_mask")
    assert found.probability_mean == 0.0


def test_blank_skin_has_a_near_empty_mask(segmenter):
    rng = np.random.default_rng(1)
    for tone in ((222, 178, 158), (190, 140, 115), (120, 84, 66)):
        slow = cv2.resize(rng.normal(0, 4, (4, 4)).astype(np.float32), (320, 240), interpolation=cv2.INTER_CUBIC)[..., None]
        skin = np.clip(np.array(tone) + slow + rng.normal(0, 3, (240, 320, 3)), 0, 255).astype(np.uint8)
        assert segmenter.segment([skin])[0].mask.mean() < 0.05, tone


def with_vignette(rgb, radius=0.62):
    height, width = rgb.shape[:2]
    y, x = np.mgrid[:height, :width]
    dark = np.hypot(y - height / 2, x - width / 2) > radius * width * 0.8
    return np.where(dark[..., None], 0, rgb).astype(np.uint8), dark


def test_black_corners_are_not_lesion(segmenter):
    rgb, truth = lesion_image(300, 400, radius=0.2)
    shaded, dark = with_vignette(rgb)
    assert dark.mean() > 0.05
    found = segmenter.segment([shaded])[0]
    assert (found.mask & dark).sum() < 0.01 * found.mask.sum()
    assert dice(found.mask, truth) > 0.8


def test_ruler_along_the_edge_is_not_lesion(segmenter):
    rgb, truth = lesion_image(300, 400, radius=0.2)
    ruler = np.zeros((300, 400), bool)
    ruler[285:288] = True
    ruler[265:288, ::10] = True
    rgb[ruler] = 20
    found = segmenter.segment([rgb])[0]
    assert (found.mask & ruler).sum() < 0.01 * found.mask.sum()
    assert dice(found.mask, truth) > 0.8


def test_mask_does_not_depend_on_batch_mates(segmenter):
    images = [lesion_image(seed=s, centre=(0.4 + 0.02 * s, 0.5))[0] for s in range(5)]
    images.append(np.full((50, 80, 3), 255, np.uint8))
    together = segmenter.segment(images)
    for image, found in zip(images, together, strict=True):
        alone = segmenter.segment([image])[0]
        assert np.array_equal(alone.mask, found.mask)
        assert alone.row == found.row


def test_probabilities_do_not_depend_on_the_number_of_threads(segmenter):
    rgb, _ = lesion_image()
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(segmenter.probabilities(rgb))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_brightness_scale_of_the_input_does_not_matter(segmenter):
    rgb, _ = lesion_image()
    darker = (rgb.astype(np.float32) * 0.5).round().astype(np.uint8)
    assert dice(segmenter.segment([rgb])[0].mask, segmenter.segment([darker])[0].mask) > 0.97


def test_lesion_cut_by_the_frame_is_marked(segmenter):
    inside, cut = lesion_image(), lesion_image(256, 256, centre=(0.85, 0.5), radius=0.4)
    rows = [found.row for found in segmenter.segment([inside[0], cut[0]])]
    assert [row["touches_border"] for row in rows] == [False, True]


def test_test_time_augmentation_agrees_with_the_flipped_image():
    flipping = CoarseSegmenter.load(CoarseConfig(test_time_augmentation=True))
    rgb, truth = lesion_image(256, 256, centre=(0.45, 0.6))
    mask = flipping.segment([rgb])[0].mask
    assert dice(mask, truth) > 0.85
    mirrored = flipping.segment([rgb[:, ::-1].copy()])[0].mask[:, ::-1]
    assert np.abs(flipping.probabilities(rgb) - flipping.probabilities(rgb[:, ::-1].copy())[:, ::-1]).max() < 1e-4
    assert dice(mask, mirrored) > 0.999


def test_threshold_decides_the_mask(segmenter):
    rgb, _ = lesion_image()
    areas = [CoarseSegmenter.load(CoarseConfig(threshold=t)).segment([rgb])[0].row["area_px"] for t in (0.2, 0.5, 0.8)]
    assert areas[0] > areas[1] > areas[2] > 0


def test_confidence_is_the_soft_dice_with_the_own_mask():
    sharp = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    assert confidence(sharp, 0.5) == 1.0
    assert confidence(np.array([[0.5, 0.25], [0.5, 0.25]], np.float32), 0.5) == pytest.approx(2 * 1.0 / (1.5 + 2))
    assert confidence(np.zeros((2, 2), np.float32), 0.5) is None


def test_enlarging_and_shrinking_reach_the_networks_side():
    for shape in ((64, 64), (255, 900), (767, 1022)):
        assert to_network_side(np.zeros((*shape, 3), np.uint8)).shape == (256, 256, 3)


def test_digest_needs_no_torch_and_names_a_missing_file():
    code = (
        "import sys; from cefm_core.config import CoarseConfig; from cefm_core.segmentation.coarse import weights_digests;"
        "print(weights_digests(CoarseConfig())); assert 'torch' not in sys.modules"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == str(weights_digests(CoarseConfig()))
    assert all(len(digest) == 64 for digest in weights_digests(CoarseConfig()).values())
    with pytest.raises(ConfigurationError, match=r"coarse\.weights"):
        weights_digests(CoarseConfig(weights="absent.safetensors"))
