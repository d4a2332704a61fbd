"""Point, box and mask prompts sampled from a coarse mask.

How a network is called does not belong here (see the ``*_backend`` modules), nor whether its answer is taken (``gate``).
Coordinates are (x, y) pixel indices of the image: 0 <= x <= width - 1, 0 <= y <= height - 1.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cefm_core.config import RefineConfig

_CORE_DEPTH = 0.25  # a grid node this deep inside, as a share of the greatest depth, stays where it is
_DEEP_CORE_DEPTH = 0.6  # any other node moves to the nearest pixel this deep, which is near the middle line of a thin lesion
_FRAME_INSET = 0.01  # negative points keep this share of the long side from the image's edge where they can
_MAX_CANDIDATES_SIDE = 256  # points are chosen among every n-th pixel so that a large lesion costs no more than a small one
_JITTER = 0.05  # of the box diagonal: half the range by which a side of the box or a point is moved
_LOGIT = 8.0  # sigmoid(8) = 0.9997: a sure pixel in the signed frame of the mask prompt


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one image.

    Attributes:
        positive: float64 (n, 2), points inside the lesion, (x, y) in pixels.
        negative: float64 (m, 2), points outside the lesion and inside the frame, (x, y) in pixels.
        box: First and last column and row of the lesion, (x0, y0, x1, y1) in pixels, all inside the image.
        shape: Height and width of the image in pixels.
    """

    positive: np.ndarray
    negative: np.ndarray
    box: tuple[float, float, float, float]
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        check_inside(np.concatenate([self.positive, self.negative, np.reshape(self.box, (2, 2))]), self.shape)

    def row(self) -> dict[str, list[float]]:
        """Return the prompts as flat lists ``x0, y0, x1, y1, ...`` for the table."""
        return {
            "positive_points": [float(v) for v in self.positive.ravel()],
            "negative_points": [float(v) for v in self.negative.ravel()],
            "box": [float(v) for v in self.box],
        }


def check_inside(points: np.ndarray, shape: tuple[int, int]) -> None:
    """Make sure that every point lies inside the image.

    Args:
        points: (n, 2) points, (x, y) in pixels.
        shape: Height and width of the image in pixels.

    Raises:
        ValueError: A coordinate is not finite or lies outside the image (as swapped x and y do on a frame that is not square).
    """
    height, width = shape
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    inside = (points[:, 0] >= 0) & (points[:, 0] <= width - 1) & (points[:, 1] >= 0) & (points[:, 1] <= height - 1)
    if not inside.all():
        bad = ", ".join(f"({x:g}, {y:g})" for x, y in points[~inside][:8])
        raise ValueError(f"prompt points (x, y) outside an image of width {width} and height {height}: {bad}")


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return first and last column and row of a mask, (x0, y0, x1, y1) in pixels, ends included.

    Raises:
        ValueError: The mask is empty.
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if columns.size == 0:
        raise ValueError("an empty mask has no box")
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def make_prompts(mask: np.ndarray, config: RefineConfig) -> PromptSet:
    """Sample prompts from a coarse mask.

    Positive points start on an n x n grid over the lesion's box. A node that lies well inside stays; any other one moves to the
    nearest pixel of the lesion's deep core (the pixels whose distance to the boundary is a large share of the greatest one), so that
    they are inside for C-shaped, ring and thin lesions too.
    Negative points start around the widened box and move to the nearest pixel at least the margin away from the lesion.
    Where the lesion fills the frame the margin is halved until a pixel is left; a lesion or skin of few pixels gives fewer points.

    Args:
        mask: bool (H, W), not empty.
        config: Number of points and margin.

    Raises:
        ValueError: The mask is empty.
    """
    box = mask_box(mask)
    return PromptSet(
        positive=_positive_points(mask, box, config.positive_grid),
        negative=_negative_points(mask, box, config.negative_points, config.negative_margin),
        box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        shape=(mask.shape[0], mask.shape[1]),
    )


def jittered(prompts: PromptSet, count: int) -> list[PromptSet]:
    """Return prompts moved a little, as another sampling of about the same coarse mask would give them.

    Each side of the box and each point moves by up to 5 % of the box diagonal; coordinates stay inside the image. The draws follow
    from the prompts themselves: the same prompts give the same variants in every run.

    Args:
        prompts: The prompts of one image.
        count: How many variants.
    """
    values = np.concatenate([prompts.positive.ravel(), prompts.negative.ravel(), np.array(prompts.box)])
    random = np.random.default_rng(zlib.crc32(values.tobytes()))
    x0, y0, x1, y1 = prompts.box
    reach = _JITTER * float(np.hypot(x1 - x0 + 1, y1 - y0 + 1))
    limit = np.array([prompts.shape[1] - 1, prompts.shape[0] - 1], dtype=np.float64)

    def moved(points: np.ndarray) -> np.ndarray:
        return np.clip(points + random.uniform(-reach, reach, points.shape), 0, limit)

    variants = []
    for _ in range(count):
        corners = np.sort(moved(np.array(prompts.box).reshape(2, 2)), axis=0)
        box = (float(corners[0, 0]), float(corners[0, 1]), float(corners[1, 0]), float(corners[1, 1]))
        variants.append(replace(prompts, positive=moved(prompts.positive), negative=moved(prompts.negative), box=box))
    return variants


