"""A mask as the contour that a page draws over the picture."""

from __future__ import annotations

import numpy as np

TOLERANCE_SHARE = 0.0012
"""Largest distance between drawn and true contour, as a share of the mask's long side (0.6 px at 512 px)."""


CONTOUR_RGB = (20, 179, 165)
"""Colour of the contour in use, as on the pages."""


def outlined(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a picture with the outline of a mask drawn in, dark beneath so that it is seen on skin and on pigment.

    Args:
        rgb: uint8 (H, W, 3).
        mask: bool, of any size with the same aspect.
    """
    import cv2

    height, width = rgb.shape[:2]
    fitted = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(fitted, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    stroke = max(1, round(max(height, width) / 450))
    drawn = rgb.copy()
    cv2.drawContours(drawn, contours, -1, (16, 25, 29), 2 * stroke + 1, cv2.LINE_AA)
    cv2.drawContours(drawn, contours, -1, CONTOUR_RGB, stroke, cv2.LINE_AA)
    return drawn


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
