"""The lesion in its own frame: outline, edge, colour regions and pigment thickness.

The frame is centred on the lesion, its x axis is the long axis, and its unit is the mean radius; the fields cover ``REACH`` units to
each side. Where the lesion lies in the picture does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cefm_core.phantoms.noise import field, octaves, radial_field, smoothstep
from cefm_core.phantoms.palette import PIGMENT
from cefm_core.phantoms.spec import PhantomSpec

REACH = 1.8
_ABRUPT_WIDTH, _GRADUAL_WIDTH = 0.08, 0.46
_FIRST_REGION_RADIUS = {"white": 0.30, "red": 0.36, "blue_gray": 0.36, "black": 0.36, "dark_brown": 0.55, "light_brown": 0.55}


@dataclass(frozen=True)
class LesionFields:
    """Fields of one lesion, each float32 (S, S) over ``REACH`` units to each side.

    Attributes:
        depth: Signed distance-like height, positive inside the outline, 1 at the centre.
        edge: Share of pigment left by the fading edge, 0..1.
        melanin: Thickness of melanin.
        blood: Thickness of blood.
        veil: Share of blue-gray veil, 0..1.
        white: Share of white scar, 0..1.
        regions: Weight of each colour of the specification, in its order, (n, S, S); they add up to 1.
    """

    depth: np.ndarray
    edge: np.ndarray
    melanin: np.ndarray
    blood: np.ndarray
    veil: np.ndarray
    white: np.ndarray
    regions: np.ndarray


def frame(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of each pixel of a lesion canvas, in mean radii, float32 (S, S)."""
    axis = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1) * np.float32(REACH)
    return np.broadcast_to(axis, (side, side)), np.broadcast_to(axis[:, None], (side, side))


def lesion_fields(spec: PhantomSpec, side: int) -> LesionFields:
    """Make the fields of a lesion.

    Args:
        spec: What to show.
        side: Side S of the canvas, in pixels; the pattern is the same at every side.
    """
    depth, angle = outline(spec, side)
    edge = _edge(spec, depth, angle)
    regions = _regions(spec, side)
    pigment = np.array([PIGMENT[name] for name in spec.colours], np.float32)
    melanin, blood, veil, white = np.tensordot(pigment.T, regions, axes=1)
    rng = np.random.default_rng([spec.seed, 4])
    shape = (side, side)
    x, y = frame(side)
    radius = np.hypot(x, y)
    spokes = radial_field(rng, angle, radius, 60, 7) * smoothstep(radius, 0.25, 0.8)
    # Pigment varies in proportion to itself, over patches of every size: a log-normal field, not a gradient.
    patches = 0.25 * octaves(rng, shape, 6, 3) + 0.09 * octaves(rng, shape, 40, 3, gain=0.8) + float(rng.uniform(0, 0.09)) * spokes
    centre_weight = float(rng.normal(0.10, 0.24)) * (1 - 2 * np.clip(1 - depth, 0, 1) ** 2)
    thickness = np.exp(patches + centre_weight)
    # Lesions of dark skin are darker themselves.
    melanin = melanin * spec.darkness * (1 + 0.4 * spec.skin_melanin) * thickness * edge
    blood = (blood + spec.redness) * edge * np.exp(0.35 * octaves(rng, shape, 12, 3))
    deep = smoothstep(depth + 0.06 * spokes, 0.0, 0.35)
    haze = 1 + 0.45 * octaves(rng, shape, 9, 4, gain=0.85)
    veil = np.clip(veil * haze, 0, 0.80) * deep
    white = np.clip(white * haze, 0, 0.95) * deep
    return LesionFields(depth, edge, melanin.astype(np.float32), blood.astype(np.float32), veil, white, regions)


