"""Pairs of images that show one lesion, told by the pictures alone: enough local features that lie in the same arrangement.

A hash finds copies; a second photograph of a lesion is another picture, and many collections do not say which images belong together. Two
images that share many features in one arrangement (a turn, a shift and one scale) show the same skin: features alone are common,
their arrangement is not. Nothing is claimed of a lesion that is photographed out of focus, or years later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from cefm_core.manifest.local_features import unpack

# Looking features up: tables keyed by some of the 128 bits. More images need longer keys, or most that meet do so by chance.
_TABLES = 32
_KEY_BITS = 17
_MOST_ALIKE = 20
_ALIKE_BITS = 5
# What a single meeting counts at most: two images that meet once have met by chance.
_LEAST_SCORE = 0.5
_SEED = 3
# Comparing two images: the partners each image is compared with, the pairs compared at once.
_PARTNERS = 6
_BLOCK = 64
# A feature has found its like where the next best is clearly worse (Lowe 2004).
_RATIO = 0.9
_TOLERANCE = 4.0
_LEAST_SCALE, _MOST_SCALE = 0.4, 2.5
# What lies within this distance of one straight line may be a printed scale, which is the same in the pictures of many lesions.
_LINE_HALF_WIDTH = 10.0
_LEAST_OFF_LINE = 5
_LINES_TRIED = 40
_BITS = 128


def same_lesion_pairs(packed: Sequence[str], least_matches: int) -> list[tuple[int, int]]:
    """Find the pairs of images that show the same skin.

    Args:
        packed: Features of each image, as :func:`cefm_core.manifest.local_features.local_features` packs them.
        least_matches: Fewest features of one image that lie in the other in the same arrangement.

    Returns:
        Pairs of indices, the smaller first, sorted. They do not depend on the order of the images, but which pairs are compared at all
        depends on what other images there are.
    """
    unpacked = [unpack(text) for text in packed]
    counts = np.array([len(bits) for bits, _ in unpacked])
    if (counts >= least_matches).sum() < 2:
        return []
    bits = np.concatenate([bits for bits, _ in unpacked])
    owner = np.repeat(np.arange(len(packed)), counts)
    # The work is done outside the interpreter's lock; what is multiplied is too small to be shared among threads once more.
    with ThreadPoolExecutor(os.cpu_count()) as pool, threadpool_limits(1):
        candidates = _candidates(bits, owner, len(packed), pool)
        blocks = [candidates[start : start + _BLOCK] for start in range(0, len(candidates), _BLOCK)]
        found = pool.map(lambda block: _confirmed(block, unpacked, least_matches), blocks)
        return sorted(pair for pairs in found for pair in pairs)


def _candidates(bits: np.ndarray, owner: np.ndarray, images: int, pool: ThreadPoolExecutor) -> np.ndarray:
    """Return for every image the few others that share most features with it; int64 (pairs, 2), the smaller first, sorted.

    A feature that many share says little, as in the weighting of words in texts (Sivic and Zisserman 2003).
    """
    random = np.random.default_rng(_SEED)
    length = _KEY_BITS + int(np.ceil(np.log2(images)))
    tables = [random.permutation(_BITS)[:length] for _ in range(_TABLES)]
    met = np.concatenate(list(pool.map(lambda chosen: _meetings(_keys(bits, chosen), owner, images), tables)))
    if not len(met):
        return np.zeros((0, 2), np.int64)
    met.sort()
    weights = np.float32(1) / (met & ((1 << _ALIKE_BITS) - 1)).astype(np.float32)
    met >>= _ALIKE_BITS
    starts = np.flatnonzero(np.r_[True, met[1:] != met[:-1]])
    score = np.add.reduceat(weights, starts)
    often = score > _LEAST_SCORE
    pairs, score = met[starts[often]], score[often]
    del met, weights, starts, often
    ends = np.stack([pairs // images, pairs % images], axis=1)
    kept = np.zeros(len(pairs), bool)
    for column in ends.T:
        order = np.lexsort((pairs, -score, column))
        ranked = column[order]
        first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        rank = np.arange(len(ranked)) - np.repeat(first, np.diff(np.r_[first, len(ranked)]))
        kept[order[rank < _PARTNERS]] = True
    return ends[kept]


def _meetings(key: np.ndarray, owner: np.ndarray, images: int) -> np.ndarray:
    """Return the pairs of images that share a key, each as one number, and in its last bits how many features share that key; int64."""
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    alike = np.diff(np.r_[starts, len(key)])
    alike = np.repeat(alike, alike)
    few = (alike > 1) & (alike <= _MOST_ALIKE)
    key, owners, alike = key[few], owner[order[few]], alike[few]
    found = []
    start = np.arange(len(key))
    for step in range(1, _MOST_ALIKE):
        # What differs from its neighbour `step` places on also differs from all later ones.
        start = start[start + step < len(key)]
        start = start[key[start] == key[start + step]]
        one, two = owners[start], owners[start + step]
        differ = one != two
        pairs = np.minimum(one, two)[differ] * images + np.maximum(one, two)[differ]
        found.append((pairs << _ALIKE_BITS) | alike[start][differ])
    return np.concatenate(found)


def _keys(bits: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the chosen of the 128 bits of each feature as one number; uint64 (m, 2) to (m,)."""
    key = np.zeros(len(bits), np.uint64)
    for bit in chosen:
        key = (key << np.uint64(1)) | ((bits[:, bit // 64] >> np.uint64(bit % 64)) & np.uint64(1))
    return key


def _confirmed(pairs: np.ndarray, unpacked: Sequence[tuple[np.ndarray, np.ndarray]], least_matches: int) -> list[tuple[int, int]]:
    """Return those of the pairs that have enough features in one arrangement."""
    return [
        (one, two)
        for one, two, matched in _matched(pairs, unpacked)
        if len(matched) >= least_matches and _arranged(unpacked[one][1], unpacked[two][1], matched) >= least_matches
    ]


def _matched(pairs: np.ndarray, unpacked: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield each pair with the features of its first image that have found their like in the second; int (m, 2) indices."""
    most = max(len(unpacked[i][0]) for i in np.unique(pairs))
    ones, twos = (_signs([unpacked[i][0] for i in column], most) for column in pairs.T)
    # The product of signs counts equal bits less different ones: exact in floats, and what a processor does fastest.
    alike = ones @ twos.transpose(0, 2, 1)
    nearest, back = alike.argmax(axis=2), alike.argmax(axis=1)
    best = np.take_along_axis(alike, nearest[..., None], axis=2)[..., 0]
    np.put_along_axis(alike, nearest[..., None], -_BITS, axis=2)
    found = (_BITS - best) < _RATIO * (_BITS - alike.max(axis=2))
    found &= np.take_along_axis(back, nearest, axis=1) == np.arange(most)
    for row, (one, two) in enumerate(pairs):
        mine = np.flatnonzero(found[row, : len(unpacked[one][0])])
        yield int(one), int(two), np.stack([mine, nearest[row, mine]], axis=1)


def _signs(bits: list[np.ndarray], most: int) -> np.ndarray:
    """Return bits as ones and minus ones, float32 (images, most, 128); what an image has fewer features is filled with noughts."""
    signs = np.zeros((len(bits), most, _BITS), np.float32)
    for row, image in enumerate(bits):
        signs[row, : len(image)] = np.unpackbits(image.view(np.uint8).reshape(-1, _BITS // 8), axis=1) * np.float32(2) - 1
    return signs


def _arranged(one: np.ndarray, two: np.ndarray, matched: np.ndarray) -> int:
    """Count the features of the second image that a turn, a shift and one scale bring onto their like (Fischler and Bolles 1981).

    Features of one place count once; where too few lie apart from a single straight line, none does.
    """
    found, inside = cv2.estimateAffinePartial2D(one[matched[:, 0]], two[matched[:, 1]], ransacReprojThreshold=_TOLERANCE)
    if found is None or not _LEAST_SCALE < float(np.hypot(found[0, 0], found[0, 1])) < _MOST_SCALE:
        return 0
    places = np.unique(two[matched[inside[:, 0] > 0, 1]], axis=0)
    return len(places) if _off_line(places) >= _LEAST_OFF_LINE else 0


def _off_line(places: np.ndarray) -> int:
    """Return how many places lie apart from the straight line that most lie on; (m, 2)."""
    some = places[np.linspace(0, len(places) - 1, min(len(places), _LINES_TRIED)).astype(int)]
    starts, ends = (some[index] for index in np.triu_indices(len(some), 1))
    along = ends - starts
    length = np.hypot(along[:, 0], along[:, 1])[:, None]
    towards = places[None] - starts[:, None]
    away = np.abs(towards[..., 0] * along[:, None, 1] - towards[..., 1] * along[:, None, 0]) / np.maximum(length, 1e-6)
    return int((away > _LINE_HALF_WIDTH).sum(axis=1).min())
