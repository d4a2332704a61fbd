"""From bytes to a loaded Pillow image: what is accepted, how large, and whether it is all there.

Conversions of sample types (``pixels``) and the meaning of masks (``masks``) do not belong here.
"""

from __future__ import annotations

import zlib
from io import BytesIO

import numpy as np
from PIL import BmpImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from cefm_core.errors import BadItemError

# The plugin classes are used directly, not Image.open: only these formats can ever run, and the size can be compared with the
# caller's own limit before Pillow's process-wide one, which stays as it is.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"II*\x00": TiffImagePlugin.TiffImageFile,
    b"MM\x00*": TiffImagePlugin.TiffImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}
_UNREAD: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftyp", "HEIC or AVIF"),
    (4, b"jP  ", "JPEG 2000"),
    (128, b"DICM", "DICOM, as a mask,"),
)
_ORIENTATION_TAG = 0x0112
_BITS_PER_SAMPLE_TAG = 258
_SEGMENTS_WITHOUT_LENGTH = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})


def open_picture(data: bytes, *, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header only; return a Pillow image whose size is known and whose pixels are not yet decoded.

    Raises:
        BadItemError: ``empty_file``, ``not_an_image``, ``truncated``, ``unsupported_mode`` or ``too_large``.
    """
    if not data:
        raise BadItemError("empty_file", "the file has no bytes; fetch it again")
    reader = next((cls for magic, cls in _READERS.items() if data.startswith(magic)), None)
    if reader is None:
        name = next((name for offset, magic, name in _UNREAD if data[offset : offset + len(magic)] == magic), None)
        if name:
            raise BadItemError("unsupported_mode", f"{name} is not read; convert the image to PNG, TIFF or JPEG")
        raise BadItemError("not_an_image", "the content is no JPEG, PNG, TIFF or BMP, whatever the name says")
    try:
        picture = reader(BytesIO(data))
    except Exception as error:  # Pillow's header parsers raise many types on damaged input
        code = "not_an_image" if reader is BmpImagePlugin.BmpImageFile else "truncated"
        raise BadItemError(code, f"the header is cut off or damaged ({error})") from error
    width, height = picture.size
    if width * height > max_pixels:
        raise BadItemError("too_large", f"{width} x {height} = {width * height} pixels; the limit is {max_pixels}")
    if width < 1 or height < 1:
        raise BadItemError("not_an_image", f"the header declares {width} x {height} pixels")
    return picture


def load_fully(picture: ImageFile.ImageFile, data: bytes) -> None:
    """Decode every pixel of ``picture``, whose bytes are ``data``.

    Raises:
        BadItemError: ``truncated``: the data end before the last pixel, the closing marker is missing, or the stream is damaged.
    """
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        _require_jpeg_end(data)
    elif isinstance(picture, PngImagePlugin.PngImageFile):
        _require_sound_png(data)
    try:
        picture.load()
    except Exception as error:  # OSError, SyntaxError, struct.error, zlib.error, ... by format
        raise BadItemError("truncated", f"the data end early or are damaged ({error}); fetch the file again") from error
    if isinstance(picture, JpegImagePlugin.JpegImageFile) and _ends_in_decoder_grey(picture):
        raise BadItemError("truncated", "the JPEG's picture data stop before its last row; fetch the file again")


def _require_jpeg_end(data: bytes) -> None:
    """Raise ``truncated`` unless an end-of-image marker follows the start of the first scan.

    A file that was pre-allocated and only partly filled ends in zeros, which a decoder happily reads as flat blocks; FF D9 cannot
    occur inside entropy-coded data, and markers of an embedded thumbnail lie before the scan.
    """
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xDA:
            if data.rfind(b"\xff\xd9", position) < 0:
                break
            return
        if marker == 0xFF:
            position += 1
        elif marker in _SEGMENTS_WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise BadItemError("truncated", "the JPEG has no end-of-image marker; fetch the file again")


def _require_sound_png(data: bytes) -> None:
    """Raise ``truncated`` unless every chunk up to IEND is whole and has its checksum (Pillow skips those of the pixels)."""
    view = memoryview(data)
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data) or zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            break
        if view[position + 4 : position + 8] == b"IEND":
            return
        position = end + 4
    raise BadItemError("truncated", f"the PNG is cut off or damaged after byte {position}; fetch the file again")


def _ends_in_decoder_grey(picture: JpegImagePlugin.JpegImageFile) -> bool:
    """Tell whether blocks are missing at the end although an end marker stands there.

    libjpeg leaves missing blocks at exactly mid-grey, from the middle of a row of blocks to the end. A picture padded with that
    grey has whole grey rows, so only a run that begins inside a row of blocks counts (on real pictures, 210 of 222 such cuts are seen).
    """
    width, height = picture.size
    corner = np.asarray(picture.crop((max(width - 8, 0), max(height - 8, 0), width, height)))
    if corner.dtype != np.uint8 or not (corner == 128).all():
        return False
    pixels = np.asarray(picture)
    grey = (pixels == 128).all(axis=2) if pixels.ndim == 3 else pixels == 128
    first_whole_row = height - int(np.argmin(np.append(grey.all(axis=1)[::-1], False)))
    band_end = first_whole_row - first_whole_row % 8 if first_whole_row < height else height
    band = grey[max(band_end - 6, 0) : max(band_end - 2, 0)]
    if not len(band):
        return False
    first_grey = width - int(np.argmin(np.append(band.all(axis=0)[::-1], False)))
    # Chroma upsampling spoils one pixel beside the last real block.
    return 0 < first_grey < width and first_grey % 8 <= 1


def read_orientation(picture: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation 1-8; 1 where there is none, or none that can be read."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (1-8, TIFF 6.0 / EXIF 2.32, tag 0x0112) to an array (H, W, ...)."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def is_16_bit(picture: ImageFile.ImageFile, data: bytes) -> bool:
    """Tell whether the source holds 16 bits a sample; ``data`` are the bytes that ``picture`` was opened from."""
    if isinstance(picture, PngImagePlugin.PngImageFile):
        return data[24] == 16
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        bits = picture.tag_v2.get(_BITS_PER_SAMPLE_TAG, 8)
        return 16 in (bits if isinstance(bits, tuple) else (bits,))
    return False
