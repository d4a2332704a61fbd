"""What the manifest has to know of one image's pixels; labels and splits do not belong here."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from cefm_core.config import ManifestConfig
from cefm_core.imaging.decode import decode_image
from cefm_core.manifest.local_features import local_features


def inspect_image(data: bytes, config: ManifestConfig) -> dict[str, Any]:
    """Decode one image fully and measure what the manifest holds of it.

    Args:
        data: Bytes of the source file.
        config: Limits on the size, and whether local features are wanted.

    Returns:
        ``width_px``, ``height_px`` (pixels, upright); ``dhash``: the difference hash of the centre square in 16 hex digits, a colon,
        and the thumbprint that confirms near duplicates in 128 more (the manifest holds the two in columns of their own);
        ``local_features`` of the whole picture, "" where none are wanted or found; ``flags``: the repairs that decoding needed.

    Raises:
        BadItemError: The image cannot be used; the codes are those of :func:`cefm_core.imaging.decode.decode_image`.
    """
    decoded = decode_image(data, max_pixels=config.max_pixels, min_side_px=config.min_side_px)
    height, width = decoded.rgb.shape[:2]
    whole = cv2.cvtColor(decoded.rgb, cv2.COLOR_RGB2GRAY)
    grey = centre_square(whole)
    return {
        "width_px": width,
        "height_px": height,
        "dhash": f"{difference_hash(grey)}:{thumbprint(grey)}",
        "local_features": local_features(whole) if config.least_matches else "",
        "flags": list(decoded.repairs),
    }


def centre_square(grey: np.ndarray) -> np.ndarray:
    """Return the largest centred square: what is left of a picture in the collections that cut all to one shape."""
    height, width = grey.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return grey[top : top + side, left : left + side]


def difference_hash(grey: np.ndarray) -> str:
    """Return the 64-bit difference hash: at 9 x 8, whether each pixel is darker than its right neighbour.

    Args:
        grey: uint8 (H, W).

    Returns:
        16 hex digits, the first bit being the top left pair.
    """
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def thumbprint(grey: np.ndarray) -> str:
    """Return the uint8 grey image (H, W) averaged to 8 x 8, row by row, as 128 hex digits."""
    return cv2.resize(grey, (8, 8), interpolation=cv2.INTER_AREA).tobytes().hex()
