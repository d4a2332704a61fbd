"""Asymmetry A (0..2): two perpendicular axes placed for the lowest score; shape, colour and structure.

The lesion is sampled on polar rings around its centre of gravity. A reflection then is a reversal of the angles: the disc
that holds the lesion also holds each of its mirror images, so nothing is cut off, and a turn by 90 degrees or a mirrored
image only renames the angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cefm_core.abc_features.calibration import calibration
from cefm_core.abc_features.view import LesionView

#: Directions and rings of the polar grid; directions are a multiple of 8, rings have equal area.
DIRECTIONS, RINGS = 128, 40
#: Axes that are tried, evenly spaced over 180 degrees; the axis at right angles to number j is number j + AXES / 2.
AXES = DIRECTIONS // 2
#: Less of the lesion than this with a visible mirror image leaves the asymmetry unmeasured.
MIN_KNOWN_SHARE = 0.6


@dataclass(frozen=True)
class PolarLesion:
    """The lesion on a polar grid, and its differences under every reflection.

    Attributes:
        mask: (directions, rings) float32, share of lesion.
        known: (directions, rings) float32, 1 where the pixel is valid.
        in_frame: (directions, rings) float32, 1 where the pixel is inside the image.
        colour: (axes, directions / 2, rings) float32, squared CIELAB distance between each pixel and its mirror pixel.
        structure: Same shape, difference of local contrast between them, 0..1.
        cut: Whether the lesion reaches the end of the image, so that its whole shape is unknown.
        colour_scale: What colour differences are compared with, see :func:`colour_scale`.
    """

    mask: np.ndarray
    known: np.ndarray
    in_frame: np.ndarray
    colour: np.ndarray
    structure: np.ndarray
    cut: bool
    colour_scale: float


def mirror_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Return the indices (axes, directions / 2) of each direction and its mirror direction, for the axis at (j + 1) * 180 / AXES degrees.

    No direction lies on such an axis, so every sample has a partner and each pair comes once.
    """
    axes = np.arange(AXES)[:, None]
    steps = np.arange(DIRECTIONS // 2)[None, :]
    return (axes + 1 + steps) % DIRECTIONS, (axes - steps) % DIRECTIONS


def polar_grid(view: LesionView) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns and rows of the polar samples in the view, each (directions, rings) float32."""
    return polar_points(view.inside, view.centroid)


def polar_points(inside: np.ndarray, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return columns and rows of equal-area polar samples that reach the farthest pixel of a region; (h, w) bool, x and y."""
    rows, columns = np.nonzero(inside)
    cx, cy = centre
    radius = np.sqrt(((columns - cx) ** 2 + (rows - cy) ** 2).max()) + 1
    radii = radius * np.sqrt((np.arange(RINGS) + 0.5) / RINGS)
    angles = (np.arange(DIRECTIONS) + 0.5) * 2 * np.pi / DIRECTIONS
    return (cx + np.cos(angles)[:, None] * radii).astype(np.float32), (cy + np.sin(angles)[:, None] * radii).astype(np.float32)


def sample_polar(view: LesionView) -> PolarLesion:
    """Sample the view on its polar grid and compare every pixel with its mirror pixel under every axis."""
    x, y = polar_grid(view)
    lab = _sample(cv2.GaussianBlur(view.lab, (0, 0), 0.03 * view.diameter), x, y)
    contrast = _sample(local_contrast(view.lab[..., 0], view.diameter), x, y)
    first, second = mirror_pairs()
    colour = sum((channel[first] - channel[second]) ** 2 for channel in np.ascontiguousarray(np.moveaxis(lab, -1, 0)))
    a, b = contrast[first], contrast[second]
    structure = np.abs(a - b) / (a + b + 1.0)
    return PolarLesion(
        _sample(view.mask, x, y),
        _sample(view.valid.astype(np.float32), x, y),
        _sample(view.in_frame.astype(np.float32), x, y),
        colour,
        structure,
        view.cut,
        colour_scale(view),
    )


def colour_scale(view: LesionView) -> float:
    """Return contrast ** 0.25 times variety ** 0.5, in CIELAB units to the power 0.75.

    A given colour difference strikes the eye more in a pale, even lesion than in a dark, motley one. Contrast is the
    distance of the lesion's median colour from the skin's, variety the root mean squared distance from the lesion's mean.
    """
    model = calibration()["asymmetry"]
    usable = view.inside & view.valid
    lab = view.lab[usable if usable.any() else view.inside]
    contrast = model["neutral_contrast"] if view.skin is None else float(np.linalg.norm(np.median(lab, axis=0) - view.skin))
    variety = float(np.sqrt(lab.var(axis=0).sum()))
    return max(contrast, model["least_contrast"]) ** 0.25 * max(variety, model["least_variety"]) ** 0.5


def _sample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def local_contrast(lightness: np.ndarray, diameter: float) -> np.ndarray:
    """Return the local contrast of lightness: the smoothed size of its fine detail, in L units; (h, w) float32."""
    fine = cv2.GaussianBlur(lightness, (0, 0), 0.008 * diameter)
    detail = np.abs(fine - cv2.GaussianBlur(lightness, (0, 0), 0.04 * diameter))
    return cv2.GaussianBlur(detail, (0, 0), 0.04 * diameter)


def mirror_parts(polar: PolarLesion, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the mirror differences of every axis.

    Args:
        polar: The sampled lesion.
        mask: (directions, rings) another mask of it on the same grid, or None for its own.

    Returns:
        (axes, 3) shape 0..1, colour as root mean squared CIELAB distance, structure 0..1; and (axes,) share of the lesion whose mirror
        pixel is visible.
    """
    mask = polar.mask if mask is None else mask
    first, second = mirror_pairs()
    a, b = mask[first], mask[second]
    framed = polar.in_frame[first] * polar.in_frame[second]
    both, either = np.minimum(a, b), np.maximum(a, b)
    union = (either * framed).sum(axis=(1, 2))
    shape = ((either - both) * framed).sum(axis=(1, 2)) / np.maximum(union, 1e-6)
    weight = both * polar.known[first] * polar.known[second]
    total = np.maximum(weight.sum(axis=(1, 2)), 1e-6)
    colour = np.sqrt((polar.colour * weight).sum(axis=(1, 2)) / total)
    structure = (polar.structure * weight).sum(axis=(1, 2)) / total
    visible = ((a + b) * framed).sum(axis=(1, 2)) / np.maximum((a + b).sum(axis=(1, 2)), 1e-6)
    return np.stack([shape, colour, structure], axis=1), visible


def axis_scores(parts: np.ndarray, cut: bool, scale: float) -> np.ndarray:
    """Return the asymmetry 0..1 of axes from their mirror differences, by the calibrated logistic curve.

    Args:
        parts: (axes, 3) shape, colour, structure.
        cut: Whether the lesion is cut by the frame; its shape then speaks neither for nor against symmetry.
        scale: The lesion's colour scale.
    """
    model = calibration()["asymmetry"]
    shape = np.full(len(parts), model["neutral_shape"]) if cut else parts[:, 0]
    colour = np.log(np.maximum(parts[:, 1], 0.1) / scale)
    weights = model["shape_weight"], model["log_colour_weight"], model["structure_weight"]
    logit = model["intercept"] + weights[0] * shape + weights[1] * colour + weights[2] * parts[:, 2]
    return 1 / (1 + np.exp(-logit))


def best_pair(scores: np.ndarray) -> int:
    """Return the first axis of the perpendicular pair with the lowest summed score, 0 <= index < AXES / 2."""
    half = AXES // 2
    return int(np.argmin((scores[:half] + scores[half:]).round(9)))


def measure_asymmetry(polar: PolarLesion, mask: np.ndarray | None = None) -> tuple[dict, str | None]:
    """Measure A on the pair of perpendicular axes with the lowest score.

    Args:
        polar: The sampled lesion.
        mask: Another mask on the same grid (intervals), or None.

    Returns:
        Score, its parts and the axis, and None; or an empty dict and ``cut_by_frame``.
    """
    parts, visible = mirror_parts(polar, mask)
    scores = axis_scores(parts, polar.cut, polar.colour_scale)
    pair = best_pair(scores)
    other = pair + AXES // 2
    if min(visible[pair], visible[other]) < MIN_KNOWN_SHARE:
        return {}, "cut_by_frame"
    mean = (parts[pair] + parts[other]) / 2
    return {
        "asymmetry_score": float(scores[pair] + scores[other]),
        "asymmetry_axes": int((scores[[pair, other]] >= 0.5).sum()),
        "asymmetry_shape": float(mean[0]),
        "asymmetry_colour": float(mean[1]),
        "asymmetry_colour_relative": float(mean[1] / polar.colour_scale),
        "asymmetry_structure": float(mean[2]),
        "asymmetry_axis_deg": float((pair + 1) * 180 / AXES % 90),
        "asymmetry_visible_share": float(min(visible[pair], visible[other])),
    }, None
