"""From a specification to a picture: image, exact mask and the true parameters.

Files and data sets do not belong here; see ``dataset``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from cefm_core.phantoms import overlays
from cefm_core.phantoms.lesion import REACH, LesionFields, lesion_fields
from cefm_core.phantoms.noise import field
from cefm_core.phantoms.palette import individual_typology_angle, linear_to_lab, transmit, veil
from cefm_core.phantoms.skin import base_colour, skin_pigment
from cefm_core.phantoms.spec import PhantomSpec, sample_spec
from cefm_core.phantoms.structures import add_structures


@dataclass(frozen=True)
class Phantom:
    """One rendered dermoscopic phantom.

    Attributes:
        rgb: uint8 (H, W, 3).
        mask: bool (H, W), exactly the lesion.
        truth: The specification and what was measured on the noise-free fields: ``mask_area_px``, ``border_abrupt_count`` (0-8),
            ``asymmetric_axes`` (0-2), ``colours``, ``colour_share_<name>``, ``structures``, ``skin_ita_deg``, ``hair_share``, ...
    """

    rgb: np.ndarray
    mask: np.ndarray
    truth: dict[str, Any]


def render_phantom(spec: PhantomSpec | int, size: tuple[int, int] = (450, 600)) -> Phantom:
    """Render a phantom; equal arguments give equal bytes.

    Args:
        spec: A specification, or a seed for :func:`cefm_core.phantoms.spec.sample_spec`.
        size: (H, W) of the picture, in pixels.
    """
    if isinstance(spec, int):
        spec = sample_spec(spec)
    short = min(size)
    side = int(np.ceil(2 * REACH * spec.radius_share * short))
    fields = lesion_fields(spec, side)
    melanin = add_structures(spec, fields)
    placing = _placing(spec, size, side)
    depth = _place(fields.depth, placing, size, outside=-3.0)
    mask = _largest(depth > 0)
    linear = _paint(spec, fields, melanin, placing, size)
    cover = _overlay(spec, linear, depth)
    rgb = _photograph(spec, linear)
    return Phantom(rgb, mask, _truth(spec, fields, placing, mask, cover))


def _placing(spec: PhantomSpec, size: tuple[int, int], side: int) -> np.ndarray:
    """Return the 2x3 matrix that takes lesion-canvas pixels to picture pixels."""
    height, width = size
    scale = 2 * REACH * spec.radius_share * min(size) / side
    turn = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), spec.rotation_deg, scale)
    turn[0, 2] += width / 2 + spec.offset[0] * min(size) - side / 2
    turn[1, 2] += height / 2 + spec.offset[1] * min(size) - side / 2
    return turn


def _place(canvas: np.ndarray, placing: np.ndarray, size: tuple[int, int], outside: float = 0.0) -> np.ndarray:
    """Bring a lesion field into the picture, float32 (H, W)."""
    return cv2.warpAffine(canvas, placing, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=outside)


def _largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest component of a mask without its holes, bool (H, W)."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    if len(stats) < 2:
        return np.zeros_like(mask)
    kept = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    contours, _ = cv2.findContours(kept.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, contours, -1, 1, -1)
    return filled.astype(bool)


def _paint(spec: PhantomSpec, fields: LesionFields, melanin: np.ndarray, placing: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return skin and lesion in even light, linear RGB float32 (H, W, 3)."""
    skin_melanin, skin_blood = skin_pigment(spec, size)
    white = _place(fields.white, placing, size)
    thickness = _place(melanin, placing, size) + skin_melanin
    blood = _place(fields.blood, placing, size) + skin_blood
    halo = _place(cv2.GaussianBlur(fields.edge, (0, 0), 0.09 * fields.edge.shape[0] / (2 * REACH)), placing, size)
    blood = blood + np.float32(0.10) * halo
    base = base_colour(spec)
    linear = transmit(base, thickness, blood, spec.warmth)
    brightness = float(np.clip(base.mean() / 0.6, 0.35, 0.85))
    linear = veil(linear, _place(fields.veil, placing, size), brightness)
    pale = np.minimum(base * np.float32(1.22) + np.float32(0.05), 0.97)
    return linear + white[..., None] * (pale - linear)


def _overlay(spec: PhantomSpec, linear: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Add all that lies on the skin and the light's fall-off, in place; return the cover by hair, 0..1."""
    rng = np.random.default_rng([spec.view_seed, spec.seed, 40])
    if spec.ink:
        overlays.add_ink(rng, linear)
    cover = overlays.add_hairs(rng, linear, spec.hairs)
    if spec.bubbles:
        overlays.add_bubbles(rng, linear, spec.bubbles)
    if spec.glare:
        overlays.add_glare(rng, linear, depth)
    if spec.ruler:
        overlays.add_ruler(rng, linear)
    overlays.shade(rng, spec, linear)
    return cover


def _photograph(spec: PhantomSpec, linear: np.ndarray) -> np.ndarray:
    """Pass linear light through optics, sensor noise, tone curve and sharpening to 8-bit sRGB."""
    rng = np.random.default_rng([spec.view_seed, spec.seed, 50])
    height, width = linear.shape[:2]
    unit = max(height, width) / 600
    soft = cv2.GaussianBlur(linear, (0, 0), max(spec.blur_px * unit, 0.3))
    grain = 0.55 * rng.standard_normal((height, width), dtype=np.float32) + 0.45 * field(rng, (height, width), max(height, width) / 2)
    tint = cv2.merge([field(rng, (height, width), max(height, width) / 3) for _ in range(3)])
    noisy = soft * (np.float32(spec.exposure) + np.float32(0.016) * grain[..., None] + np.float32(0.016) * tint)
    encoded = _srgb(np.clip(noisy, 0, 1))
    contrast = np.float32(rng.uniform(0.0, 0.22))
    encoded = encoded + contrast * (encoded * encoded * (3 - 2 * encoded) - encoded)
    sharpen = np.float32(rng.uniform(0.0, 0.55))
    encoded = encoded + sharpen * (encoded - cv2.GaussianBlur(encoded, (0, 0), 1.4 * unit))
    return np.rint(np.clip(encoded, 0, 1) * 255).astype(np.uint8)


def _srgb(linear: np.ndarray) -> np.ndarray:
    """Encode linear RGB 0..1 by the sRGB curve (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, np.float32(1 / 2.4)) - 0.055).astype(np.float32)


def _truth(spec: PhantomSpec, fields: LesionFields, placing: np.ndarray, mask: np.ndarray, cover: np.ndarray) -> dict[str, Any]:
    """Collect the true parameters of a rendered phantom."""
    base_lab = linear_to_lab(base_colour(spec))
    truth: dict[str, Any] = {
        **asdict(spec),
        "mask_area_px": int(mask.sum()),
        "border_abrupt_count": int(sum(spec.abrupt_sectors)),
        "skin_ita_deg": individual_typology_angle(base_lab),
        "hair_share": float((cover > 0.4).mean()),
    }
    for name, region in zip(spec.colours, fields.regions, strict=True):
        truth[f"colour_share_{name}"] = float(_place(region, placing, mask.shape)[mask].mean()) if mask.any() else 0.0
    return truth
