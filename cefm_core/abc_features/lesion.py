"""Which pixels are the lesion: the component that is measured, its outline, and why a mask cannot be measured.

Connectivity is 8 everywhere in this package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from cefm_core.config import AbcConfig

#: A second component of at least this share of the largest is another lesion, not a speck.
COMPARABLE_SHARE = 0.5


@dataclass(frozen=True)
class Lesion:
    """The measured component of a mask.

    Attributes:
        mask: (h, w) uint8, 0 or 1, cut to the lesion's box.
        x0: Column of the box's left edge in the image.
        y0: Row of the box's upper edge in the image.
        contour: (n, 2) int32 outline in box coordinates, x then y, without repeats.
        area_px: Pixels of the component.
        components: Components of the whole mask.
        comparable: Components of at least ``COMPARABLE_SHARE`` of this one's area, this one included.
        frame: Height and width of the image, in pixels.
    """

    mask: np.ndarray
    x0: int
    y0: int
    contour: np.ndarray
    area_px: int
    components: int
    comparable: int
    frame: tuple[int, int]

    @property
    def touches_frame(self) -> bool:
        """Whether the component reaches the outermost pixels of the image."""
        height, width = self.mask.shape
        return self.x0 == 0 or self.y0 == 0 or self.x0 + width >= self.frame[1] or self.y0 + height >= self.frame[0]


def find_lesion(mask: np.ndarray, config: AbcConfig) -> tuple[Lesion | None, str | None]:
    """Return the component to measure, or the reason why there is none.

    The largest component is measured; of equally large ones the one nearest to the image's centre, then the one whose
    first pixel comes first in reading order.

    Args:
        mask: (H, W) bool.
        config: Smallest area and thickness, in pixels of the mask.

    Returns:
        The lesion and None, or None and ``empty_mask`` or ``lesion_too_small``.

    Raises:
        ValueError: The mask is not two-dimensional.
    """
    if mask.ndim != 2:
        raise ValueError(f"mask has {mask.ndim} dimensions, 2 are needed")
    full = np.ascontiguousarray(mask).view(np.uint8) if mask.dtype == np.bool_ else (np.asarray(mask) > 0).view(np.uint8)
    x, y, w, h = cv2.boundingRect(full)
    if w == 0 or h == 0:
        return None, "empty_mask"
    box = full[y : y + h, x : x + w]
    contours, _ = cv2.findContours(box, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if len(contours) == 1:
        lesion = Lesion(box, x, y, _flat(contours[0]), cv2.countNonZero(box), 1, 1, full.shape)
    else:
        lesion = _largest(box, x, y, full.shape)
    if lesion.area_px < config.min_area_px or not _is_thick(lesion.mask, config.min_thickness_px):
        return None, "lesion_too_small"
    return lesion, None


def _flat(contour: np.ndarray) -> np.ndarray:
    return contour.reshape(-1, 2)


def _is_thick(mask: np.ndarray, thickness_px: float) -> bool:
    side = max(1, math.ceil(thickness_px))
    eroded = cv2.erode(mask, np.ones((side, side), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return bool(eroded.any())


def _largest(box: np.ndarray, x: int, y: int, frame: tuple[int, int]) -> Lesion:
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(box, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    centre = np.array([(frame[1] - 1) / 2 - x, (frame[0] - 1) / 2 - y])
    distance = np.linalg.norm(centroids[1:] - centre, axis=1)
    # Rounded, so that a mirrored image cannot decide a tie by the last bit of a square root.
    best = int(np.lexsort((stats[1:, cv2.CC_STAT_LEFT], stats[1:, cv2.CC_STAT_TOP], distance.round(6), -areas))[0])
    left, top, width, height = stats[best + 1, :4]
    part = (labels[top : top + height, left : left + width] == best + 1).astype(np.uint8)
    outline, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    area = int(areas[best])
    comparable = int((areas >= COMPARABLE_SHARE * area).sum())
    return Lesion(part, x + int(left), y + int(top), _flat(outline[0]), area, count - 1, comparable, frame)
