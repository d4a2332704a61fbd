"""A mask as the contour that a page draws over the picture."""

from __future__ import annotations

import numpy as np

TOLERANCE_SHARE = 0.0012
"""Largest distance between drawn and true contour, as a share of the mask's long side (0.6 px at 512 px)."""


def svg_path(mask: np.ndarray) -> str | None:
    """Return the outline of a mask as SVG path data, holes included, in pixels of the mask.

    Args:
        mask: bool (H, W).

    Returns:
        Path data for ``fill-rule="evenodd"``, or None for an empty mask.
    """
    import cv2

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    tolerance = TOLERANCE_SHARE * max(mask.shape)
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, tolerance, True)[:, 0, :]
        if len(points) >= 3:
            parts.append("M" + "L".join(f"{x} {y}" for x, y in points.tolist()) + "Z")
    return "".join(parts) or None