def mask_logits(mask: np.ndarray, *, side: int = 256, padded: bool = False) -> np.ndarray:
    """Turn a mask into the signed low-resolution logits that a SAM mask prompt expects.

    Args:
        mask: bool (H, W) in the image's frame.
        side: Side of the square mask frame in pixels.
        padded: True where the model scales the long side and pads below and right (SAM, LiteMedSAM), False where it squeezes the
            image to a square (SAM 2).

    Returns:
        float32 (1, side, side): positive inside, negative outside, near 0 on the boundary; padding is outside.
    """
    height, width = mask.shape
    scale = side / max(height, width)
    rows, columns = (max(1, round(height * scale)), max(1, round(width * scale))) if padded else (side, side)
    share = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    frame = np.full((side, side), -_LOGIT, dtype=np.float32)
    frame[:rows, :columns] = (2.0 * share - 1.0) * _LOGIT
    return frame[None]


def _positive_points(mask: np.ndarray, box: tuple[int, int, int, int], grid: int) -> np.ndarray:
    x0, y0, x1, y1 = box
    # A frame of zeros: the image's edge counts as boundary, so that points of a cut lesion keep off it as well.
    crop = np.pad(mask[y0 : y1 + 1, x0 : x1 + 1].astype(np.uint8), 1)
    depth = cv2.distanceTransform(crop, cv2.DIST_L2, 5)[1:-1, 1:-1]
    deepest = float(depth.max())
    core = _decimated(depth >= max(_DEEP_CORE_DEPTH * deepest, 0.5))
    steps = np.arange(1, grid + 1) / (grid + 1)
    nodes = np.round([(fx * (x1 - x0), fy * (y1 - y0)) for fy in steps for fx in steps])
    inside = np.array([depth[int(y), int(x)] >= max(_CORE_DEPTH * deepest, 0.5) for x, y in nodes])
    candidates = np.concatenate([np.unique(nodes[inside], axis=0), core])
    return _snap(nodes, candidates, spacing=0.04 * float(np.hypot(x1 - x0, y1 - y0))) + np.array([x0, y0])


def _negative_points(mask: np.ndarray, box: tuple[int, int, int, int], count: int, margin_share: float) -> np.ndarray:
    x0, y0, x1, y1 = box
    diagonal = float(np.hypot(x1 - x0 + 1, y1 - y0 + 1))
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    margin = max(1.0, min(margin_share * diagonal, float(distance.max())))
    candidates = _decimated(_inset(distance) >= margin)
    while len(candidates) < count and margin > 1.0:
        margin = max(1.0, margin / 2)
        candidates = _decimated(_inset(distance) >= margin)
    if len(candidates) < count:
        candidates = _decimated(distance >= margin)
    angles = np.pi / 4 + 2 * np.pi * np.arange(count) / max(count, 1)
    reach_x, reach_y = (x1 - x0) / 2 * np.sqrt(2) + margin, (y1 - y0) / 2 * np.sqrt(2) + margin
    nodes = np.stack([(x0 + x1) / 2 + reach_x * np.cos(angles), (y0 + y1) / 2 + reach_y * np.sin(angles)], axis=1)
    return _snap(nodes, candidates, spacing=0.1 * diagonal)


def _inset(distance: np.ndarray) -> np.ndarray:
    """Return the distances with 0 in a narrow frame along the image's edge."""
    inset = round(_FRAME_INSET * max(distance.shape))
    inner = np.zeros_like(distance)
    window = (slice(inset, distance.shape[0] - inset), slice(inset, distance.shape[1] - inset))
    inner[window] = distance[window]
    return inner


def _decimated(allowed: np.ndarray) -> np.ndarray:
    """Return (x, y) of allowed pixels, every n-th row and column of a large region, all of a small or thin one."""
    step = max(1, max(allowed.shape) // _MAX_CANDIDATES_SIDE)
    ys, xs = np.nonzero(allowed[::step, ::step])
    if len(xs) < 64 and step > 1:
        ys, xs = np.nonzero(allowed)
        step = 1
    return np.stack([xs, ys], axis=1).astype(np.float64) * step


def _snap(nodes: np.ndarray, candidates: np.ndarray, spacing: float) -> np.ndarray:
    """Move each node to its nearest candidate at least ``spacing`` from the points already taken (any other one where none is)."""
    free = np.full(len(candidates), np.inf)  # distance of each candidate to the nearest point taken
    points: list[np.ndarray] = []
    for node in nodes:
        if not (free > 0).any():
            break
        distance = np.hypot(*(candidates - node).T)
        allowed = free >= spacing if (free >= spacing).any() else free > 0
        best = int(np.argmin(np.where(allowed, distance, np.inf)))
        points.append(candidates[best])
        free = np.minimum(free, np.hypot(*(candidates - candidates[best]).T))
    return np.array(points, dtype=np.float64).reshape(-1, 2)
