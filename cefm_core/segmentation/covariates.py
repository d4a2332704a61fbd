"""What an image is like, apart from how well it was segmented: the axes along which a failure analysis cuts the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cefm_core.imaging.artefacts import find_artefacts, reduce_to
from cefm_core.segmentation.postprocess import touches_border

Image = np.ndarray  # uint8 (H, W, 3), RGB
WORKING_SIDE_PX = 448
SIZE_BOUNDS = ((0.05, "below 5 % of the image"), (0.15, "from 5 to 15 %"), (0.35, "from 15 to 35 %"))
SIZE_REST = "over 35 %"
MIN_SKIN_SHARE = 0.02  # of the image, below which skin tone is not told
SKIN_TONES = ((55, "very light"), (41, "light"), (28, "intermediate"), (10, "tan"), (-30, "brown"))
DARKEST_TONE = "dark"
CONTINUOUS = ("lightness", "contrast", "irregularity", "hair_share")


def covariates(rgb: Image, reference: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Describe one image and its reference mask.

    Args:
        rgb: uint8 (H, W, 3).
        reference: bool (H, W), the expert's mask.

    Returns:
        ``lightness`` (mean CIELAB L outside vignettes, 0..100), ``contrast`` (CIELAB distance between the mean colours of lesion and
        surround), ``irregularity`` (1 - area / area of the convex hull of the reference, 0..1), ``hair_share`` (0..1), ``size`` and
        ``frame`` (strata of the reference), ``skin_tone`` (class of the individual typology angle of the surround; Chardon et al.,
        1991). What cannot be told is None, or ``unknown`` for a stratum.
    """
    small = reduce_to(rgb, WORKING_SIDE_PX)
    height, width = small.shape[:2]
    mask = cv2.resize(reference.view(np.uint8), (width, height), interpolation=cv2.INTER_AREA).astype(bool)
    artefacts = find_artefacts(small)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    seen = ~artefacts.vignette
    skin = lab[~mask & ~artefacts.any]
    lesion = lab[mask & ~artefacts.any]
    told = len(skin) >= MIN_SKIN_SHARE * mask.size
    surround = np.median(skin, axis=0) if told else None
    return {
        "lightness": float(lab[seen, 0].mean()) if seen.any() else None,
        "contrast": float(np.linalg.norm(lesion.mean(0) - skin.mean(0))) if told and len(lesion) else None,
        "irregularity": _irregularity(mask),
        "hair_share": float(artefacts.hair.mean()),
        "size": size_stratum(float(reference.mean())),
        "frame": "cut by the frame" if touches_border(reference) else "whole in the frame",
        "skin_tone": "unknown" if surround is None else skin_tone(surround),
    }


def size_stratum(share: float) -> str:
    """Name the stratum of a lesion that covers ``share`` of its image."""
    return next((name for bound, name in SIZE_BOUNDS if share < bound), SIZE_REST)


def skin_tone(lab: npt.NDArray[np.floating[Any]]) -> str:
    """Name the class of the individual typology angle, atan2(L - 50, b) in degrees, of a CIELAB colour (3,)."""
    angle = float(np.degrees(np.arctan2(lab[0] - 50, lab[2])))
    return next((name for bound, name in SKIN_TONES if angle > bound), DARKEST_TONE)


def thirds(values: Sequence[float | None]) -> list[str]:
    """Name the third of its own distribution that each value lies in, with the bounds; ``unknown`` for None.

    Equal values never lie in different thirds.
    """
    known = np.array([v for v in values if v is not None])
    if len(known) < 3:
        return ["unknown"] * len(values)
    low, high = (float(q) for q in np.quantile(known, (1 / 3, 2 / 3)))
    names = (f"low (to {low:.3g})", f"middle ({low:.3g} to {high:.3g})", f"high (over {high:.3g})")
    return ["unknown" if v is None else names[int(v > low) + int(v > high)] for v in values]


def stratum_order(name: str) -> tuple[int, str]:
    """Return a sorting key that puts strata in their natural order: small before large, light before dark, low before high."""
    sizes = [title for _, title in SIZE_BOUNDS] + [SIZE_REST]
    tones = [title for _, title in SKIN_TONES] + [DARKEST_TONE]
    natural = [*sizes, *tones, "low", "middle", "high", "unknown"]
    start = name.split(" (")[0]
    return (natural.index(start) if start in natural else -1, name)


def _irregularity(mask: npt.NDArray[np.bool_]) -> float | None:
    points = cv2.findNonZero(mask.view(np.uint8))
    if points is None:
        return None
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return max(0.0, 1 - float(np.count_nonzero(mask)) / int(hull.sum()))
