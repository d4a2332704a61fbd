"""The paper's five numbers: A, B2 and the standard deviations of H, S and V.

The lesion is pasted on white and its own frame is kept: that reading of the formulas reproduces the authors' released table
best (docs/features.md lists every reading that was tried). Nothing here is corrected for what the formulas measure.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from cefm_core.abc_features.border import resample_closed, smooth_closed
from cefm_core.abc_features.lesion import Lesion

WHITE = 255
#: Width of the Gaussian that smooths the contour before its curvature is taken, in pixels.
CONTOUR_SIGMA_PX = 6.0


def measure_paper(rgb: np.ndarray, lesion: Lesion) -> dict:
    """Measure the paper's five features.

    Args:
        rgb: (H, W, 3) uint8 image.
        lesion: The component that is measured.

    Returns:
        ``a_grey`` (grey levels), ``b2_mean_curvature`` (1/pixel), ``hue_std`` (0..90, OpenCV half degrees),
        ``saturation_std`` and ``value_std`` (0..128).
    """
    height, width = lesion.mask.shape
    box = rgb[lesion.y0 : lesion.y0 + height, lesion.x0 : lesion.x0 + width]
    pasted = cv2.copyTo(box, lesion.mask, np.full_like(box, WHITE))
    spreads = frame_spreads(pasted, lesion.frame[0] * lesion.frame[1])
    grey = cv2.cvtColor(pasted, cv2.COLOR_RGB2GRAY)
    return {
        "a_grey": mirror_difference(grey, lesion.mask, lesion.area_px),
        "b2_mean_curvature": mean_curvature(lesion.contour),
        "hue_std": spreads[0],
        "saturation_std": spreads[1],
        "value_std": spreads[2],
    }


def frame_spreads(pasted: np.ndarray, frame_px: int) -> list[float]:
    """Return the standard deviations of H, S, V over a white frame of ``frame_px`` pixels that holds the pasted box.

    The white rest has H 0, S 0, V 255 everywhere, so its part of each sum is known without looking at it.

    Args:
        pasted: (h, w, 3) uint8 RGB box, white outside the lesion.
        frame_px: Pixels of the whole frame.
    """
    hsv = cv2.cvtColor(pasted, cv2.COLOR_RGB2HSV)
    mean, std = (v.ravel() for v in cv2.meanStdDev(hsv))
    share = pasted.shape[0] * pasted.shape[1] / frame_px
    white = np.array([0.0, 0.0, WHITE])
    variance = share * std**2 + share * (1 - share) * (mean - white) ** 2
    return [float(v) for v in np.sqrt(variance)]


def principal_axis(mask: np.ndarray) -> tuple[float, float, float]:
    """Return the centre of gravity (x, y) and the angle of the principal axis in radians; (h, w) uint8 mask."""
    moments = cv2.moments(mask, binaryImage=True)
    angle = 0.5 * math.atan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"])
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"], angle


def reflection(x: float, y: float, angle: float) -> np.ndarray:
    """Return the (2, 3) matrix that mirrors points across the line through (x, y) at ``angle`` radians."""
    c, s = math.cos(2 * angle), math.sin(2 * angle)
    return np.array([[c, s, x - c * x - s * y], [s, -c, y - s * x + c * y]])


def mirror_difference(grey: np.ndarray, mask: np.ndarray, area_px: int) -> float:
    """Return A: the summed grey difference between lesion and mirror image, per pixel of the lesion.

    The canvas holds the lesion and its whole mirror image, on white.
    """
    matrix = reflection(*principal_axis(mask))
    height, width = grey.shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float) - 0.5
    mirrored = corners @ matrix[:, :2].T + matrix[:, 2]
    low = np.floor(np.minimum(mirrored.min(axis=0), 0)).astype(int)
    high = np.ceil(np.maximum(mirrored.max(axis=0), [width, height])).astype(int)
    size = tuple(int(n) for n in high - low)
    canvas = cv2.copyMakeBorder(grey, -low[1], high[1] - height, -low[0], high[0] - width, cv2.BORDER_CONSTANT, value=WHITE)
    shifted = matrix.copy()
    shifted[:, 2] -= low
    image = cv2.warpAffine(grey, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=WHITE)
    return float(cv2.norm(canvas, image, cv2.NORM_L1) / area_px)


def mean_curvature(contour: np.ndarray) -> float:
    """Return B2: the mean of signed curvature along the contour, smoothed by ``CONTOUR_SIGMA_PX``; (n, 2) to 1/pixel."""
    points = smooth_closed(resample_closed(contour.astype(float), max(16, len(contour))), CONTOUR_SIGMA_PX)
    forward = np.roll(points, -1, axis=0) - points
    step = np.maximum(np.hypot(*forward.T), 1e-9)
    heading = np.arctan2(forward[:, 1], forward[:, 0])
    turn = (heading - np.roll(heading, 1) + np.pi) % (2 * np.pi) - np.pi
    return abs(float((turn / step).mean()))


def is_round(mask: np.ndarray) -> bool:
    """Return whether the two principal axes are too alike (within 3 %) for their direction to mean anything; (h, w) uint8."""
    moments = cv2.moments(mask, binaryImage=True)
    spread = math.hypot(moments["mu20"] - moments["mu02"], 2 * moments["mu11"])
    total = moments["mu20"] + moments["mu02"]
    # Variances differ by about twice as much as axes do.
    return spread < 0.03 * total
