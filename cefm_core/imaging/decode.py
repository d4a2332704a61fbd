"""Bytes to pixels and back: every image and mask of a run enters and leaves through here.

Strict on purpose: an image is decoded to its last row or rejected with a reason; whatever is changed on the way is named in
``repairs`` or ``notes``. Reading files or stores does not belong here, nor does any judgement of image quality.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cefm_core.errors import BadItemError
from cefm_core.imaging.dicom import decode_dicom, is_dicom
from cefm_core.imaging.masks import DecodedMask, decode_mask, decode_own_mask, encode_mask_png
from cefm_core.imaging.opening import is_16_bit, load_fully, open_picture, read_orientation, turn_upright
from cefm_core.imaging.pixels import to_rgb

__all__ = ["DecodedImage", "DecodedMask", "decode_image", "decode_mask", "decode_own_mask", "encode_jpeg", "encode_mask_png", "image_size"]


@dataclass(frozen=True)
class DecodedImage:
    """One fully decoded image.

    Attributes:
        rgb: Pixels, uint8 (H, W, 3), upright.
        repairs: What was changed or is peculiar, e.g. ``exif_orientation_6_applied``, ``16_bit_scaled``, ``greyscale_source``.
    """

    rgb: np.ndarray
    repairs: tuple[str, ...]

    @property
    def greyscale(self) -> bool:
        """Whether the source carries no colour, so that colour features mean nothing."""
        return "greyscale_source" in self.repairs


def decode_image(data: bytes, *, max_pixels: int, min_side_px: int = 1) -> DecodedImage:
    """Decode one image completely, upright, to 8-bit RGB.

    Args:
        data: The file's bytes; JPEG, PNG, TIFF, BMP or DICOM, told by content and never by name.
        max_pixels: Largest width x height accepted, in pixels, read from the header before any pixel is decoded.
        min_side_px: Shortest side accepted, in pixels.

    Returns:
        Pixels and the repairs made.

    Raises:
        BadItemError: ``empty_file``, ``not_an_image``, ``truncated`` (ends early or is damaged), ``too_large``, ``too_small`` or
            ``unsupported_mode`` (a format or sample type that has no agreed meaning as a dermoscopic photograph);
            of a DICOM file also those of :func:`cefm_core.imaging.dicom.decode_dicom`.
    """
    if is_dicom(data):
        return DecodedImage(*decode_dicom(data, max_pixels=max_pixels, min_side_px=min_side_px))
    picture = open_picture(data, max_pixels=max_pixels)
    width, height = picture.size
    if min(width, height) < min_side_px:
        raise BadItemError("too_small", f"{width} x {height} pixels; the shortest side must be at least {min_side_px}")
    orientation = read_orientation(picture)
    load_fully(picture, data)
    rgb, repairs = to_rgb(picture, sixteen_bit=is_16_bit(picture, data))
    if orientation != 1:
        rgb = turn_upright(rgb, orientation)
        repairs = (f"exif_orientation_{orientation}_applied", *repairs)
    return DecodedImage(rgb, repairs)


def image_size(data: bytes, *, max_pixels: int) -> tuple[int, int]:
    """Return (width, height) as stored, in pixels, from the header alone; raises like :func:`decode_image`."""
    width, height = open_picture(data, max_pixels=max_pixels).size
    return width, height


def encode_jpeg(rgb: np.ndarray, quality: int = 90) -> bytes:
    """Encode RGB uint8 (H, W, 3) as a baseline JPEG without any metadata; ``quality`` 1-100."""
    ok, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"cannot encode an array of shape {rgb.shape} as JPEG")
    return encoded.tobytes()
