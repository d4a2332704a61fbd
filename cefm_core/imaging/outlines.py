"""Small pictures with the outlines of masks, for people to look at."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]

REFERENCE_COLOUR: Colour = (46, 204, 64)
FOUND_COLOUR: Colour = (255, 65, 54)
BEFORE_COLOUR: Colour = (255, 220, 0)


def outlined(rgb: np.ndarray, *outlines: tuple[npt.NDArray[np.bool_], Colour], side_px: int = 320) -> np.ndarray:
    """Return a small copy of an image with the outlines of masks.

    Args:
        rgb: uint8 (H, W, 3).
        outlines: Masks, bool (H, W), with the colour of their outlines, RGB; a later one is drawn over an earlier one.
        side_px: Long side of the result.

    Returns:
        uint8 (h, w, 3), RGB.
    """
    height, width = rgb.shape[:2]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    for mask, colour in outlines:
        small = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
        contours, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour, 2)
    return np.asarray(picture, dtype=np.uint8)
