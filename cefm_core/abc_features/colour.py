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
GREY_SAMPLE = 4_000


def is_greyscale(pixels: np.ndarray) -> bool:
    """Return whether all but one pixel in a thousand have three near-equal channels; (h, w, 3) uint8, read on a sparse grid."""
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / GREY_SAMPLE)))
    sparse = pixels[::step, ::step].astype(int)
    spread = sparse.max(axis=-1) - sparse.min(axis=-1)
    return bool((spread > GREY_TOLERANCE).mean() <= 0.001)


def colour_map(view: LesionView, skin: np.ndarray) -> np.ndarray:
    """Return the colour of each pixel of the view as an index of ``COLOURS``, or -1 for none of them; (h, w) int8.

    The regions are declared in ``calibration.toml``. Colours are first moved half of the way by which the nearby skin differs
    from a reference skin: one half of that difference is taken for the light and the camera, the other for the person. A
    later rule overrules an earlier one.
    """
    regions = calibration()["colour"]["regions"]
    lab, skin = correct_light(cv2.GaussianBlur(view.lab, (0, 0), 0.01 * view.diameter), skin)
    lightness, a, b = cv2.split(lab)
    chroma = cv2.magnitude(a, b)
    relative = lightness / max(float(skin[0]), 1.0)
    answer = np.full(lightness.shape, -1, np.int8)
    brown = (chroma > regions["brown_min_chroma"]) & (b > regions["brown_min_b_over_a"] * a)
    answer[brown & (relative < regions["dark_light_split"])] = COLOURS.index("dark_brown")
    light = (chroma > regions["light_brown_min_chroma"]) & (b > regions["light_brown_min_b_over_a"] * a)
    answer[light & (relative >= regions["dark_light_split"])] = COLOURS.index("light_brown")
    reddish = (a > skin[1]) & (a > regions["red_min_a_over_b"] * b) & (chroma > regions["brown_min_chroma"])
    answer[reddish & (lightness > regions["black_certain_lightness"])] = COLOURS.index("red")
    pale_hue = chroma < regions["grey_max_chroma"]
    answer[(lightness < regions["black_max_lightness"]) & pale_hue] = COLOURS.index("black")
    bluish = (b < regions["blue_max_b"]) & pale_hue
    answer[bluish & (lightness > regions["black_certain_lightness"])] = COLOURS.index("blue_gray")
    white = (lightness > skin[0] + regions["white_above_skin"]) & (chroma < regions["white_max_chroma"])
    answer[white] = COLOURS.index("white")
    return answer


def correct_light(lab: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move colours half of the way from the skin's to the reference skin's; lightness by a factor, a and b by a shift.

    Args:
        lab: (h, w, 3) float32.
        skin: (3,) the nearby skin.

    Returns:
        The moved colours and the moved skin, float32.
    """
    reference = np.array(calibration()["colour"]["reference_skin"], np.float32)
    factor = np.array([np.sqrt(reference[0] / max(float(skin[0]), 1.0)), 1, 1], np.float32)
    shift = np.array([0, (reference[1] - skin[1]) / 2, (reference[2] - skin[2]) / 2], np.float32)
    return lab * factor + shift, skin.astype(np.float32) * factor + shift


def colour_shares(colours: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return the share of the usable pixels in each of ``COLOURS``; (h, w) colour map and bool mask to (6,)."""
    found = colours[usable]
    return np.bincount(found[found >= 0], minlength=len(COLOURS)) / max(1, len(found))


def measure_colours(colours: np.ndarray, usable: np.ndarray) -> dict:
    """Measure C: count, presence and shares of the six colours.

    Args:
        colours: (h, w) colour map.
        usable: (h, w) bool, visible pixels of the lesion.
    """
    shares = colour_shares(colours, usable)
    cuts = calibration()["colour"]["share_cut"]
    present = {name: bool(share >= cuts[name]) for name, share in zip(COLOURS, shares, strict=True)}
    row: dict = {"colour_count": max(1, sum(present.values()))}
    row |= {f"colour_{name}": present[name] for name in COLOURS}
    return row | {f"colour_{name}_share": float(share) for name, share in zip(COLOURS, shares, strict=True)}


def measure_variety(lab: np.ndarray) -> dict:
    """Measure the spread of colour in the lesion, in CIELAB units: root mean squared distance from the mean; (n, 3)."""
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
