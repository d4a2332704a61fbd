"""Pairs of images that show the same picture: copies that are re-compressed, resized, brightened, or cut to their centre square.

Difference hashes give candidates, thumbnails confirm them. A hash alone will not do: among 5,475 dermoscopic images 7,710
pairs lie within 8 bits of 64, and all but some dozens are merely dark round lesions. Copies that are rotated, mirrored or
cut to a detail are not found (docs/duplicates.md says how many are); the source's own lesion, patient and duplicate groups cover those.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np

from cefm_core.errors import ConfigurationError
from cefm_core.manifest.names import image_id_of

# With eleven bands, hashes that differ in at most 8 bits agree in at least three of them.
_BANDS = 11
_AGREEING = 3
MAX_BITS = _BANDS - _AGREEING
# Below this standard deviation in grey levels a thumbnail is blank, and blank pictures all look alike.
MIN_CONTRAST = 2.0


def near_duplicate_pairs(
    dhashes: Sequence[str], thumbprints: Sequence[str | None], *, max_bits: int, min_correlation: float
) -> list[tuple[int, int]]:
    """Find pairs of near-identical pictures without comparing all with all.

    Args:
        dhashes: 64-bit hashes as 16 hex digits.
        thumbprints: 8 x 8 grey thumbnails as hex, or None; an image without one has no near duplicates.
        max_bits: Most differing hash bits, 0 to 8.
        min_correlation: Least Pearson correlation of the thumbnails, which ignores brightness and contrast.

    Returns:
        Pairs of indices, the smaller first, sorted.

    Raises:
        ConfigurationError: ``max_bits`` is beyond what the bands can find.
    """
    if not 0 <= max_bits <= MAX_BITS:
        raise ConfigurationError(f"manifest.near_duplicate_bits: {max_bits} is not within 0..{MAX_BITS}")
    usable, thumbs = _usable(thumbprints)
    hashes = np.array([int(dhashes[i], 16) for i in usable], dtype=np.uint64)
    found: list[np.ndarray] = []
    for first, second in _candidates(hashes):
        close = np.bitwise_count(hashes[first] ^ hashes[second]) <= max_bits
        first, second = first[close], second[close]
        alike = np.einsum("ij,ij->i", thumbs[first], thumbs[second]) >= min_correlation
        found.append(np.stack([first[alike], second[alike]], axis=1))
    if not found:
        return []
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return sorted((min(usable[a], usable[b]), max(usable[a], usable[b])) for a, b in pairs.tolist())


def read_duplicate_list(data: bytes, filename: str) -> list[tuple[str, str]]:
    """Read a curated list of duplicate pairs, such as the 2020 challenge's (``image_name_1``, ``image_name_2``).

    Args:
        data: CSV (UTF-8) with two columns of image names, with or without an extension.
        filename: Its name, for messages.

    Raises:
        ConfigurationError: The file is not such a list, or an id in it is unusable.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"duplicates list {filename}: not UTF-8 CSV: {error}") from error
    wrong = [number for number, row in enumerate(rows, start=1) if len(row) != 2 or not all(cell.strip() for cell in row)]
    if len(rows) < 2 or wrong:
        raise ConfigurationError(
            f"duplicates list {filename}: expected a header and rows of two image names; wrong rows: {wrong[:10] or 'all'}"
        )
    return [(image_id_of(one), image_id_of(two)) for one, two in rows[1:]]


def _usable(thumbprints: Sequence[str | None]) -> tuple[list[int], np.ndarray]:
    """Return the indices of images that are not blank, and their thumbnails with mean 0 and length 1, float32 (n, 64)."""
    have = [i for i, text in enumerate(thumbprints) if text]
    raw = np.array([np.frombuffer(bytes.fromhex(thumbprints[i] or ""), np.uint8) for i in have], dtype=np.float32).reshape(len(have), 64)
    raw -= raw.mean(axis=1, keepdims=True)
    keep = raw.std(axis=1) >= MIN_CONTRAST
    raw = raw[keep]
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    return [i for i, k in zip(have, keep, strict=True) if k], raw


def _candidates(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield arrays of index pairs whose hashes agree in three bands; work grows with the fill of the buckets, not with all pairs."""
    bands = _bands(hashes)
    for one, two, three in combinations(range(_BANDS), _AGREEING):
        key = (bands[one] << 12) | (bands[two] << 6) | bands[three]
        order = np.argsort(key, kind="stable")
        key = key[order]
        start = np.arange(len(key))
        for step in range(1, len(key)):
            # What differs from its neighbour `step` places on also differs from all later ones.
            start = start[start + step < len(key)]
            start = start[key[start] == key[start + step]]
            if not len(start):
                break
            yield order[start], order[start + step]


def _bands(hashes: np.ndarray) -> list[np.ndarray]:
    """Cut hashes into bands of 5 or 6 bits from all over the picture: neighbouring bits say much the same of a round lesion."""
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1).astype(np.int32)
    # 27 shares no factor with 64, so that every bit is taken once, far from the one before.
    mixed = np.arange(64) * 27 % 64
    edges = np.linspace(0, 64, _BANDS + 1).round().astype(int)
    return [bits[:, mixed[a:b]] @ (1 << np.arange(b - a, dtype=np.int32)) for a, b in pairwise(edges)]
