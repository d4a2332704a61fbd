"""Augmentation of training pairs for the coarse network: geometry, light, artefacts that are not lesion, and empty skin.

Every function takes its random generator and changes nothing in place. Reading data and the training loop do not belong here.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from cefm_core.segmentation.training_data import Image, Plane

STICKERS = ((0, 110, 220), (0, 170, 120), (245, 210, 40), (240, 120, 20), (220, 30, 60))  # brighter than any blue naevus
INK = (90, 40, 150)


def augment_pair(rgb: Image, mask: Plane, rng: Generator) -> tuple[Image, Plane]:
    """Return one augmented pair.

    Args:
        rgb: uint8 (side, side, 3).
        mask: uint8 (side, side), 0..255 (the covered share of each pixel).
        rng: Source of every random choice.
    """
    rgb, mask = jitter_geometry(rgb, mask, rng)
    rgb = jitter_light(rgb, rng)
    draws = rng.random(5)
    if draws[0] < 0.08:
        rgb, mask = add_vignette(rgb, mask, rng)
    if draws[1] < 0.08:
        rgb = add_hair(rgb, rng)
    if draws[2] < 0.05:
        rgb = add_ruler(rgb, rng)
    if draws[3] < 0.03:
        rgb, mask = add_sticker(rgb, mask, rng)
    if draws[4] < 0.1:
        rgb = degrade(rgb, rng)
    return np.ascontiguousarray(rgb), np.ascontiguousarray(mask)


def jitter_geometry(rgb: Image, mask: Plane, rng: Generator) -> tuple[Image, Plane]:
    """Flip, turn by any multiple of 90 degrees and up to 20 more, zoom 0.8-1.35, stretch 0.85-1.18, shift by up to 8 % of the side."""
    side = rgb.shape[0]
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    rgb, mask = np.rot90(rgb, turns), np.rot90(mask, turns)
    if flip:
        rgb, mask = rgb[:, ::-1], mask[:, ::-1]
    angle = np.deg2rad(rng.uniform(-20, 20)) * (rng.random() < 0.5)
    zoom, stretch = np.exp(rng.uniform(np.log(0.8), np.log(1.35))), np.exp(rng.uniform(-0.16, 0.16) / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([zoom * stretch, zoom / stretch])
    centre = np.full(2, (side - 1) / 2)
    offset = centre - linear @ centre + rng.uniform(-0.08, 0.08, 2) * side
    matrix = np.column_stack([linear, offset]).astype(np.float32)
    border = cv2.BORDER_REFLECT_101
    turned = cv2.warpAffine(np.ascontiguousarray(rgb), matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    return turned, cv2.warpAffine(np.ascontiguousarray(mask), matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)


def jitter_light(rgb: Image, rng: Generator) -> Image:
    """Change gamma, contrast, saturation and the gain of each channel, all in one lookup and one mixing matrix."""
    gamma = np.exp(rng.uniform(-0.25, 0.25))
    gains = np.exp(rng.uniform(-0.08, 0.08, 3)) * np.exp(rng.uniform(-0.15, 0.15))
    ramp = np.arange(256) / 255
    tables = 255 * (np.clip(ramp, 0, 1)[:, None] ** gamma) * gains
    tables = (tables - 128) * rng.uniform(0.85, 1.15) + 128
    table = np.clip(tables, 0, 255).astype(np.uint8)[None]
    rgb = cv2.LUT(rgb, table)
    saturation = rng.uniform(0.8, 1.2)
    mix = saturation * np.eye(3) + (1 - saturation) * np.array([[0.299, 0.587, 0.114]] * 3)
    return cv2.transform(rgb, mix)


def add_vignette(rgb: Image, mask: Plane, rng: Generator) -> tuple[Image, Plane]:
    """Blacken everything outside a circle, as a dermatoscope's tube does; what is black is not lesion."""
    side = rgb.shape[0]
    field = np.zeros((side, side), np.uint8)
    centre = tuple(int(side * v) for v in rng.uniform(0.42, 0.58, 2))
    axes = tuple(int(side * rng.uniform(0.48, 0.66) * v) for v in rng.uniform(0.9, 1.1, 2))
    cv2.ellipse(field, centre, axes, 0, 0, 360, 255, -1)
    soft = cv2.GaussianBlur(field, (0, 0), rng.uniform(0.5, 4)).astype(np.float32) / 255
    dark = np.float32(rng.uniform(0, 25))
    shaded = rgb * soft[..., None] + dark * (1 - soft[..., None])
    return shaded.astype(np.uint8), np.where(field > 0, mask, 0).astype(np.uint8)


