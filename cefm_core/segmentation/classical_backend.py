"""A boundary refinement without a network, for machines where a foundation model is too slow.

The coarse mask is pulled to the image's edges by a guided filter (He, Sun, Tang: Guided Image Filtering, TPAMI 2013, colour guide),
at reduced resolution around the lesion.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cefm_core.segmentation.backends import Proposal
from cefm_core.segmentation.prompts import PromptSet

_SIDE = 192  # long side of the view in pixels
_MARGIN = 0.2  # margin of the view around the box, as a share of the box diagonal
_RADIUS_SHARE = 0.05  # radius of the filter, as a share of the box diagonal
_REGULARISATION = 1e-3  # on a guide scaled to 0..1


class ClassicalBackend:
    """Guided filtering of the coarse mask; no state, no weights, the same bytes on every machine that rounds alike."""

    name = "classical"
    device = "cpu"
    precision = "float32"
    prompt_kinds = ("mask",)

    def propose(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], prompts: Sequence[PromptSet]) -> list[Proposal]:
        """Return one proposal an image; see :class:`~cefm_core.segmentation.backends.RefinerBackend`."""
        filtered = [pull_to_edges(image, mask, prompt) for image, mask, prompt in zip(images, masks, prompts, strict=True)]
        return [Proposal(mask=mask, predicted_iou=None, candidates=1) for mask in filtered]


def pull_to_edges(
    rgb: np.ndarray, mask: np.ndarray, prompts: PromptSet, *, radius_share: float = _RADIUS_SHARE, regularisation: float = _REGULARISATION
) -> np.ndarray:
    """Pull a mask's outline to the image's edges nearby.

    Args:
        rgb: uint8 (H, W, 3).
        mask: bool (H, W), not empty.
        prompts: Prompts made from that mask; the box is used.
        radius_share: Radius of the filter, as a share of the box diagonal; edges farther away do not count.
        regularisation: Of the filter; the smaller, the weaker the edges that count.

    Returns:
        bool (H, W).
    """
    x0, y0, x1, y1 = (int(v) for v in prompts.box)
    diagonal = float(np.hypot(x1 - x0 + 1, y1 - y0 + 1))
    margin = int(np.ceil(_MARGIN * diagonal))
    rows, columns = slice(max(0, y0 - margin), y1 + margin + 1), slice(max(0, x0 - margin), x1 + margin + 1)
    crop, coarse = rgb[rows, columns], mask[rows, columns]
    scale = min(1.0, _SIDE / max(crop.shape[:2]))
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    guide = cv2.cvtColor(cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255, cv2.COLOR_RGB2LAB) / 100
    soft = cv2.resize(coarse.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    filtered = guided_filter(guide, soft, max(1, round(radius_share * diagonal * scale)), regularisation)
    refined = mask.copy()
    refined[rows, columns] = cv2.resize(filtered, (crop.shape[1], crop.shape[0]), interpolation=cv2.INTER_LINEAR) > 0.5
    return refined


def guided_filter(guide: np.ndarray, source: np.ndarray, radius: int, regularisation: float) -> np.ndarray:
    """Filter an image so that its edges follow those of a colour guide.

    In each window the output is an affine function of the guide's three channels (TPAMI 2013, equations 19 to 21).

    Args:
        guide: float32 (H, W, 3).
        source: float32 (H, W).
        radius: Half side of the square window in pixels.
        regularisation: Added to the variance of each guide channel.

    Returns:
        float32 (H, W).
    """

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    guide_mean, source_mean = mean(guide), mean(source)
    products = guide[..., :, None] * guide[..., None, :]
    second = mean(products.reshape(*source.shape, 9)).reshape(products.shape)
    covariance = second - guide_mean[..., :, None] * guide_mean[..., None, :] + regularisation * np.eye(3, dtype=np.float32)
    cross = mean(guide * source[..., None]) - guide_mean * source_mean[..., None]
    slope = np.linalg.solve(covariance, cross[..., None])[..., 0]
    offset = source_mean - (slope * guide_mean).sum(axis=-1)
    return np.asarray((mean(slope.astype(np.float32)) * guide).sum(axis=-1) + mean(offset.astype(np.float32)), dtype=np.float32)
