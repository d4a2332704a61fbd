"""The skin around and under a lesion: tone, mottling, furrows, faint vessels, small marks.

The lesion and what lies on the skin (hair, bubbles, ink) do not belong here.
"""

from __future__ import annotations

import cv2
import numpy as np

from cefm_core.phantoms.noise import field, octaves, smoothstep
from cefm_core.phantoms.palette import lab_to_linear, transmit
from cefm_core.phantoms.spec import PhantomSpec


def base_colour(spec: PhantomSpec) -> np.ndarray:
    """Return the even skin colour of a specification, linear RGB float32 (3,), before texture, light and lesion."""
    melanin = np.full((1, 1), 0.9 * spec.skin_melanin, np.float32)
    return transmit(lab_to_linear(spec.skin_lab), melanin, np.zeros((1, 1), np.float32))[0, 0]


def skin_pigment(spec: PhantomSpec, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return melanin and blood of textured skin relative to its even colour, float32 (H, W) each; either may be negative."""
    rng = np.random.default_rng([spec.view_seed, spec.seed, 30])
    melanin = 0.022 * octaves(rng, shape, 4, 3) + 0.028 * octaves(rng, shape, 45, 4, gain=0.9)
    blood = float(rng.uniform(0.01, 0.05)) * octaves(rng, shape, 4, 3) + float(rng.uniform(0.015, 0.05)) * octaves(
        rng, shape, 26, 4, gain=0.85
    )
    if rng.random() < 0.45:
        blood = blood + float(rng.uniform(0.06, 0.2)) * _vessels(rng, shape)
    furrows = _furrows(rng, shape)
    melanin = melanin + float(rng.uniform(0.01, 0.07)) * furrows
    if rng.random() < 0.55:
        melanin = melanin + _marks(rng, shape)
    return melanin, blood


def _furrows(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return the criss-cross of fine skin lines: cells of a stretched random lattice, about 0 in the cells and 1 on the lines."""
    height, width = shape
    cell = max(shape) * float(rng.uniform(0.016, 0.032))
    count = int(height * width / (cell * cell))
    ground = np.full(shape, 255, np.uint8)
    ground[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    _, labels = cv2.distanceTransformWithLabels(ground, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    lines = np.zeros(shape, np.float32)
    lines[:, 1:] += labels[:, 1:] != labels[:, :-1]
    lines[1:] += labels[1:] != labels[:-1]
    soft = cv2.GaussianBlur(np.minimum(lines, 1), (0, 0), max(max(shape) * 0.0017, 0.6)) * 2
    return soft * smoothstep(field(rng, shape, 6), -0.8, 1.2)


def _vessels(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return a faint net of winding vessels, 0..1: the zero lines of smooth fields, shown in places."""
    height, width = shape
    thickness = float(rng.uniform(0.05, 0.1))
    first = np.exp(-((field(rng, shape, 9) / thickness) ** 2)) * smoothstep(field(rng, shape, 5), 0.3, 1.2)
    second = np.exp(-((field(rng, shape, 22) / (2 * thickness)) ** 2)) * smoothstep(field(rng, shape, 6), 0.4, 1.2)
    return cv2.GaussianBlur(first + 0.7 * second, (0, 0), max(max(height, width) * 0.002, 0.5))


def _marks(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return melanin of a few freckles and pores."""
    height, width = shape
    unit = max(shape) / 600
    marks = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 14))):
        radius = float(rng.uniform(2.0, 9.0)) * unit
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = (max(int(radius), 1), max(int(radius * rng.uniform(0.6, 1)), 1))
        layer = np.zeros(shape, np.uint8)
        cv2.ellipse(layer, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
        x0, y0 = max(centre[0] - 40, 0), max(centre[1] - 40, 0)
        window = (slice(y0, centre[1] + 40), slice(x0, centre[0] + 40))
        soft = cv2.GaussianBlur(layer[window], (0, 0), max(0.45 * radius, 0.8))
        marks[window] += soft.astype(np.float32) * np.float32(rng.uniform(0.04, 0.30) / 255)
    return marks * (1 + 0.4 * field(rng, shape, 90))
