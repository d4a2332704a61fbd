"""Colour C (1..6): which of the six colours of the rule are there, their shares, and how varied the lesion's colour is."""

from __future__ import annotations

import cv2
import numpy as np

from cefm_core.abc_features.calibration import calibration
from cefm_core.abc_features.view import LesionView

COLOURS = ("white", "red", "light_brown", "dark_brown", "blue_gray", "black")
#: Pixels with less saturation than this (0..1) have no hue.
MIN_SATURATION = 0.08
#: A mean hue is stated only where the mean resultant length is at least this.
MIN_RESULTANT = 0.2
#: Largest difference between channels of a grey pixel, in grey levels.
GREY_TOLERANCE = 3
#: Pixels looked at to tell whether an image is grey.
GREY_SAMPLE = 10_000


def is_greyscale(pixels: np.ndarray) -> bool:
    """Return whether all but one pixel in a thousand have three near-equal channels; (h, w, 3) uint8, read on a sparse grid."""
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / GREY_SAMPLE)))
    sparse = pixels[::step, ::step].astype(int)
    spread = sparse.max(axis=-1) - sparse.min(axis=-1)
    return bool((spread > GREY_TOLERANCE).mean() <= 0.001)


def classify_pixels(lab: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Return the colour of each pixel as an index of ``COLOURS``, or -1 for skin-like; (n, 3) to (n,)."""
    lightness, a, b = lab[:, 0], lab[:, 1], lab[:, 2]
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a))
    answer = np.full(len(lab), COLOURS.index("light_brown"))
    answer[lightness < 0.62 * skin[0]] = COLOURS.index("dark_brown")
    answer[(b < 3) & (lightness < 60)] = COLOURS.index("blue_gray")
    answer[(hue < 28) & (chroma > 25) & (lightness > 30)] = COLOURS.index("red")
    answer[lightness < 18] = COLOURS.index("black")
    answer[(lightness > skin[0] + 4) & (chroma < np.hypot(skin[1], skin[2]))] = COLOURS.index("white")
    return answer


def colour_shares(view: LesionView, inside: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Return the share of the lesion's visible pixels in each of ``COLOURS``; (6,) summing to at most 1."""
    labels = classify_pixels(view.lab[inside & view.valid], skin)
    return np.bincount(labels[labels >= 0], minlength=len(COLOURS)) / max(1, len(labels))


def measure_colours(view: LesionView, inside: np.ndarray, skin: np.ndarray) -> dict:
    """Measure C: count, presence and shares of the six colours."""
    shares = colour_shares(view, inside, skin)
    cuts = calibration()["colour"]["share_cut"]
    present = {name: bool(share >= cuts[name]) for name, share in zip(COLOURS, shares, strict=True)}
    row: dict = {"colour_count": max(1, sum(present.values()))}
    row |= {f"colour_{name}": present[name] for name in COLOURS}
    row |= {f"colour_{name}_share": float(share) for name, share in zip(COLOURS, shares, strict=True)}
    return row


def measure_variety(view: LesionView, inside: np.ndarray) -> dict:
    """Measure the spread of colour in the lesion, in CIELAB units: root mean squared distance from the mean colour."""
    lab = view.lab[inside & view.valid]
    return {"colour_variety": float(np.sqrt(((lab - lab.mean(axis=0)) ** 2).sum(axis=1).mean()))}


def measure_hue(rgb: np.ndarray) -> tuple[dict, str | None]:
    """Measure mean and spread of hue as a circular quantity.

    Args:
        rgb: (n, 3) uint8 pixels.

    Returns:
        ``hue_mean_deg`` 0..360, ``hue_circular_std_deg`` and ``hue_resultant`` 0..1, and None; or what is defined, and
        ``hue_undefined``.
    """
    hsv = cv2.cvtColor(rgb.reshape(1, -1, 3).astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0]
    angles = np.radians(hsv[hsv[:, 1] >= MIN_SATURATION, 0])
    if len(angles) == 0:
        return {}, "hue_undefined"
    mean = np.exp(1j * angles).mean()
    resultant = min(1.0, float(abs(mean)))
    if resultant < MIN_RESULTANT:
        return {"hue_resultant": resultant}, "hue_undefined"
    spread = np.degrees(np.sqrt(-2 * np.log(resultant)))
    return {
        "hue_mean_deg": float(np.degrees(np.angle(mean)) % 360),
        "hue_circular_std_deg": float(spread),
        "hue_resultant": resultant,
    }, None


def typology_angle(skin: np.ndarray) -> float:
    """Return the individual typology angle of a CIELAB colour, in degrees: atan2(L - 50, b)."""
    return float(np.degrees(np.arctan2(skin[0] - 50, skin[2])))
