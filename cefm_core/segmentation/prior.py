"""Weigh a model's answer against a mask that is already there."""

from __future__ import annotations

import cv2
import numpy as np

from cefm_core.segmentation.classical_backend import pull_to_edges
from cefm_core.segmentation.prompts import PromptSet

_LOGIT_LIMIT = 6.0  # sigmoid(6) = 0.9975: beyond it the model is sure, and must not outvote any distance

_RADIUS_SHARE = 0.09  # the filter reaches farther here than in the classical backend, because the model corrects it
_REGULARISATION = 3e-4


def prior_mask(rgb: np.ndarray, coarse: np.ndarray, prompts: PromptSet) -> np.ndarray:
    """Return the mask that models are weighed against, bool (H, W): the coarse one, pulled to the image's edges.

    Args:
        rgb: uint8 (H, W, 3).
        coarse: bool (H, W), not empty.
        prompts: Prompts made from it.
    """
    return pull_to_edges(rgb, coarse, prompts, radius_share=_RADIUS_SHARE, regularisation=_REGULARISATION)


def weigh_against_prior(logits: np.ndarray, prior: np.ndarray, weight: float, *, long_side_px: int) -> np.ndarray:
    """Add a mask to a model's logits as a prior on where the outline runs.

    The prior is the signed distance to the mask's outline (positive inside) in equivalent radii of the mask, times ``weight``: far from
    that outline the mask decides, near it the model does. Two outlines with errors of their own are better together.

    Args:
        logits: float32 (h, w).
        prior: bool, the same view at any resolution.
        weight: Logits per equivalent radius; 0 leaves the model alone.
        long_side_px: Long side of the result.

    Returns:
        float32 of the view's shape; logits are limited to +-6 before the prior is added.
    """
    scale = long_side_px / max(logits.shape)
    size = (max(1, round(logits.shape[1] * scale)), max(1, round(logits.shape[0] * scale)))
    resized = cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR if scale >= 1 else cv2.INTER_AREA)
    evidence = np.clip(resized, -_LOGIT_LIMIT, _LOGIT_LIMIT)
    if weight == 0:
        return evidence
    inside = cv2.resize(prior.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    depth, distance = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (inside, ~inside))
    radius = np.sqrt(max(int(np.count_nonzero(inside)), 1) / np.pi)
    return np.asarray(evidence + weight * np.where(inside, depth - 0.5, 0.5 - distance) / radius, dtype=np.float32)
