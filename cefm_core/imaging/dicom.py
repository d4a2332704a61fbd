"""Dermoscopic photographs in DICOM (visible-light and dermoscopic photography objects): their pixels, and nothing else of them.

Of the header only what describes the pixels is read. Patient, study and device never leave this module, not even in messages;
an image that says text is burned into its pixels is refused.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from cefm_core.errors import BadItemError

if TYPE_CHECKING:
    from pydicom import Dataset

# DICOM PS3.4, B.5: storage classes under which photographs of skin are kept.
_PHOTOGRAPHS: dict[str, str] = {
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography Image",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image",
}
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR")


def is_dicom(data: bytes) -> bool:
    """Return whether the bytes are a DICOM file (PS3.10: ``DICM`` after a preamble of 128 bytes)."""
    return data[128:132] == b"DICM"


def decode_dicom(data: bytes, *, max_pixels: int, min_side_px: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode one photograph.

    Args:
        data: The file's bytes.
        max_pixels: Largest width x height accepted, in pixels, read from the header before any pixel is decoded.
        min_side_px: Shortest side accepted, in pixels.

    Returns:
        Pixels, uint8 (H, W, 3), and the conversions made.

    Raises:
        BadItemError: ``dicom_not_photograph``, ``dicom_multiframe``, ``dicom_burned_in_text``, ``dicom_unsupported``, ``truncated``,
            ``too_large`` or ``too_small``.
    """
    header = _header(data)
    _require_photograph(header)
    width, height = int(header.get("Columns") or 0), int(header.get("Rows") or 0)
    if width * height > max_pixels:
        raise BadItemError("too_large", f"{width} x {height} = {width * height} pixels; the limit is {max_pixels}")
    if min(width, height) < min_side_px:
        raise BadItemError("too_small", f"{width} x {height} pixels; the shortest side must be at least {min_side_px}")
    pixels = _pixels(header)
    return _to_rgb(pixels, header)


def _header(data: bytes) -> Dataset:
    from pydicom import dcmread

    try:
        header = dcmread(BytesIO(data))
        header.decode()
    except Exception as error:  # the parser raises many types on damaged input, and their texts may quote the header
        raise BadItemError("truncated", f"the DICOM file is cut off or damaged ({type(error).__name__})") from None
    return header


def _require_photograph(header: Dataset) -> None:
    """Raise unless the file holds one photograph without text in its pixels."""
    kind = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
    if not kind:
        raise BadItemError("truncated", "the DICOM file does not say what it holds, or ends before it does; fetch it again")
    if kind not in _PHOTOGRAPHS:
        what = getattr(header.get("SOPClassUID"), "name", kind)
        raise BadItemError("dicom_not_photograph", f"the file holds no photograph but: {what}; give {', '.join(_PHOTOGRAPHS.values())}")
    if "PixelData" not in header:
        raise BadItemError("truncated", "the DICOM file has no pixels, or ends before them; fetch it again")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise BadItemError("dicom_multiframe", f"the file holds {frames} frames; save the one to be judged as a file of its own")
    if str(header.get("BurnedInAnnotation") or "").upper() == "YES":
        raise BadItemError("dicom_burned_in_text", "the file says that text is burned into its pixels; remove it first")
    photometric = str(header.get("PhotometricInterpretation") or "")
    if photometric not in (*_GREY, *_COLOUR):
        raise BadItemError(
            "dicom_unsupported", f"photometric interpretation {photometric or 'not stated'} has no agreed meaning as a photograph"
        )


def _pixels(header: Dataset) -> np.ndarray:
    """Decode the pixels; YBR becomes RGB here."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = header.file_meta.get("TransferSyntaxUID")
    try:
        decoder = get_decoder(syntax)
        readable = not decoder.UID.is_encapsulated or decoder.is_available
    except (NotImplementedError, ValueError, TypeError):
        readable = False
    if not readable:
        name = getattr(syntax, "name", "not stated")
        raise BadItemError("dicom_unsupported", f"transfer syntax {name} is not read; save as JPEG baseline or uncompressed")
    try:
        return pixel_array(header)
    except Exception as error:  # the decoders raise many types, and their texts may quote the header
        raise BadItemError("truncated", f"the pixels are cut off or damaged ({type(error).__name__}); fetch the file again") from None


def _to_rgb(pixels: np.ndarray, header: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    from pydicom.pixels import apply_color_lut

    repairs = ["dicom_photograph"]
    photometric, bits = str(header.PhotometricInterpretation), int(header.BitsStored)
    if photometric == "PALETTE COLOR":
        repairs.append("palette_converted")
        pixels, bits = apply_color_lut(pixels, header), int(header.RedPaletteColorLookupTableDescriptor[2])
    elif photometric.startswith("YBR"):
        repairs.append(f"{photometric.lower()}_converted")
    if int(header.get("PixelRepresentation") or 0):
        raise BadItemError("dicom_unsupported", "the pixels are signed numbers, which have no agreed scale as a photograph")
    if bits != 8:
        repairs.append(f"{bits}_bit_scaled")
        pixels = np.rint(pixels.astype(np.float32) * np.float32(255 / (2**bits - 1))).clip(0, 255)
    rgb: Any = np.ascontiguousarray(pixels.astype(np.uint8))
    if photometric in _GREY:
        rgb = 255 - rgb if photometric == "MONOCHROME1" else rgb
        rgb = np.repeat(rgb[..., None], 3, axis=2)
    if not (rgb[..., :1] != rgb[..., 1:]).any():
        repairs.append("greyscale_source")
    return rgb, tuple(repairs)
