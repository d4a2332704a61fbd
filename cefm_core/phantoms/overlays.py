"""What lies on the skin and in the light: hair, bubbles, glare, ink, printed scale, dark corners.

Each function changes a linear RGB picture, float32 (H, W, 3), in place or returns a new one; lengths are relative to the longer side.
"""

from __future__ import annotations

import cv2
import numpy as np

from cefm_core.phantoms.noise import field, octaves, smoothstep
from cefm_core.phantoms.spec import PhantomSpec


def add_hairs(rng: np.random.Generator, linear: np.ndarray, count: int) -> np.ndarray:
    """Draw ``count`` curved, tapered hairs with a soft shadow and, on some, a thin highlight; returns the hair's cover, 0..1.

    Down (vellus) hair is drawn beneath them on half of the pictures; it is too faint to be counted as cover.
    """
    unit = max(linear.shape[:2]) / 600
    if rng.random() < 0.5:
        pale = linear.mean(axis=(0, 1)) * np.array([0.72, 0.58, 0.5], np.float32)
        down, _ = _hair_layers(rng, linear.shape[:2], int(rng.integers(4, 26)), float(rng.uniform(0.35, 0.6)) * unit)
        linear += (float(rng.uniform(0.25, 0.6)) * down)[..., None] * (pale - linear)
    if not count:
        return np.zeros(linear.shape[:2], np.float32)
    colour = np.array([0.075, 0.035, 0.018], np.float32) * np.float32(rng.uniform(0.08, 1.3))
    cover, gloss = _hair_layers(rng, linear.shape[:2], count, float(rng.uniform(0.8, 1.7) ** 2) * unit)
    shift = np.array([[1, 0, 1.5 * unit], [0, 1, 2.0 * unit]], np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(cover, shift, cover.shape[::-1]), (0, 0), 2.2 * unit)
    linear *= (1 - 0.16 * shadow)[..., None]
    linear += (float(rng.uniform(0.8, 0.99)) * cover)[..., None] * (colour - linear)
    linear += (0.10 * gloss * cover)[..., None]
    return cover


