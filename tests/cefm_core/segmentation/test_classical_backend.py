"""The refinement without a network."""

import cv2
import numpy as np

from cefm_core.config import RefineConfig
from cefm_core.segmentation.classical_backend import ClassicalBackend, guided_filter
from cefm_core.segmentation.prompts import make_prompts


def _scene(side: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = cv2.ellipse(np.zeros((side, side), np.uint8), (side // 2, side // 2), (side // 4, side // 5), 20, 0, 360, 1, -1) > 0
    rgb = np.full((side, side, 3), (220, 180, 160), np.uint8)
    rgb[truth] = (100, 65, 55)
    noise = np.random.RandomState(0).normal(0, 6, rgb.shape)
    rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    coarse = cv2.dilate(truth.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    return rgb, truth, coarse


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_swollen_mask_shrinks_onto_the_edge() -> None:
    rgb, truth, coarse = _scene()
    [proposal] = ClassicalBackend().propose([rgb], [coarse], [make_prompts(coarse, RefineConfig())])
    assert _dice(proposal.mask, truth) > _dice(coarse, truth) + 0.02
    assert proposal.predicted_iou is None and proposal.mask.shape == truth.shape and proposal.mask.dtype == bool


def test_same_input_same_mask_alone_or_in_a_batch() -> None:
    rgb, _, coarse = _scene()
    prompts = make_prompts(coarse, RefineConfig())
    backend = ClassicalBackend()
    [alone] = backend.propose([rgb], [coarse], [prompts])
    both = backend.propose(
        [rgb[::-1].copy(), rgb], [coarse[::-1].copy(), coarse], [make_prompts(coarse[::-1].copy(), RefineConfig()), prompts]
    )
    assert np.array_equal(alone.mask, both[1].mask)


def _naive_guided_filter(guide: np.ndarray, source: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """The definition, window by window, for windows wholly inside the image."""
    height, width = source.shape
    slope, offset = np.full((height, width, 3), np.nan), np.full((height, width), np.nan)
    for y in range(radius, height - radius):
        for x in range(radius, width - radius):
            window = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
            g, s = guide[window].reshape(-1, 3).astype(float), source[window].ravel().astype(float)
            cross = (g * s[:, None]).mean(0) - g.mean(0) * s.mean()
            slope[y, x] = np.linalg.solve(np.cov(g.T, bias=True) + eps * np.eye(3), cross)
            offset[y, x] = s.mean() - slope[y, x] @ g.mean(0)
    out = np.full((height, width), np.nan)
    for y in range(2 * radius, height - 2 * radius):
        for x in range(2 * radius, width - 2 * radius):
            window = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
            out[y, x] = slope[window].reshape(-1, 3).mean(0) @ guide[y, x] + offset[window].mean()
    return out


def test_guided_filter_equals_its_definition() -> None:
    random = np.random.RandomState(1)
    guide, source = random.rand(20, 24, 3).astype(np.float32), random.rand(20, 24).astype(np.float32)
    wanted = _naive_guided_filter(guide, source, 2, 1e-2)
    inner = ~np.isnan(wanted)
    assert inner.sum() > 100
    np.testing.assert_allclose(guided_filter(guide, source, 2, 1e-2)[inner], wanted[inner], atol=2e-4)
