"""One row of image quality: sharpness, exposure, contrast, artefact shares, and the flags made of them.

Flags stratify results; no image is rejected here. The search for artefacts itself is in ``artefacts``.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from cefm_core.config import QualityConfig
from cefm_core.imaging.artefacts import find_artefacts, reduce_to


def assess_image(rgb: np.ndarray, config: QualityConfig) -> dict[str, Any]:
    """Measure one image.

    Args:
        rgb: uint8 (H, W, 3), upright.
        config: Working size and flag thresholds.

    Returns:
        A row of the table ``image_quality`` without ``image_id`` and lineage: ``sharpness`` (variance of the Laplacian of L),
        ``exposure`` and ``contrast`` (units of CIELAB L, 0-100), ``hair_share``, ``vignette_share``, ``glare_share``, ``ink_share``
        and ``skin_hue_share`` (0-1), ``flags`` (sorted).
    """
    artefacts = find_artefacts(rgb)
    small = reduce_to(rgb, config.working_side_px)
    seen = ~_shrink(artefacts.vignette, small.shape[:2])
    if not seen.any():
        seen[...] = True
    lightness = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32) * np.float32(100 / 255)
    low, high = np.percentile(lightness[seen], (5, 95))
    judged = seen & ~_shrink(artefacts.any, small.shape[:2])
    row: dict[str, Any] = {
        "sharpness": _sharpness(lightness, seen),
        "exposure": float(lightness[seen].mean(dtype=np.float64)),
        "contrast": float(high - low),
        "hair_share": float(artefacts.hair.mean()),
        "vignette_share": float(artefacts.vignette.mean()),
        "glare_share": float(artefacts.glare.mean()),
        "ink_share": float(artefacts.ink_or_ruler.mean()),
        "skin_hue_share": _skin_hue_share(small, judged if judged.any() else seen),
    }
    row["flags"] = sorted(_flags(row, small, config))
    return row


def _shrink(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring a bool mask to ``shape`` (h, w) by nearest neighbour."""
    if mask.shape == shape:
        return mask.copy()
    return cv2.resize(mask.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)


def _sharpness(lightness: np.ndarray, seen: np.ndarray) -> float:
    """Return the variance of the Laplacian of L (0-100) inside ``seen``, away from its border (Pech-Pacheco et al., 2000)."""
    inner = cv2.erode(seen.view(np.uint8), np.ones((5, 5), np.uint8)) > 0
    laplacian = cv2.Laplacian(lightness, cv2.CV_32F)
    return float(laplacian[inner if inner.any() else seen].var(dtype=np.float64))


def _skin_hue_share(rgb: np.ndarray, judged: np.ndarray) -> float:
    """Return the share of judged pixels that are reddish, orange, brown, or too pale or dark to have a hue."""
    hue, saturation, value = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
    warm = (hue <= 28) | (hue >= 145)  # OpenCV hue, 0..179; violet light occurs in non-polarised pictures
    plain = (saturation < 45) | (value < 60)
    return float((warm | plain)[judged].mean())


def _flags(row: dict[str, Any], rgb: np.ndarray, config: QualityConfig) -> list[str]:
    """Name what is remarkable in a row; ``rgb`` is the image at working size."""
    colourless = not (rgb[..., :1] != rgb[..., 1:]).any()
    spread = float(np.ptp(rgb.reshape(-1, 3).mean(axis=0)))
    checks = {
        "blurred": row["sharpness"] < config.blur_threshold,
        "too_dark": row["exposure"] < config.dark_threshold,
        "too_bright": row["exposure"] > config.bright_threshold,
        "low_contrast": row["contrast"] < config.contrast_threshold,
        "hair": row["hair_share"] > config.hair_share_threshold,
        "vignette": row["vignette_share"] > config.vignette_share_threshold,
        "ink_or_ruler": row["ink_share"] > config.ink_share_threshold,
        "glare": row["glare_share"] > config.glare_share_threshold,
        "greyscale_source": colourless,
        "unusual_colour": not colourless and (row["skin_hue_share"] < config.skin_hue_share_threshold or spread < 2),
    }
    return [name for name, found in checks.items() if found]