def outline(spec: PhantomSpec, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the signed depth and the polar angle (radians) of each pixel, float32 (S, S) each."""
    rng = np.random.default_rng([spec.seed, 3])
    x, y = frame(side)
    ragged = spec.irregularity
    shape = (side, side)
    coarse, fine = 0.015 + 0.05 * ragged, 0.004 + 0.014 * ragged
    warp = [coarse * octaves(rng, shape, 8, 2) + fine * octaves(rng, shape, 30, 3) for _ in range(2)]
    stretch = np.float32(np.sqrt(spec.elongation))
    x, y = x / stretch + warp[0], y * stretch + warp[1]
    angle = np.arctan2(y, x)
    radius = np.ones(shape, np.float32)
    for order, cosine, sine in _harmonics(rng, spec):
        radius += np.float32(cosine) * np.cos(order * angle) + np.float32(sine) * np.sin(order * angle)
    return 1 - np.hypot(x, y) / np.clip(radius, 0.5, 1.4), angle


def _harmonics(rng: np.random.Generator, spec: PhantomSpec) -> list[tuple[int, float, float]]:
    """Return (order, cosine, sine) of the outline; the wanted symmetry decides which terms may stand."""
    size = 0.02 + 0.10 * spec.irregularity
    terms = []
    for order in range(2, 10):
        cosine, sine = rng.normal(0, size / order**0.8, 2)
        if spec.asymmetric_axes < 2:
            sine = 0.0
        if spec.asymmetric_axes == 0 and order % 2:
            cosine = 0.0
        if order == 3 and spec.asymmetric_axes:
            cosine += np.copysign(0.055, cosine)
        if order in (2, 3) and spec.asymmetric_axes == 2:
            sine += np.copysign(0.055, sine)
        terms.append((order, float(cosine), float(sine)))
    return terms


def _edge(spec: PhantomSpec, depth: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the share of pigment left near the outline: a cliff in abrupt sectors, a broken-up slope elsewhere."""
    rng = np.random.default_rng([spec.seed, 5])
    widths = np.array([_ABRUPT_WIDTH if abrupt else _GRADUAL_WIDTH for abrupt in spec.abrupt_sectors], np.float32)
    centres = (np.arange(-1, 9) + 0.5) * np.pi / 4
    around = np.interp(np.mod(angle, 2 * np.pi), centres, np.concatenate([widths[-1:], widths, widths[:1]]))
    x, y = frame(depth.shape[0])
    fingers = radial_field(rng, angle, np.hypot(x, y), 90, 8)
    crumbling = depth + around * (0.15 * octaves(rng, depth.shape, 9, 4, gain=0.55) + 0.06 * fingers)
    return smoothstep(crumbling, -0.40 * around, 0.68 * around)


def _regions(spec: PhantomSpec, side: int) -> np.ndarray:
    """Return the weight of each colour, (n, S, S): the ground colour, overlaid in order by patches of the others."""
    rng = np.random.default_rng([spec.seed, 6])
    x, y = frame(side)
    weights = np.zeros((len(spec.colours), side, side), np.float32)
    weights[0] = 1
    taken: list[tuple[float, float]] = []
    for index, name in enumerate(spec.colours[1:], start=1):
        patch = np.zeros((side, side), np.float32)
        wobble = 0.30 * octaves(rng, (side, side), 10, 4, gain=0.65)
        radius = _FIRST_REGION_RADIUS[name] * float(rng.uniform(0.85, 1.2)) / (1 + 0.12 * (len(spec.colours) - 2))
        for centre_x, centre_y, size in _patches(rng, spec, radius, taken):
            distance = np.hypot(x - centre_x, y - centre_y) / size
            softness = float(rng.uniform(0.35, 0.9)) * (1.0 if "brown" in name else 1.5)
            patch = np.maximum(patch, smoothstep(1 - distance + wobble, -softness / 2, softness / 2))
        weights *= 1 - patch
        weights[index] += patch
    return weights


def _patches(
    rng: np.random.Generator, spec: PhantomSpec, radius: float, taken: list[tuple[float, float]]
) -> list[tuple[float, float, float]]:
    """Place the patches of one colour as (x, y, radius), as symmetric as the specification wants; notes centres in ``taken``."""
    if spec.asymmetric_axes == 0:
        if not taken:
            taken.append((0.0, 0.0))
            return [(0.0, 0.0, radius * 1.15)]
        along = float(rng.uniform(0.35, 0.6))
        turn = bool(rng.random() < 0.5)
        x, y = (along, 0.0) if turn else (0.0, along)
        return [(x, y, radius * 0.75), (-x, -y, radius * 0.75)]
    best = max((_candidate(rng, spec) for _ in range(8)), key=lambda p: min((np.hypot(p[0] - a, p[1] - b) for a, b in taken), default=1.0))
    taken.append(best)
    patches = [(best[0], best[1], radius)]
    if spec.asymmetric_axes == 2 and rng.random() < 0.6:
        x, y = _candidate(rng, spec)
        patches.append((x, y, radius * float(rng.uniform(0.3, 0.6))))
    return patches


def _candidate(rng: np.random.Generator, spec: PhantomSpec) -> tuple[float, float]:
    """Draw a patch centre off the middle; on the x axis where that axis is to stay symmetric."""
    away = float(rng.uniform(0.28, 0.62))
    turn = float(rng.uniform(0, 2 * np.pi)) if spec.asymmetric_axes == 2 else float(rng.choice([0.0, np.pi]))
    return away * float(np.cos(turn)), away * float(np.sin(turn))


def mottle(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return a patchy map for fading structures in and out, float32 (S, S), 0..1."""
    return smoothstep(field(rng, (side, side), 9), -0.9, 0.5)
