"""One agreed, recorded conversion to 8-bit RGB for each sample type that occurs in dermoscopic archives.

Opening, limits and orientation do not belong here; see ``decode``.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from cefm_core.errors import BadItemError


def to_rgb(picture: Image.Image, *, sixteen_bit: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert a loaded Pillow image to RGB.

    Args:
        picture: Any Pillow image whose pixels are loaded.
        sixteen_bit: Whether the source held 16 bits a sample (Pillow keeps them only for greyscale).

    Returns:
        Pixels, uint8 (H, W, 3), and the names of the conversions made, in order.

    Raises:
        BadItemError: ``unsupported_mode`` where a sample type has no agreed scale (32-bit integers, floats, CIELAB).
    """
    repairs: list[str] = []
    if getattr(picture, "n_frames", 1) > 1:
        repairs.append("first_frame_taken")
    if sixteen_bit:
        repairs.append("16_bit_scaled")
    if picture.mode == "P":
        repairs.append("palette_converted")
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode in ("1", "L", "RGB") and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode in ("PA", "RGBa", "La"):
        picture = picture.convert("LA" if picture.mode == "La" else "RGBA")
    if picture.mode in ("RGBA", "LA"):
        rgb = _composite_on_white(picture, repairs)
    else:
        rgb = _opaque_to_rgb(picture, repairs)
    if not _has_colour(rgb):
        repairs.append("greyscale_source")
    return rgb, tuple(repairs)


def scale_16_bit(values: np.ndarray) -> np.ndarray:
    """Scale 0..65535 to 0..255, rounded half to even, as uint8 of the same shape."""
    return np.rint(values.astype(np.float32) * np.float32(255 / 65535)).astype(np.uint8)


def _opaque_to_rgb(picture: Image.Image, repairs: list[str]) -> np.ndarray:
    """Convert a picture without transparency; appends to ``repairs``."""
    mode = picture.mode
    if mode == "RGB":
        return np.array(picture)
    if mode in ("L", "1"):
        grey = np.array(picture.convert("L"))
        return np.repeat(grey[..., None], 3, axis=2)
    if mode.startswith("I;16"):
        return np.repeat(scale_16_bit(np.array(picture))[..., None], 3, axis=2)
    if mode in ("CMYK", "YCbCr", "RGBX"):
        repairs.append(f"{mode.lower()}_converted")
        return np.array(picture.convert("RGB"))
    raise BadItemError("unsupported_mode", f"sample type {mode!r} has no agreed scale; save the image as 8-bit RGB")


def _composite_on_white(picture: Image.Image, repairs: list[str]) -> np.ndarray:
    """Blend colour over white by alpha, so that hidden colour under transparent pixels does not come back."""
    rgba = np.array(picture.convert("RGBA"))
    alpha = rgba[..., 3:].astype(np.uint16)
    if (alpha == 255).all():
        repairs.append("opaque_alpha_dropped")
        return np.ascontiguousarray(rgba[..., :3])
    repairs.append("alpha_composited_on_white")
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _has_colour(rgb: np.ndarray) -> bool:
    """Tell whether any pixel differs between channels; a coarse sample answers for nearly every colour image."""
    return any((sample[..., :1] != sample[..., 1:]).any() for sample in (rgb[::16, ::16], rgb))
