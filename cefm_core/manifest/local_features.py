"""Local features of an image: what a second photograph of the same lesion, turned, shifted, nearer or in other light, still shows.

SIFT (Lowe 2004) in its root form (Arandjelovic and Zisserman 2012), cut down to 128 bits a feature by the signs of fixed projections
(Charikar 2002), so that a million images' features fit on a disk. Comparing images belongs to ``same_lesion``.
"""

from __future__ import annotations

import base64
from functools import lru_cache

import cv2
import numpy as np

#: Features kept of an image, the strongest first.
MOST = 200
#: Short side at which features are looked for, in pixels.
SIDE_PX = 192
#: A longer picture is made smaller than that.
MOST_ASPECT = 4
_BYTES = 16
_SEED = 7


def local_features(grey: np.ndarray) -> str:
    """Find and pack the features of an image.

    Args:
        grey: uint8 (H, W).

    Returns:
        Base64 of at most ``MOST`` records of 18 bytes: 128 bits of description, then x and y in 255ths of the long side.
    """
    height, width = grey.shape
    scale = min(SIDE_PX / min(height, width), MOST_ASPECT * SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    flat = cv2.createCLAHE(3.0, (8, 8)).apply(small)
    # Faint texture counts: a lesion's network is not a building's edge.
    keypoints, described = cv2.SIFT.create(MOST, contrastThreshold=0.01).detectAndCompute(flat, None)
    if described is None:
        return ""
    order = np.argsort([-point.response for point in keypoints], kind="stable")[:MOST]
    places = np.array([keypoints[i].pt for i in order]) * (255 / max(size))
    records = np.hstack([_bits(described[order]), np.clip(np.rint(places), 0, 255).astype(np.uint8)])
    return base64.b64encode(records.tobytes()).decode("ascii")


def unpack(packed: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits, uint64 (m, 2), and the places, float32 (m, 2) in 255ths of the long side, of what ``local_features`` packed."""
    records = np.frombuffer(base64.b64decode(packed), np.uint8).reshape(-1, _BYTES + 2)
    return np.ascontiguousarray(records[:, :_BYTES]).view(np.uint64), records[:, _BYTES:].astype(np.float32)


def _bits(described: np.ndarray) -> np.ndarray:
    """Return 128 bits of each descriptor: uint8 (m, 16) from float32 (m, 128)."""
    rooted = np.sqrt(described / np.maximum(described.sum(axis=1, keepdims=True), 1e-9))
    return np.packbits(rooted @ _projections().T > 0, axis=1)


@lru_cache(maxsize=1)
def _projections() -> np.ndarray:
    """Return 128 orthogonal rows of ones and minus ones, all but one of which sum to nothing; (128, 128) float32."""
    from scipy.linalg import hadamard

    return hadamard(128).astype(np.float32)[:, np.random.default_rng(_SEED).permutation(128)]
