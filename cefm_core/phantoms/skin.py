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
    melanin = np.full((1, 1), 1.4 * spec.skin_melanin, np.float32)
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
    melanin = melanin + float(rng.uniform(0.0, 0.34) ** 2) * furrows
    if rng.random() < 0.4:  # sun-damaged skin is blotched with brown
        melanin = melanin + float(rng.uniform(0.02, 0.15)) * smoothstep(octaves(rng, shape, 14, 4, gain=0.7), 0.1, 2.0)
    if rng.random() < 0.7:
        melanin = melanin + _marks(rng, shape, int(rng.gamma(1.2, 9)) + 1, (1.2, 8.0), (0.05, 0.30))
    if rng.random() < 0.3:
        blood = blood + _marks(rng, shape, int(rng.integers(1, 7)), (1.2, 4.0), (0.15, 0.7))
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


def _marks(
    rng: np.random.Generator, shape: tuple[int, int], count: int, radii: tuple[float, float], strengths: tuple[float, float]
) -> np.ndarray:
    """Return ``count`` soft spots (freckles, pores, red dots); radii in pixels at 600 px width."""
    height, width = shape
    unit = max(shape) / 600
    marks = np.zeros(shape, np.float32)
    for _ in range(count):
        radius = unit * float(np.exp(rng.uniform(np.log(radii[0]), np.log(radii[1]))))
        row, column = float(rng.uniform(0, height)), float(rng.uniform(0, width))
        stretch, strength = float(rng.uniform(0.6, 1.0)), float(rng.uniform(*strengths))
        reach = int(3 * radius) + 1
        top, left = max(int(row) - reach, 0), max(int(column) - reach, 0)
        window = marks[top : int(row) + reach + 1, left : int(column) + reach + 1]
        y = (np.arange(top, top + window.shape[0], dtype=np.float32)[:, None] - row) / (radius * stretch)
        x = (np.arange(left, left + window.shape[1], dtype=np.float32) - column) / radius
        window += np.float32(strength) * np.exp(-0.5 * (x * x + y * y) ** 1.5)
    return marks * (1 + 0.4 * field(rng, shape, 90))
