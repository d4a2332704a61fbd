"""Draw contours and prompts over an image, for report pages and for one's own eyes."""

from __future__ import annotations

import cv2
import numpy as np

from cefm_core.segmentation.prompts import PromptSet

COARSE_RGB = (255, 214, 0)
REFINED_RGB = (0, 229, 255)
POSITIVE_RGB = (102, 255, 102)
NEGATIVE_RGB = (255, 82, 82)
_HALO_RGB = (20, 20, 20)
_SHIFT = 4  # fractional bits of the coordinates that OpenCV draws with, so that reduced contours keep their place


def draw_overlay(
    rgb: np.ndarray,
    coarse: np.ndarray | None = None,
    refined: np.ndarray | None = None,
    prompts: PromptSet | None = None,
    *,
    max_side_px: int = 768,
) -> np.ndarray:
    """Draw the coarse contour (yellow), the refined one (cyan) and the prompts over an image.

    Where both contours run together the refined one is on top. Positive points are green, negative ones red; the box is dotted.

    Args:
        rgb: uint8 (H, W, 3); not changed.
        coarse: bool (H, W), or None.
        refined: bool (H, W), or None.
        prompts: Prompts in pixels of ``rgb``, or None.
        max_side_px: The long side is reduced to this before drawing, so that lines are equally thin at any image size.

    Returns:
        uint8 (h, w, 3) with long side at most ``max_side_px``.
    """
    scale = min(1.0, max_side_px / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    canvas = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb.copy()
    for mask, colour in ((coarse, COARSE_RGB), (refined, REFINED_RGB)):
        if mask is not None:
            _draw_contours(canvas, mask, scale, colour)
    if prompts is not None:
        _draw_box(canvas, prompts.box, scale)
        _draw_points(canvas, prompts.positive, scale, POSITIVE_RGB)
        _draw_points(canvas, prompts.negative, scale, NEGATIVE_RGB)
    return canvas


def _draw_contours(canvas: np.ndarray, mask: np.ndarray, scale: float, colour: tuple[int, int, int]) -> None:
    """Draw the mask's outlines: a dark halo for light skin and dark lesions alike, then the line itself."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    scaled = [_fixed(contour, scale) for contour in contours]
    width = 2 if max(canvas.shape[:2]) >= 512 else 1
    cv2.polylines(canvas, scaled, True, _HALO_RGB, width + 1, cv2.LINE_AA, _SHIFT)
    cv2.polylines(canvas, scaled, True, colour, width, cv2.LINE_AA, _SHIFT)


def _draw_points(canvas: np.ndarray, points: np.ndarray, scale: float, colour: tuple[int, int, int]) -> None:
    radius = max(2, round(max(canvas.shape[:2]) / 180))
    for x, y in _fixed(points, scale):
        cv2.circle(canvas, (int(x), int(y)), (radius + 1) << _SHIFT, _HALO_RGB, cv2.FILLED, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, (int(x), int(y)), radius << _SHIFT, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_box(canvas: np.ndarray, box: tuple[float, float, float, float], scale: float) -> None:
    """Draw a dotted white box."""
    corners = np.array([(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3]), (box[0], box[1])]) * scale
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        for share in np.arange(0, 1, 6 / max(float(np.hypot(*(end - start))), 6.0)):
            x, y = np.clip(np.round(start + share * (end - start)), 0, np.array(canvas.shape[1::-1]) - 1).astype(int)
            canvas[y, x] = (255, 255, 255)


def _fixed(points: np.ndarray, scale: float) -> np.ndarray:
    """Scale pixel centres and turn them into OpenCV's fixed-point coordinates."""
    return np.round(((np.asarray(points, dtype=np.float64) + 0.5) * scale - 0.5) * (1 << _SHIFT)).astype(np.int32)
