"""Smooth random fields, the common ground of every texture of a phantom.

Each field is drawn on a grid whose size depends on the wanted feature size alone, then enlarged, so that the same seed gives the same
pattern at every picture size.
"""

from __future__ import annotations

import cv2
import numpy as np


def field(rng: np.random.Generator, shape: tuple[int, int], nodes: float) -> np.ndarray:
    """Return a smooth random field of standard deviation about 1.

    Args:
        rng: Source of randomness.
        shape: (H, W) of the field, in pixels.
        nodes: Random values along the longer side; the feature size is the longer side divided by this.

    Returns:
        float32 (H, W).
    """
    height, width = shape
    longest = max(shape)
    rows, columns = max(round(nodes * height / longest), 2), max(round(nodes * width / longest), 2)
    grid = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(1.3)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def octaves(rng: np.random.Generator, shape: tuple[int, int], nodes: float, count: int, gain: float = 0.6) -> np.ndarray:
    """Return the sum of ``count`` fields, each twice as fine and ``gain`` as strong as the one before, scaled to deviation 1."""
    total = np.zeros(shape, np.float32)
    power = 0.0
    for octave in range(count):
        weight = gain**octave
        total += np.float32(weight) * field(rng, shape, nodes * 2**octave)
        power += weight**2
    return total / np.float32(np.sqrt(power))


def radial_field(rng: np.random.Generator, angle: np.ndarray, radius: np.ndarray, spokes: int, rings: int) -> np.ndarray:
    """Return a random field stretched along the radius, of standard deviation about 1.

    Args:
        rng: Source of randomness.
        angle: Polar angle of each pixel, radians, float32 (H, W).
        radius: Distance from the centre, 0..2 lesion radii, float32 (H, W).
        spokes: Random values around the circle.
        rings: Random values along the radius.
    """
    grid = rng.standard_normal((rings, spokes), dtype=np.float32) * np.float32(1.3)
    grid = np.hstack([grid[:, -2:], grid, grid[:, :3]])  # so that the seam at the angle pi cannot be seen
    column = ((angle + np.float32(np.pi)) * np.float32(spokes / (2 * np.pi)) + 2).astype(np.float32)
    row = (radius * np.float32(rings / 2)).astype(np.float32)
    return cv2.remap(grid, column, row, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def smoothstep(values: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """Return the cubic ramp from 0 at ``low`` to 1 at ``high``, float32."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
