"""Lesion masks from and to files: one meaning (True = lesion) whatever convention the file follows.

Measuring masks or cleaning their shape does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from cefm_core.errors import BadItemError
from cefm_core.imaging.opening import load_fully, open_picture, read_orientation, turn_upright

_MAX_MASK_PIXELS = 400_000_000
_MAX_UNCLEAR_SHARE = 0.25
_FEW_PIXELS = 16
_CHANNEL_TOLERANCE = 12


@dataclass(frozen=True)
class DecodedMask:
    """One mask at its image's size.

    Attributes:
        mask: bool (H, W), True inside the lesion.
        notes: What was done or is peculiar, e.g. ``mask_not_binary:394``, ``mask_resized_from_350x250``, ``mask_empty``.
    """

    mask: np.ndarray
    notes: tuple[str, ...]


def decode_mask(data: bytes, shape: tuple[int, int]) -> DecodedMask:
    """Decode a reference mask that belongs to an image of the given size.

    Values 0/1, 0/255, 0/65535 and any other single non-zero value mean the same; several values are thresholded at half
    scale and noted. A mask of the same aspect ratio is resized by nearest neighbour and noted; one that is only a few pixels off,
    transposed or of another aspect is rejected, because a stretch would shift the lesion.

    Args:
        data: The mask file's bytes; JPEG, PNG, TIFF or BMP.
        shape: (H, W) of the image, in pixels, after its own EXIF orientation.

    Raises:
        BadItemError: The codes of :func:`cefm_core.imaging.decode.decode_image`; ``mask_size_mismatch``; ``mask_inverted`` (lesion
            along the whole frame: inverted, or no lesion at all); ``mask_unclear`` (more than a quarter of the pixels lie between
            the two values, as in a photograph or a superpixel map).
    """
    picture = open_picture(data, max_pixels=_MAX_MASK_PIXELS)
    orientation = read_orientation(picture)
    width, height = picture.size[::-1] if orientation >= 5 else picture.size
    _require_fitting_size((height, width), shape)
    load_fully(picture, data)
    notes: list[str] = []
    values = _single_channel(picture, notes)
    if orientation != 1:
        values = turn_upright(values, orientation)
        notes.append(f"exif_orientation_{orientation}_applied")
    mask = _binarise(values, notes)
    if looks_inverted(mask):
        raise BadItemError("mask_inverted", f"{mask.mean():.0%} of the mask is lesion, along the whole frame; invert it or leave it out")
    if mask.shape != tuple(shape):
        notes.append(f"mask_resized_from_{width}x{height}")
        mask = cv2.resize(mask.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
    if not mask.any():
        notes.append("mask_empty")
    return DecodedMask(mask, tuple(notes))


def encode_mask_png(mask: np.ndarray) -> bytes:
    """Encode a bool mask (H, W) as a lossless two-valued PNG of one bit a pixel, which readers see as 0 and 255."""
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(mask, dtype=bool)).save(stream, format="PNG", compress_level=4)
    return stream.getvalue()


def decode_own_mask(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decode a mask that :func:`encode_mask_png` wrote; bool (H, W). It may be full or empty: nothing is guessed of its own writer.

    Args:
        data: The PNG's bytes, verified by the caller.
        shape: (H, W) of its image.

    Raises:
        BadItemError: ``mask_size_mismatch``; or a code of :func:`cefm_core.imaging.decode.decode_image`.
    """
    picture = open_picture(data, max_pixels=_MAX_MASK_PIXELS)
    if picture.size[::-1] != tuple(shape):
        raise BadItemError(
            "mask_size_mismatch", f"mask {picture.size[::-1]} and image {tuple(shape)} differ in size; segment the image again"
        )
    load_fully(picture, data)
    return np.asarray(picture) > 0


def looks_inverted(mask: np.ndarray) -> bool:
    """Tell whether background and lesion seem exchanged: lesion in all corners and nearly all along the frame.

    A real lesion that fills the picture still leaves skin somewhere on the frame; see the tests for the share of real masks hit.
    """
    frame = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    corners = mask[[0, 0, -1, -1], [0, -1, 0, -1]]
    return bool(corners.all() and frame.mean() > 0.98)


def _require_fitting_size(found: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Raise ``mask_size_mismatch`` unless sizes (H, W) are equal, or one is a plain scaling of the other."""
    if found == tuple(wanted):
        return
    (h, w), (height, width) = found, wanted
    few_pixels_off = abs(h - height) <= _FEW_PIXELS and abs(w - width) <= _FEW_PIXELS
    same_aspect = abs(h - w * height / width) < 1 or abs(w - h * width / height) < 1
    if few_pixels_off or not same_aspect:
        raise BadItemError("mask_size_mismatch", f"mask {w} x {h}, image {width} x {height}; export the mask at the image's size")


def _single_channel(picture: Image.Image, notes: list[str]) -> np.ndarray:
    """Return the one channel that carries the mask, uint8 or uint16 (H, W); appends to ``notes``."""
    if picture.mode in ("1", "L", "I;16", "I;16B", "I;16L", "I;16N"):
        return np.array(picture.convert("L") if picture.mode == "1" else picture)
    if picture.mode == "P":
        indices = np.array(picture)
        # Label tools store class 1 in any display colour, so two indices are read as such; more are read by brightness.
        return indices if indices.max() <= 1 else np.array(picture.convert("L"))
    if picture.mode in ("LA", "PA", "RGBA"):
        rgba = np.array(picture.convert("RGBA"))
        if (rgba[..., :3] == rgba[0, 0, :3]).all() and (rgba[..., 3] != rgba[0, 0, 3]).any():
            notes.append("mask_from_alpha")
            return rgba[..., 3]
        channels = rgba[..., :3]
    elif picture.mode in ("RGB", "CMYK", "YCbCr"):
        channels = np.array(picture.convert("RGB"))
    else:
        raise BadItemError("unsupported_mode", f"sample type {picture.mode!r} of a mask; save it as an 8-bit greyscale PNG")
    brightest = channels.max(axis=2)
    if int((brightest - channels.min(axis=2)).max()) > _CHANNEL_TOLERANCE:
        notes.append("mask_coloured")
    return brightest


def _binarise(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Threshold at half scale; a single non-zero value is the scale, otherwise 255 or 65535; appends to ``notes``."""
    counts = np.bincount(values.ravel(), minlength=256)
    levels = np.flatnonzero(counts)
    top = int(levels[-1])
    if len(levels) <= 2 and (levels[0] == 0 or len(levels) == 1):
        return values > 0
    scale = 255 if top <= 255 else 65535
    if top <= scale // 2:
        notes.append(f"mask_scale_{top}")
        scale = top
    between = int(counts[1:scale].sum())
    if between:
        if (counts[scale // 16 : scale - scale // 16].sum()) > _MAX_UNCLEAR_SHARE * values.size:
            raise BadItemError("mask_unclear", f"{len(levels)} grey levels over most of the picture; this is no two-valued mask")
        notes.append(f"mask_not_binary:{between}")
    return values > scale / 2
