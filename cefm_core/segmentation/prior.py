"""Weigh a model's answer against a mask that is already there."""

from __future__ import annotations

import cv2
import numpy as np

_LOGIT_LIMIT = 6.0  # sigmoid(6) = 0.9975: beyond it the model is sure, and must not outvote any distance


def weigh_against_prior(logits: np.ndarray, prior: np.ndarray, weight: float, *, long_side_px: int) -> np.ndarray:
    """Add a mask to a model's logits as a prior on where the outline runs.

    The prior is the signed distance to the mask's outline (positive inside) in equivalent radii of the mask, times ``weight``: far from
    that outline the mask decides, near it the model does. Two outlines with errors of their own are better together.

    Args:
        logits: float32 (h, w), or (h, w, n) for n answers to the same view.
        prior: bool, the same view at any resolution.
        weight: Logits per equivalent radius; 0 leaves the model alone.
        long_side_px: Long side of the result.

    Returns:
        float32 of the view's shape (with n as in ``logits``); logits are limited to +-6 before the prior is added.
    """
    scale = long_side_px / max(logits.shape[:2])
    size = (max(1, round(logits.shape[1] * scale)), max(1, round(logits.shape[0] * scale)))
    how = cv2.INTER_LINEAR if scale >= 1 else cv2.INTER_AREA
    # One answer at a time: OpenCV shrinks no picture of more than four channels by area.
    answers = [cv2.resize(np.ascontiguousarray(answer), size, interpolation=how) for answer in np.atleast_3d(logits).transpose(2, 0, 1)]
    evidence = np.clip(np.stack(answers, axis=2).reshape(size[1], size[0], *logits.shape[2:]), -_LOGIT_LIMIT, _LOGIT_LIMIT)
    if weight == 0:
        return evidence
    inside = cv2.resize(prior.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    depth, distance = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (inside, ~inside))
    radius = np.sqrt(max(int(np.count_nonzero(inside)), 1) / np.pi)
    term = weight * np.where(inside, depth - 0.5, 0.5 - distance) / radius
    return np.asarray(evidence + (term if evidence.ndim == 2 else term[..., None]), dtype=np.float32)
