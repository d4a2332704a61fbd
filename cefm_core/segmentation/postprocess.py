"""One declared rule that turns lesion probabilities into a mask.

1. A pixel is lesion where its probability reaches the threshold, unless it lies on a dark corner or frame (vignette).
2. Components smaller than ``min_component_share`` of the image, or than ``min_component_of_largest`` of the largest one, are
   removed; a component is 8-connected, everywhere in the project.
3. Holes smaller than ``max_hole_share`` of the image are filled; a hole is a 4-connected piece of background that does not reach
   the image's edge (4 is the dual of 8: a diagonal of lesion closes a hole).
4. All other components stay, and two of comparable size are flagged: a second lesion is not lost for being the smaller one.

Every change is counted. The network does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

LESION_CONNECTIVITY = 8
BACKGROUND_CONNECTIVITY = 4
COMPARABLE_SHARE = 0.25


@dataclass(frozen=True)
class CleanMask:
    """A mask after the rule, and what the rule changed.

    Attributes:
        mask: bool (H, W).
        components: Components left.
        components_removed: Components taken out for their size.
        removed_px: Their area.
        filled_px: Area of the holes that were filled.
        vignette_removed_px: Marked pixels that lay on the vignette.
        several: Whether a second component has at least a quarter of the largest one's area.
    """

    mask: Mask
    components: int
    components_removed: int
    removed_px: int
    filled_px: int
    vignette_removed_px: int
    several: bool


def clean_mask(
    marked: Mask, vignette: Mask | None, *, min_component_share: float, min_component_of_largest: float, max_hole_share: float
) -> CleanMask:
    """Apply the rule of this module to the pixels at or above the threshold.

    Args:
        marked: bool (H, W).
        vignette: bool (H, W), pixels that are never lesion, or None.
        min_component_share: Smallest component kept, as a share of the image's area.
        min_component_of_largest: Smallest component kept, as a share of the largest one's area.
        max_hole_share: Largest hole filled, as a share of the image's area.
    """
    mask = marked.copy() if vignette is None else marked & ~vignette
    on_vignette = int(np.count_nonzero(marked)) - int(np.count_nonzero(mask))
    mask, areas, removed = _drop_small(mask, min_component_share * mask.size, min_component_of_largest)
    filled = _fill_holes(mask, max_hole_share * mask.size) if areas else 0
    several = len(areas) > 1 and areas[1] >= COMPARABLE_SHARE * areas[0]
    return CleanMask(mask, len(areas), len(removed), sum(removed), filled, on_vignette, several)


def touches_border(mask: Mask) -> bool:
    """Say whether a mask reaches the image's edge."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _drop_small(mask: Mask, smallest: float, of_largest: float) -> tuple[Mask, list[int], list[int]]:
    """Return the mask without its small components, the areas kept (largest first), and the areas removed."""
    if not mask.any():
        return mask, [], []
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=LESION_CONNECTIVITY)
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = areas >= max(smallest, of_largest * int(areas[1:].max()))
    keep[0] = False
    kept = sorted((int(a) for a in areas[keep]), reverse=True)
    removed = [int(areas[label]) for label in range(1, count) if not keep[label]]
    return (keep[labels] if removed else mask), kept, removed


def _fill_holes(mask: Mask, largest: float) -> int:
    """Fill small holes in place; return how many pixels that took. Only the mask's bounding box is looked at."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    box = mask[y : y + height, x : x + width]
    outside = np.pad(~box, 1, constant_values=True)  # the ring joins all background that reaches the box's edge
    count, labels, stats, _ = cv2.connectedComponentsWithStats(outside.view(np.uint8), connectivity=BACKGROUND_CONNECTIVITY)
    small = stats[:, cv2.CC_STAT_AREA] < largest
    small[0], small[labels[0, 0]] = False, False
    if count <= 2 or not small.any():
        return 0
    holes = small[labels[1:-1, 1:-1]]
    box |= holes
    return int(np.count_nonzero(holes))
