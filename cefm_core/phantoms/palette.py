"""Colours of skin and pigment, as constants measured on real dermoscopic images, and the optics that join them.

The skin colours are k-means centres of the median CIELAB colour outside lesions and artefacts on 330 images of the development
data set (four sources); the weights are the cluster sizes, thinned for the five
most saturated ones, which stem from single devices. The absorption curve was fitted to the log ratio of lesion and skin
in linear RGB on the same images: medians (0.11, 0.49, 0.79) in light, (0.37, 0.97, 1.35) in medium and (0.86, 1.66, 2.08) in dark
lesions. Shapes and patterns do not belong here.
"""

from __future__ import annotations

import cv2
import numpy as np

COLOURS: tuple[str, ...] = ("light_brown", "dark_brown", "black", "red", "white", "blue_gray")

SKIN_LAB: tuple[tuple[float, float, float], ...] = (
    (67.8, 4.3, 2.7),
    (70.4, 9.1, 13.5),
    (78.0, 2.7, 3.1),
    (56.9, 8.8, 6.1),
    (70.1, 30.4, 9.6),
    (67.7, 11.6, -6.0),
    (85.5, 10.6, 5.7),
    (91.1, 1.9, 3.3),
    (77.5, 22.1, 14.7),
    (80.4, 8.8, 15.7),
    (61.3, 12.2, 17.8),
    (71.5, 18.2, 2.0),
    (74.4, 12.9, 27.4),
    (64.4, 29.7, 30.1),
    (57.9, 24.5, 5.0),
    (84.3, 19.6, -2.7),
)
SKIN_WEIGHTS: tuple[int, ...] = (43, 39, 28, 27, 8, 12, 20, 19, 10, 17, 15, 14, 9, 2, 4, 7)

# Pigment of each named colour: melanin, blood, share of blue-gray veil, share of white scar; optical units of `transmit`.
PIGMENT: dict[str, tuple[float, float, float, float]] = {
    "light_brown": (0.95, 0.10, 0.0, 0.0),
    "dark_brown": (2.15, 0.18, 0.0, 0.0),
    "black": (4.0, 0.15, 0.10, 0.0),
    "red": (0.30, 1.05, 0.0, 0.0),
    "white": (0.10, 0.14, 0.0, 0.52),
    "blue_gray": (2.2, 0.0, 0.62, 0.0),
}
_BLOOD = np.array([0.10, 0.75, 0.62], np.float32)
_VEIL = np.array([0.158, 0.178, 0.218], np.float32)
_STRAY_LIGHT = np.array([0.010, 0.008, 0.008], np.float32)


def transmit(skin: np.ndarray, melanin: np.ndarray, blood: np.ndarray, warmth: float = 1.0) -> np.ndarray:
    """Darken skin by pigment after Beer and Lambert, with the red channel bending down in thick pigment, as measured.

    Args:
        skin: Linear RGB, float32 (H, W, 3) or (3,).
        melanin: Pigment thickness, float32 (H, W), 0 (none) to about 5 (black).
        blood: Blood thickness, float32 (H, W).
        warmth: Above 1 golden brown, below 1 greyish brown; how melanin's absorption leans from red to blue.

    Returns:
        Linear RGB, float32 (H, W, 3).
    """
    depth = np.empty((*melanin.shape, 3), np.float32)
    depth[..., 0] = (0.17 * melanin + 0.115 * melanin * melanin) * np.float32(warmth**-1.5)
    depth[..., 1] = 0.62 * melanin + 0.065 * melanin * melanin
    depth[..., 2] = np.float32(1.12 * warmth) * melanin
    depth += blood[..., None] * _BLOOD
    return skin * np.exp(-depth) + _STRAY_LIGHT


def veil(linear: np.ndarray, share: np.ndarray, brightness: float) -> np.ndarray:
    """Lay the blue-gray haze of deep pigment over linear RGB; ``share`` float32 (H, W) in 0..1."""
    return linear + share[..., None] * (_VEIL * np.float32(brightness) - linear)


def lab_to_linear(lab: tuple[float, float, float]) -> np.ndarray:
    """Convert one CIELAB colour (D65) to linear RGB, float32 (3,), clipped to 0..1."""
    pixel = np.array(lab, np.float32).reshape(1, 1, 3)
    return np.clip(cv2.cvtColor(pixel, cv2.COLOR_Lab2LRGB).reshape(3), 0, 1)


def linear_to_lab(linear: np.ndarray) -> tuple[float, float, float]:
    """Convert one linear RGB colour, float (3,) in 0..1, to CIELAB (D65)."""
    lab = cv2.cvtColor(np.asarray(linear, np.float32).reshape(1, 1, 3), cv2.COLOR_LRGB2Lab).reshape(3)
    return float(lab[0]), float(lab[1]), float(lab[2])


def individual_typology_angle(lab: tuple[float, float, float]) -> float:
    """Return the ITA in degrees, arctan((L - 50) / b) (Chardon et al., 1991); high is light skin."""
    return float(np.degrees(np.arctan2(lab[0] - 50.0, lab[2])))