def _hair_layers(rng: np.random.Generator, shape: tuple[int, int], count: int, thickness: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw hairs that lie roughly one way; return their cover and their highlights, float32 (H, W), 0..1."""
    body = np.zeros((2 * shape[0], 2 * shape[1]), np.uint8)
    shine = np.zeros_like(body)
    direction, spread = float(rng.uniform(0, np.pi)), float(rng.uniform(0.12, 0.7))
    for _ in range(count):
        _hair(rng, body, shine, direction + float(rng.normal(0, spread)), thickness * float(rng.uniform(0.6, 1.25)))
    cover, gloss = (cv2.resize(c, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255 for c in (body, shine))
    return cover, gloss


def _hair(rng: np.random.Generator, body: np.ndarray, shine: np.ndarray, direction: float, thickness: float) -> None:
    """Draw one hair on canvases of twice the picture's size."""
    height, width = body.shape
    longest = max(height, width)
    length = longest * float(rng.choice([rng.uniform(0.06, 0.2), rng.uniform(0.25, 0.6), rng.uniform(0.6, 1.1)], p=[0.3, 0.4, 0.3]))
    t = np.linspace(0, 1, 40)
    heading = direction + float(rng.normal(0, 0.6)) * t + float(rng.normal(0, 0.22)) * np.sin(t * np.pi * float(rng.uniform(0.8, 2)))
    steps = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), axis=0) * (length / len(t))
    middle = np.array([rng.uniform(-0.05, 1.05) * width, rng.uniform(-0.05, 1.05) * height])
    points = np.rint((steps - steps[len(t) // 2] + middle) * 16).astype(np.int32)
    taper = 2 * thickness * np.clip(1.15 * (1 - t) ** 0.6, 0.3, 1.0)
    glossy = bool(rng.random() < 0.25)
    for index in range(len(t) - 1):
        a, b = points[index].tolist(), points[index + 1].tolist()
        cv2.line(body, a, b, 255, max(round(float(taper[index])), 1), cv2.LINE_AA, shift=4)
        if glossy and 0.2 < t[index] < 0.7:
            cv2.line(shine, a, b, 255, 1, cv2.LINE_AA, shift=4)


def add_ruler(rng: np.random.Generator, linear: np.ndarray) -> None:
    """Print a millimetre scale on the glass: a straight line with ticks, the fifth longer, near one edge."""
    height, width = linear.shape[:2]
    longest = max(height, width)
    canvas = np.zeros((2 * height, 2 * width), np.uint8)
    tick = 2 * longest * float(rng.uniform(0.013, 0.024))
    count = int(rng.choice([10, 20, 25]))
    tilt = float(np.radians(rng.normal(0, 14)))
    at_bottom = bool(rng.random() < 0.8)
    x, y = 2 * width * float(rng.uniform(0.15, 0.45)), 2 * height * (0.88 if at_bottom else 0.12)
    along, up = np.array([np.cos(tilt), np.sin(tilt)]), np.array([np.sin(tilt), -np.cos(tilt)]) * (1 if at_bottom else -1)
    origin = np.array([x, y - (np.sin(tilt) * tick * count * 0.5)])
    pen = max(round(longest * 0.0034), 1)

    def stroke(a: np.ndarray, b: np.ndarray) -> None:
        cv2.line(canvas, np.rint(a * 16).astype(int).tolist(), np.rint(b * 16).astype(int).tolist(), 255, pen, cv2.LINE_AA, shift=4)

    stroke(origin, origin + along * tick * count)
    for index in range(count + 1):
        foot = origin + along * tick * index
        stroke(foot, foot + up * tick * (1.35 if index % 5 == 0 else 0.75))
    place = origin - along * tick * 0.2 - up * tick * 1.3
    cv2.putText(canvas, "mm", np.rint(place).astype(int).tolist(), cv2.FONT_HERSHEY_SIMPLEX, tick / 24, 255, pen, cv2.LINE_AA)
    alpha = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    linear += (float(rng.uniform(0.65, 0.95)) * alpha)[..., None] * (np.array([0.05, 0.045, 0.045], np.float32) - linear)


def add_bubbles(rng: np.random.Generator, linear: np.ndarray, count: int) -> None:
    """Draw gel bubbles: a thin dark ring with a brighter crescent inside."""
    height, width = linear.shape[:2]
    unit = max(height, width) / 600
    dark, bright = np.zeros((2 * height, 2 * width), np.uint8), np.zeros((2 * height, 2 * width), np.uint8)
    cluster = rng.uniform(0.1, 0.9, 2)
    for _ in range(count):
        place = cluster + rng.normal(0, 0.22, 2)
        centre = (round(2 * width * float(place[0])), round(2 * height * float(place[1])))
        radius = float(rng.gamma(2.0, 1.6) + 1.5) * 2 * unit
        stretch = (max(round(radius), 2), max(round(radius * float(rng.uniform(0.8, 1))), 2))
        turn = float(rng.uniform(0, 360))
        cv2.ellipse(dark, centre, stretch, turn, 0, 360, int(rng.integers(70, 190)), max(round(1.2 * unit), 1), cv2.LINE_AA)
        cv2.ellipse(bright, centre, (stretch[0] - 1, stretch[1] - 1), turn, 200, 320, 255, max(round(1.4 * unit), 1), cv2.LINE_AA)
    for canvas, light in ((dark, -0.35), (bright, 0.35)):
        alpha = cv2.GaussianBlur(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA), (0, 0), 0.6 * unit)
        linear *= 1 + np.float32(light / 255) * alpha.astype(np.float32)[..., None]


def add_glare(rng: np.random.Generator, linear: np.ndarray, depth: np.ndarray) -> None:
    """Add specular specks along skin lines, mostly on the lesion, whose scales catch the light."""
    shape = linear.shape[:2]
    unit = max(shape) / 600
    ridges = np.abs(octaves(rng, shape, 45, 2))
    where = smoothstep(field(rng, shape, 7), 0.7, 1.6) * (0.35 + 0.65 * smoothstep(depth, -0.2, 0.3))
    specks = smoothstep(0.10 - ridges, 0.0, 0.08) * where * smoothstep(field(rng, shape, 130), 0.1, 0.9)
    glint = cv2.GaussianBlur(specks, (0, 0), 0.6 * unit) * 0.9 + cv2.GaussianBlur(specks, (0, 0), 3 * unit) * 0.25
    linear += np.clip(glint, 0, 1)[..., None] * (np.array([0.95, 0.96, 1.0], np.float32) - linear)


def add_ink(rng: np.random.Generator, linear: np.ndarray) -> None:
    """Draw worn skin-marker strokes to the left and right of the middle."""
    height, width = linear.shape[:2]
    canvas = np.zeros((height, width), np.uint8)
    for side in (-1, 1):
        x = width * (0.5 + side * float(rng.uniform(0.33, 0.44)))
        y = height * float(rng.uniform(0.3, 0.7))
        for _ in range(int(rng.integers(2, 6))):
            a = np.array([x, y]) + rng.normal(0, 0.03, 2) * width
            b = a + rng.normal(0, 0.035, 2) * width
            cv2.line(
                canvas, np.rint(a).astype(int).tolist(), np.rint(b).astype(int).tolist(), 255, max(round(width * 0.006), 1), cv2.LINE_AA
            )
    worn = canvas.astype(np.float32) / 255 * smoothstep(octaves(rng, (height, width), 70, 3, gain=0.9), -0.7, 0.9)
    worn = cv2.GaussianBlur(worn, (0, 0), max(width / 600, 0.5))
    linear += (0.75 * worn)[..., None] * (np.array([0.10, 0.075, 0.24], np.float32) - linear)


def shade(rng: np.random.Generator, spec: PhantomSpec, linear: np.ndarray) -> None:
    """Let the light fall off from its centre, and darken the corners as the specification says."""
    height, width = linear.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    half = max(height, width) / 2
    x, y = (x - width / 2) / half, (y - height / 2) / half
    centre = rng.normal(0, 0.12, 2)
    distance = np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1]))
    light = 1 - np.float32(rng.uniform(0.06, 0.24)) * distance**2
    light *= 1 + np.float32(rng.normal(0, 0.05)) * x + np.float32(rng.normal(0, 0.04)) * y
    shift = rng.normal(0, 0.03, 2)
    radius = np.hypot(x - np.float32(shift[0]), y - np.float32(shift[1]))
    if spec.vignette == "corners":
        rim, soft = float(rng.uniform(0.99, 1.12)), float(rng.uniform(0.10, 0.3))
        light *= 1 - np.float32(0.93) * smoothstep(radius, rim - soft, rim + soft * 0.6)
    elif spec.vignette == "circle":
        rim, soft = float(rng.uniform(0.90, 1.0)), float(rng.uniform(0.02, 0.08))
        light *= 1 - np.float32(0.985) * smoothstep(radius, rim - soft, rim + soft)
        light *= 1 - np.float32(0.35) * smoothstep(radius, rim - 0.25, rim)
    # The colour of the light changes over the field, too.
    for channel in range(3):
        tilt = rng.normal(0, 0.022, 3)
        linear[..., channel] *= light * (1 + np.float32(tilt[0]) * x + np.float32(tilt[1]) * y + np.float32(1.3 * tilt[2]) * distance**2)
