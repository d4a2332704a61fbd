"""Dermoscopic structures drawn into a lesion's pigment: network, dots, globules, streaks, structureless areas.

Which of them a lesion has is decided by the specification, not here.
"""

from __future__ import annotations

import cv2
import numpy as np

from cefm_core.phantoms.lesion import REACH, LesionFields, frame, mottle
from cefm_core.phantoms.noise import field, octaves, smoothstep
from cefm_core.phantoms.spec import PhantomSpec


def add_structures(spec: PhantomSpec, fields: LesionFields) -> np.ndarray:
    """Return the melanin of ``fields`` with the structures of ``spec`` drawn in, float32 (S, S)."""
    side = fields.depth.shape[0]
    plain = np.zeros((side, side), np.float32)
    if "structureless" in spec.structures:
        plain = _structureless(spec, fields)
    melanin = fields.melanin
    if "network" in spec.structures:
        lines = _network(spec, side) * mottle(np.random.default_rng([spec.seed, 20]), side) * (1 - plain)
        rim = smoothstep(fields.depth, -0.02, 0.10) * (1 - 0.75 * smoothstep(fields.depth, 0.35, 0.9))
        # Lines are thicker pigment, holes thinner; the mean stays nearly as it was.
        visible = rim / (1 + (melanin / 2.4) ** 2)  # a mesh drowns in thick pigment
        melanin = melanin * (1 + visible * (0.95 * lines - 0.26)) + 0.16 * rim * lines * fields.edge
    else:
        melanin = melanin * (1 + 0.16 * octaves(np.random.default_rng([spec.seed, 21]), (side, side), 90, 2) * (1 - plain))
    spots = np.zeros((side, side), np.float32)
    if "globules" in spec.structures:
        spots += 0.75 * _spots(spec, fields, radius=(0.022, 0.052), count=(45, 150), stream=22) * (1 - 0.7 * plain)
    if "dots" in spec.structures:
        spots += 1.25 * _spots(spec, fields, radius=(0.010, 0.020), count=(50, 220), stream=23)
    if "streaks" in spec.structures:
        spots += 1.3 * _streaks(spec, fields)
    thin = 1 - smoothstep(fields.white, 0.3, 0.7)
    return (melanin + spots * thin * (0.45 + 0.55 * fields.edge)).astype(np.float32)


def _structureless(spec: PhantomSpec, fields: LesionFields) -> np.ndarray:
    """Return a large area without structure, 0..1: central where the lesion is symmetric, to one side otherwise."""
    rng = np.random.default_rng([spec.seed, 24])
    side = fields.depth.shape[0]
    x, y = frame(side)
    away = 0.0 if spec.asymmetric_axes == 0 else 0.45
    turn = 0.0 if spec.asymmetric_axes < 2 else float(rng.uniform(0, 2 * np.pi))
    distance = np.hypot(x - away * np.cos(turn), y - away * np.sin(turn))
    return smoothstep(0.62 - distance + 0.12 * octaves(rng, (side, side), 14, 2), -0.1, 0.1)


