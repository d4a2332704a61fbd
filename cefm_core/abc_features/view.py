"""The lesion at the working scale: one picture in CIELAB on which every clinical feature is measured.

The scale makes the lesion's area the same whatever the image's resolution, so a feature in pixels of this view is a feature
relative to the lesion's size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from cefm_core.abc_features.lesion import Lesion
from cefm_core.config import AbcConfig

#: Diameter of the disc of equal area, as a share of ``AbcConfig.working_side_px``.
DIAMETER_SHARE = 0.4
#: Skin kept around the lesion's box, as a share of that diameter.
MARGIN_SHARE = 0.3
#: Skin is read between these distances from the lesion, as shares of that diameter.
SKIN_NEAR, SKIN_FAR = 0.06, 0.28
#: Fewer skin pixels than this share of the lesion's area say nothing about the skin.
MIN_SKIN_SHARE = 0.01
#: Width of the weight with which excluded pixels are filled, as a share of the diameter.
FILL_SHARE = 0.02


@dataclass(frozen=True)
class LesionView:
    """The lesion at the working scale.

    Attributes:
        rgb: (h, w, 3) uint8.
        lab: (h, w, 3) float32, CIELAB with L 0..100; excluded pixels are filled from their neighbours.
        mask: (h, w) float32, share of the pixel that is lesion, 0..1.
        valid: (h, w) bool, inside the image and free of hair, vignette, ruler and glare.
        in_frame: (h, w) bool, inside the image.
        depth: (h, w) float32, distance to the lesion's edge in pixels, positive inside.
        diameter: Diameter of the disc of equal area, in pixels of the view.
        centroid: x and y of the lesion's centre of gravity.
        scale: Pixels of the view per pixel of the image.
        cut: Whether the lesion reaches the end of the image.
        skin: (3,) CIELAB median of the surrounding skin, or None where too little is visible.
    """

    rgb: np.ndarray
    lab: np.ndarray
    mask: np.ndarray
    valid: np.ndarray
    in_frame: np.ndarray
    depth: np.ndarray
    diameter: float
    centroid: tuple[float, float]
    scale: float
    cut: bool
    skin: np.ndarray | None

    @property
    def inside(self) -> np.ndarray:
        """(h, w) bool, the lesion's pixels."""
        return self.mask >= 0.5


def make_view(rgb: np.ndarray, lesion: Lesion, excluded: np.ndarray | None, config: AbcConfig) -> LesionView:
    """Scale image, mask and excluded pixels to the working scale.

    Args:
        rgb: (H, W, 3) uint8.
        lesion: The component that is measured.
        excluded: (H, W) bool, pixels that are not skin (hair, vignette, ruler, glare), or None.
        config: Gives the working scale.

    Returns:
        The view; pixels outside the image repeat its edge and are not ``valid``.
    """
    diameter = DIAMETER_SHARE * config.working_side_px
    scale = diameter / math.sqrt(4 * lesion.area_px / math.pi)
    margin = math.ceil(MARGIN_SHARE * diameter / scale) + 1
    height, width = lesion.mask.shape
    size = (max(1, round((width + 2 * margin) * scale)), max(1, round((height + 2 * margin) * scale)))
    corner = (lesion.x0 - margin, lesion.y0 - margin)
    shape = (height + 2 * margin, width + 2 * margin)
    small = _resize(_cut(rgb, corner, shape), size)
    soft = _resize(cv2.copyMakeBorder(lesion.mask * np.uint8(255), margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0), size)
    in_frame = _frame_mask(corner, shape, lesion.frame, size)
    valid = in_frame if excluded is None else in_frame & ~_any(_cut(excluded.astype(np.uint8), corner, shape), size)
    mask = soft.astype(np.float32) / 255
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    lab = fill_excluded(lab, in_frame & ~valid, valid, FILL_SHARE * diameter)
    depth = signed_distance(mask >= 0.5)
    return LesionView(
        small, lab, mask, valid, in_frame, depth, diameter, _centroid(mask), scale, lesion.touches_frame, _skin(lab, depth, valid, diameter)
    )


def fill_excluded(lab: np.ndarray, excluded: np.ndarray, valid: np.ndarray, sigma: float) -> np.ndarray:
    """Give excluded pixels the weighted mean of the valid ones around them, so that smoothing does not spread hair or ink.

    Args:
        lab: (h, w, 3) float32.
        excluded: (h, w) bool, pixels to fill; ones with nothing valid near keep their colour.
        valid: (h, w) bool.
        sigma: Width of the Gaussian weight, in pixels.
    """
    if not excluded.any():
        return lab
    weight = cv2.GaussianBlur(valid.astype(np.float32), (0, 0), sigma)
    mean = cv2.GaussianBlur(lab * valid[..., None], (0, 0), sigma) / np.maximum(weight, 1e-3)[..., None]
    return np.where((excluded & (weight > 1e-3))[..., None], mean, lab)


def signed_distance(inside: np.ndarray) -> np.ndarray:
    """Return the distance to the edge of a region, positive inside, in pixels; (h, w) bool to (h, w) float32."""
    region = inside.astype(np.uint8)
    inner = cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_5)
    outer = cv2.distanceTransform(1 - region, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.where(inside, inner - 0.5, 0.5 - outer).astype(np.float32)


def _cut(image: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    x, y = corner
    top, left = max(0, y), max(0, x)
    bottom, right = min(image.shape[0], y + shape[0]), min(image.shape[1], x + shape[1])
    part = image[top:bottom, left:right]
    edges = (top - y, y + shape[0] - bottom, left - x, x + shape[1] - right)
    return cv2.copyMakeBorder(part, *edges, cv2.BORDER_REPLICATE) if any(edges) else part


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrink = size[0] < image.shape[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


def _any(flags: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale excluded pixels (h, w) uint8, one pixel wider, because their rims are half artefact."""
    if not flags.any():
        return np.zeros(size[::-1], bool)
    return cv2.dilate(_resize(flags * np.uint8(255), size), np.ones((3, 3), np.uint8)) > 63


def _frame_mask(corner: tuple[int, int], shape: tuple[int, int], frame: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    columns = (np.arange(size[0]) + 0.5) * shape[1] / size[0] + corner[0]
    rows = (np.arange(size[1]) + 0.5) * shape[0] / size[1] + corner[1]
    return ((rows > 0) & (rows < frame[0]))[:, None] & ((columns > 0) & (columns < frame[1]))[None, :]


def _centroid(mask: np.ndarray) -> tuple[float, float]:
    moments = cv2.moments(mask)
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


def _skin(lab: np.ndarray, depth: np.ndarray, valid: np.ndarray, diameter: float) -> np.ndarray | None:
    ring = valid & (depth < -SKIN_NEAR * diameter) & (depth > -SKIN_FAR * diameter)
    if ring.sum() < MIN_SKIN_SHARE * math.pi / 4 * diameter**2:
        return None
    return np.median(lab[ring], axis=0)