def add_hair(rgb: Image, rng: Generator) -> Image:
    """Draw 2 to 12 thin dark or pale curves across the image."""
    side, result = rgb.shape[0], rgb.copy()
    tone = rng.uniform(10, 80) if rng.random() < 0.85 else rng.uniform(170, 230)
    for _ in range(int(rng.integers(2, 13))):
        start, middle, end = (rng.uniform(-0.1, 1.1, 2) * side for _ in range(3))
        t = np.linspace(0, 1, 24)[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        colour = tuple(float(np.clip(tone * g, 0, 255)) for g in (1.1, 1.0, 0.9))
        cv2.polylines(result, [np.round(curve * 8).astype(np.int32)], False, colour, int(rng.integers(1, 3)), cv2.LINE_AA, 3)
    return result


def add_ruler(rgb: Image, rng: Generator) -> Image:
    """Draw a scale's ticks along one side of the frame."""
    side, result = rgb.shape[0], rgb.copy()
    step, base = rng.uniform(4, 14), rng.uniform(0.82, 0.98) * side
    tone = rng.uniform(0, 70) if rng.random() < 0.7 else rng.uniform(200, 255)
    colour = (tone, tone, tone)
    if rng.random() < 0.7:
        cv2.line(result, (0, int(base)), (side, int(base)), colour, 1, cv2.LINE_AA)
    for index, x in enumerate(np.arange(rng.uniform(0, step), side, step)):
        length = side * (0.06 if index % 5 == 0 else 0.03)
        cv2.line(result, (int(x), int(base)), (int(x), int(base - length)), colour, int(rng.integers(1, 3)), cv2.LINE_AA)
    return np.rot90(result, int(rng.integers(4)))


def add_sticker(rgb: Image, mask: Plane, rng: Generator) -> tuple[Image, Plane]:
    """Lay a coloured disc or an ink stroke over the rim of the frame; what lies under it is not marked lesion."""
    side, result = rgb.shape[0], rgb.copy()
    cover = np.zeros((side, side), np.uint8)
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.3) * side
    centre = np.round(side / 2 + side * 0.58 * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    disc = rng.random() < 0.7
    if disc:
        cv2.circle(cover, (int(centre[0]), int(centre[1])), int(radius), 255, -1, cv2.LINE_AA)
    else:
        end = np.round(rng.uniform(0, 1, 2) * side * 0.3 + (centre > side / 2) * side * 0.7).astype(int)
        cv2.line(cover, (int(centre[0]), int(centre[1])), (int(end[0]), int(end[1])), 255, int(rng.integers(2, 7)), cv2.LINE_AA)
    tone = STICKERS[int(rng.integers(len(STICKERS)))] if disc else INK
    colour = np.clip(np.array(tone) * rng.uniform(0.9, 1.15), 0, 255)
    share = cover[..., None].astype(np.float32) / 255
    result = result * (1 - share) + (colour + rng.normal(0, 3, result.shape)) * share
    return np.clip(result, 0, 255).astype(np.uint8), np.where(cover > 127, 0, mask).astype(np.uint8)


def degrade(rgb: Image, rng: Generator) -> Image:
    """Blur, or add grain."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.5, 1.6))
    return np.clip(rgb + rng.normal(0, rng.uniform(2, 9), rgb.shape), 0, 255).astype(np.uint8)


def empty_skin(rgb: Image, mask: Plane, rng: Generator) -> tuple[Image, Plane] | None:
    """Return a square of skin away from the lesion, enlarged to the full side, with an empty mask; None where there is no room."""
    side = rgb.shape[0]
    wide = cv2.dilate((mask > 8).astype(np.uint8), np.ones((17, 17), np.uint8))
    integral = cv2.integral(wide)
    for share in (0.5, 0.4, 0.32, 0.25):
        size = int(side * share)
        counts = integral[size:, size:] - integral[:-size, size:] - integral[size:, :-size] + integral[:-size, :-size]
        rows, columns = np.nonzero(counts == 0)
        if len(rows):
            pick = int(rng.integers(len(rows)))
            patch = rgb[rows[pick] : rows[pick] + size, columns[pick] : columns[pick] + size]
            return cv2.resize(patch, (side, side), interpolation=cv2.INTER_LINEAR), np.zeros_like(mask)
    return None


def smooth_skin(side: int, rng: Generator) -> tuple[Image, Plane]:
    """Draw plain skin: one tone, a slow gradient and fine grain, with an empty mask."""
    tone = np.array([rng.uniform(120, 235), 0, 0])
    tone[1] = tone[0] * rng.uniform(0.6, 0.85)
    tone[2] = tone[1] * rng.uniform(0.75, 1.0)
    slow = cv2.resize(rng.normal(0, rng.uniform(0, 8), (4, 4)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, rng.uniform(0, 4), (side, side, 1))
    return np.clip(tone + slow[..., None] + grain, 0, 255).astype(np.uint8), np.zeros((side, side), np.uint8)