def _network(spec: PhantomSpec, side: int) -> np.ndarray:
    """Return a mesh of pigmented lines, float32 (S, S), 0 in the holes to 1 on the lines.

    Seeds on a jittered hexagonal lattice are grown to cells; lines run where cells meet, with a width that varies from place to place.
    """
    rng = np.random.default_rng([spec.seed, 25])
    pitch = float(rng.uniform(0.042, 0.072))
    rows = np.arange(-REACH, REACH, pitch * 0.87)
    columns = np.arange(-REACH, REACH, pitch)
    seeds_x = columns[None, :] + pitch * 0.5 * (np.arange(len(rows)) % 2)[:, None] + rng.normal(0, 0.33 * pitch, (len(rows), len(columns)))
    seeds_y = rows[:, None] + rng.normal(0, 0.33 * pitch, (len(rows), len(columns)))
    detail = 2 if side < 700 else 1
    size = side * detail
    column = np.clip(((seeds_x.ravel() + REACH) / (2 * REACH) * size).astype(int), 0, size - 1)
    row = np.clip(((seeds_y.ravel() + REACH) / (2 * REACH) * size).astype(int), 0, size - 1)
    ground = np.full((size, size), 255, np.uint8)
    ground[row, column] = 0
    _, labels = cv2.distanceTransformWithLabels(ground, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    between = np.full((size, size), 255, np.uint8)
    between[:, 1:][labels[:, 1:] != labels[:, :-1]] = 0
    between[1:][labels[1:] != labels[:-1]] = 0
    distance = cv2.distanceTransform(between, cv2.DIST_L2, 3) * np.float32(2 * REACH / size)
    width = pitch * (0.17 + 0.05 * field(rng, (size, size), 30))
    lines = np.exp(-((distance / np.maximum(width, 0.06 * pitch)) ** 2))
    if detail > 1:
        lines = cv2.resize(lines, (side, side), interpolation=cv2.INTER_AREA)
    strength = np.clip(0.75 + 0.33 * field(rng, (side, side), 40), 0.1, 1.4)
    return (lines * strength).astype(np.float32)


def _spots(spec: PhantomSpec, fields: LesionFields, radius: tuple[float, float], count: tuple[int, int], stream: int) -> np.ndarray:
    """Return roundish clods inside the lesion, float32 (S, S), 0..1; mirrored about the axes that are to stay symmetric."""
    rng = np.random.default_rng([spec.seed, stream])
    side = fields.depth.shape[0]
    scale = side / (2 * REACH)
    number = int(rng.integers(*count))
    places = rng.uniform(-1.25, 1.25, (number * 3, 2))
    # Clods gather: only places where a patchy map is high are taken.
    crowding = field(rng, (64, 64), 7)
    strength = rng.uniform(0.35, 1.0, number * 3)
    sizes = rng.uniform(*radius, number * 3) * rng.choice([1.0, 1.0, 1.35], number * 3)
    canvas = np.zeros((side, side), np.float32)
    drawn = 0
    for (x, y), power, size in zip(places, strength, sizes, strict=True):
        if drawn >= number:
            break
        for px, py in _mirrored(spec, float(x), float(y)):
            column, row = int((px + REACH) * scale), int((py + REACH) * scale)
            cell = crowding[int((py + REACH) / (2 * REACH) * 64), int((px + REACH) / (2 * REACH) * 64)]
            if fields.depth[row, column] > 0.06 and (cell > -0.2 or spec.asymmetric_axes < 2):
                _stamp(canvas, (px + REACH) * scale, (py + REACH) * scale, max(size * scale, 0.7), float(power))
                drawn += 1
    soften = max(0.006 * scale, 0.5)
    ragged = canvas * (1 + 0.25 * field(rng, (side, side), 120))
    return np.clip(cv2.GaussianBlur(ragged, (0, 0), soften), 0, 1.3)


def _mirrored(spec: PhantomSpec, x: float, y: float) -> list[tuple[float, float]]:
    """Return the place and its mirror images about the axes that are to stay symmetric."""
    if spec.asymmetric_axes == 2:
        return [(x, y)]
    if spec.asymmetric_axes == 1:
        return [(x, y), (x, -y)]
    return [(x, y), (x, -y), (-x, y), (-x, -y)]


def _stamp(canvas: np.ndarray, column: float, row: float, radius: float, power: float) -> None:
    """Draw a soft-edged disc of ``power`` where the canvas is weaker."""
    reach = int(radius * 1.6) + 2
    top, left = max(int(row) - reach, 0), max(int(column) - reach, 0)
    window = canvas[top : int(row) + reach + 1, left : int(column) + reach + 1]
    y = np.arange(top, top + window.shape[0], dtype=np.float32)[:, None] - row
    x = np.arange(left, left + window.shape[1], dtype=np.float32) - column
    disc = np.clip((radius - np.sqrt(x * x + y * y)) / max(radius * 0.35, 0.8) + 0.5, 0, 1) * power
    np.maximum(window, disc, out=window)


def _streaks(spec: PhantomSpec, fields: LesionFields) -> np.ndarray:
    """Return radial projections at the rim, float32 (S, S), 0..1: over part of it, or all round where symmetric."""
    rng = np.random.default_rng([spec.seed, 26])
    side = fields.depth.shape[0]
    scale = side / (2 * REACH)
    canvas = np.zeros((side, side), np.uint8)
    arc = 2 * np.pi if spec.asymmetric_axes == 0 else float(rng.uniform(1.6, 3.0))
    start = float(rng.uniform(0, 2 * np.pi)) if spec.asymmetric_axes == 2 else -arc / 2
    radii = np.linspace(0.3, 1.9, 160)
    for turn in start + np.sort(rng.uniform(0, arc, int(14 * arc))):
        inside = _depth_along(fields.depth, radii, turn)
        rim = radii[int(np.argmax(inside < 0.0))] if (inside < 0).any() else 1.0
        length = float(rng.uniform(0.10, 0.26))
        bend = float(rng.normal(0, 0.05))
        points = [(rim - length * (1 - t), turn + bend * t * t) for t in np.linspace(0, 1, 6)]
        pixels = [((r * np.cos(a) + REACH) * scale, (r * np.sin(a) + REACH) * scale) for r, a in points]
        for index, (begin, end) in enumerate(zip(pixels[:-1], pixels[1:], strict=True)):
            width = max(round(scale * 0.026 * (1 - 0.12 * index)), 1)
            power = int(255 * (1 - 0.13 * index))
            _line(canvas, begin, end, power, width)
        if rng.random() < 0.4:
            cv2.circle(canvas, (round(pixels[-1][0]), round(pixels[-1][1])), max(round(scale * 0.022), 1), 190, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), max(0.009 * scale, 0.6)) * 0.8


def _depth_along(depth: np.ndarray, radii: np.ndarray, turn: float) -> np.ndarray:
    """Sample the depth field along a ray from the centre."""
    side = depth.shape[0]
    column = np.clip(((radii * np.cos(turn) + REACH) / (2 * REACH) * side).astype(int), 0, side - 1)
    row = np.clip(((radii * np.sin(turn) + REACH) / (2 * REACH) * side).astype(int), 0, side - 1)
    return depth[row, column]


def _line(canvas: np.ndarray, begin: tuple[float, float], end: tuple[float, float], power: int, width: int) -> None:
    """Draw an anti-aliased line with sub-pixel ends."""
    a, b = (tuple(int(round(v * 16)) for v in point) for point in (begin, end))
    cv2.line(canvas, a, b, power, width, cv2.LINE_AA, shift=4)
