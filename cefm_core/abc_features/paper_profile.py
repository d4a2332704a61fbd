"""The paper's five numbers, in two readings of its formulas.

The *released* reading (columns ``a_grey``, ``b2_mean_curvature``, ``hue_std``, ``saturation_std``, ``value_std``) is the one
that comes closest to the authors' published table; ``parity`` measures how close. The *written* reading (the same names
with ``_written``) takes the formulas word by word. Neither is corrected for what it measures: docs/features.md says what.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from cefm_core.abc_features.asymmetry import mirror_pairs, polar_points
from cefm_core.abc_features.border import resample_closed, smooth_closed
from cefm_core.abc_features.lesion import Lesion

WHITE = 255
#: Released reading: long side of the frame on which contour and mask are compared, in pixels; HAM10000 is 600 x 450.
FRAME_SIDE_PX = 600
#: Released reading: points of the resampled contour, and placements of them.
CONTOUR_POINTS, PHASES = 100, 8
#: Released reading: long side of the lesion's box when its mask is compared with its mirror images, in pixels.
MIRROR_SIDE_PX = 192
#: Released reading: the authors' masks lie inside expert outlines by about this share of the long side.
RIM_SHARE = 0.009
#: Written reading: width of the Gaussian that smooths the contour before its curvature is taken, in pixels.
CONTOUR_SIGMA_PX = 6.0


def measure_paper(rgb: np.ndarray, lesion: Lesion) -> dict:
    """Measure the paper's five features in both readings.

    Args:
        rgb: (H, W, 3) uint8 image.
        lesion: The component that is measured.

    Returns:
        ``a_grey`` (grey levels 0..255), ``b2_mean_curvature`` (1/pixel of a frame 600 pixels long), ``hue_std`` (0..90,
        OpenCV half degrees), ``saturation_std`` and ``value_std`` (0..128), and the same with ``_written`` (there
        ``b2_written`` is per pixel of the image itself); ``flags`` says where the principal axis is undefined.
    """
    height, width = lesion.mask.shape
    box = rgb[lesion.y0 : lesion.y0 + height, lesion.x0 : lesion.x0 + width]
    side = max(lesion.frame)
    x, y, angle, is_round = principal_axis(lesion.mask)
    grey = cv2.cvtColor(box, cv2.COLOR_RGB2GRAY)
    hsv = cv2.cvtColor(box, cv2.COLOR_RGB2HSV)
    released = frame_spreads(hsv, trim_rim(lesion.mask, side), side * side)
    written = [float(v) for v in cv2.meanStdDev(hsv, mask=lesion.mask)[1].ravel()]
    row = {
        "a_grey": mask_asymmetry(lesion.mask),
        "b2_mean_curvature": mean_turning(lesion.contour, side),
        "a_grey_written": mirror_difference(grey, lesion.mask, reflection(x, y, angle)) / lesion.area_px,
        "b2_written": mean_curvature(lesion.contour),
        "flags": ["principal_axis_undefined"] if is_round else [],
    }
    names = ("hue_std", "saturation_std", "value_std")
    return row | dict(zip(names, released, strict=True)) | {f"{n}_written": v for n, v in zip(names, written, strict=True)}


def trim_rim(mask: np.ndarray, side: int) -> np.ndarray:
    """Shrink a (h, w) uint8 mask by ``RIM_SHARE`` of the frame's long side; a lesion that would vanish stays whole."""
    width = 2 * round(RIM_SHARE * side) + 1
    trimmed = cv2.erode(mask, np.ones((width, width), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return trimmed if cv2.countNonZero(trimmed) else mask


def frame_spreads(hsv: np.ndarray, mask: np.ndarray, frame_px: int) -> list[float]:
    """Return the standard deviations of H, S, V over a white frame of ``frame_px`` pixels that holds the lesion.

    White has H 0, S 0, V 255 everywhere, so its part of each sum is known without looking at it.

    Args:
        hsv: (h, w, 3) uint8 pixels of the lesion's box, OpenCV scaling.
        mask: (h, w) uint8, the lesion in that box.
        frame_px: Pixels of the whole frame.
    """
    mean, std = (v.ravel() for v in cv2.meanStdDev(hsv, mask=mask))
    share = cv2.countNonZero(mask) / frame_px
    white = np.array([0.0, 0.0, WHITE])
    return [float(v) for v in np.sqrt(share * std**2 + share * (1 - share) * (mean - white) ** 2)]


def principal_axis(mask: np.ndarray) -> tuple[float, float, float, bool]:
    """Return the centre of gravity (x, y) and the principal axis of a (h, w) uint8 mask.

    Returns:
        x, y, the axis's angle in radians, and whether the two axes are so alike (within 3 %) that the angle means nothing.
    """
    moments = cv2.moments(mask, binaryImage=True)
    difference, mixed = moments["mu20"] - moments["mu02"], 2 * moments["mu11"]
    # Axes are square roots of the two variances, so these differ by twice as much.
    is_round = math.hypot(difference, mixed) < 0.03 * (moments["mu20"] + moments["mu02"])
    x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    return x, y, 0.5 * math.atan2(mixed, difference), is_round


def reflection(x: float, y: float, angle: float) -> np.ndarray:
    """Return the (2, 3) matrix that mirrors points across the line through (x, y) at ``angle`` radians."""
    c, s = math.cos(2 * angle), math.sin(2 * angle)
    return np.array([[c, s, x - c * x - s * y], [s, -c, y - s * x + c * y]])


def mask_asymmetry(mask: np.ndarray) -> float:
    """Return A, released reading: 255 times the share of the lesion that its mirror image leaves bare, least over all axes.

    It equals sum |I - I_mirror| / sum M over the lesion when I is the mask itself in grey levels 0 and 255.
    """
    scale = min(1.0, MIRROR_SIDE_PX / max(mask.shape))
    size = tuple(max(1, round(n * scale)) for n in mask.shape[::-1])
    small = cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    moments = cv2.moments(small)
    x, y = polar_points(small >= 0.5, (moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]))
    sampled = cv2.remap(small, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    first, second = mirror_pairs()
    # Lesion and mirror image have the same area, so what one leaves bare is half of what they do not share.
    unshared = np.abs(sampled[first] - sampled[second]).sum(axis=(1, 2))
    return float(WHITE * unshared.min() / max(float(sampled.sum()), 1e-6))


def mirror_difference(grey: np.ndarray, mask: np.ndarray, matrix: np.ndarray) -> float:
    """Return the numerator of A, written reading: the summed grey difference between pixel and mirror pixel.

    The lesion stands on black (outside the mask there is nothing), and the sum runs over the lesion's own pixels.
    """
    lesion = cv2.copyTo(grey, mask, np.zeros_like(grey))
    mirror = cv2.warpAffine(lesion, matrix, lesion.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return float(cv2.norm(lesion, mirror, cv2.NORM_L1, mask=mask))


def turning(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the change of direction at each point of closed curves, in radians, and the step that leads on from it.

    Args:
        points: (n, ..., 2); each curve runs along the first axis.
    """
    forward = np.roll(points, -1, axis=0) - points
    heading = np.arctan2(forward[..., 1], forward[..., 0])
    turn = (heading - np.roll(heading, 1, axis=0) + np.pi) % (2 * np.pi) - np.pi
    return turn, np.maximum(np.hypot(forward[..., 0], forward[..., 1]), 1e-9)


def mean_turning(contour: np.ndarray, side: int) -> float:
    """Return B2, released reading: mean of |dtheta / ds| at 100 points of the contour, in a frame 600 pixels long.

    Where the first of the 100 points lies is arbitrary, so the mean is taken over ``PHASES`` placements of them.
    """
    points = resample_closed(contour * (FRAME_SIDE_PX / side), CONTOUR_POINTS * PHASES)
    turn, step = turning(points.reshape(CONTOUR_POINTS, PHASES, 2))
    return float(np.mean(np.abs(turn) / step))


def mean_curvature(contour: np.ndarray) -> float:
    """Return B2, written reading: mean of dtheta / ds along the smoothed contour, positive; (n, 2) pixels to 1/pixel."""
    turn, step = turning(smooth_closed(resample_closed(contour.astype(float), max(16, len(contour))), CONTOUR_SIGMA_PX))
    return abs(float((turn / step).mean()))
