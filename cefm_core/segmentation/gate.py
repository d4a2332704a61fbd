"""The acceptance gate: a redrawn mask replaces the coarse one only where the evidence says that it is better.

The evidence is computed from the image and the two masks alone, never from a reference mask. How a mask is proposed does not belong
here (see the ``*_backend`` modules).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cefm_core.config import RefineConfig
from cefm_core.segmentation.prompts import mask_box

_WORKING_SIDE = 256  # evidence is measured on the lesion's surroundings with the long side at most this many pixels
_BAND_SHARE = 0.03  # half-width of the band along the contour, as a share of the diagonal of the coarse box


@dataclass(frozen=True)
class GateEvidence:
    """What the gate looks at.

    Attributes:
        agreement_dice: Dice of refined and coarse mask, 0..1.
        area_ratio: Refined area over coarse area.
        components: Connected components of the proposal, before clean-up, above one hundredth of its area.
        border_contact_before: Share of the coarse mask's contour on the image's edge, 0..1.
        border_contact_after: The same of the refined mask.
        edge_contrast_before: Mean colour difference (CIE76, in units of Lab) across the coarse contour; None where no contour is inside.
        edge_contrast_after: The same of the refined contour.
        predicted_iou: The model's own estimate, or None where the backend gives none.
    """

    agreement_dice: float
    area_ratio: float
    components: int
    border_contact_before: float
    border_contact_after: float
    edge_contrast_before: float | None
    edge_contrast_after: float | None
    predicted_iou: float | None


def gather_evidence(
    rgb: np.ndarray, coarse: np.ndarray, refined: np.ndarray, *, components: int, predicted_iou: float | None
) -> GateEvidence:
    """Measure what the gate decides by.

    Args:
        rgb: uint8 (H, W, 3).
        coarse: Coarse mask, bool (H, W), not empty.
        refined: Cleaned refined mask, bool (H, W), not empty.
        components: See :class:`GateEvidence`.
        predicted_iou: See :class:`GateEvidence`.
    """
    overlap, coarse_area, refined_area = (int(np.count_nonzero(m)) for m in (coarse & refined, coarse, refined))
    view, small_coarse, small_refined, band = _surroundings(rgb, coarse, refined)
    return GateEvidence(
        agreement_dice=2 * overlap / (coarse_area + refined_area),
        area_ratio=refined_area / coarse_area,
        components=components,
        border_contact_before=border_contact(coarse),
        border_contact_after=border_contact(refined),
        edge_contrast_before=edge_contrast(view, small_coarse, band),
        edge_contrast_after=edge_contrast(view, small_refined, band),
        predicted_iou=predicted_iou,
    )


def failed_checks(evidence: GateEvidence, config: RefineConfig) -> list[str]:
    """Return the reason codes that speak against the refined mask, the gravest first; none means accept.

    Codes: ``low_agreement``, ``area_ratio``, ``components``, ``border_contact``, ``edge_contrast``, ``predicted_iou``.
    """
    ratio = max(evidence.area_ratio, 1 / evidence.area_ratio)
    before, after = evidence.edge_contrast_before, evidence.edge_contrast_after
    gain = None if before is None or after is None else after - before
    checks = {
        "low_agreement": evidence.agreement_dice < config.min_agreement,
        "area_ratio": ratio > config.max_area_ratio,
        "components": evidence.components > config.max_components,
        "border_contact": evidence.border_contact_after - evidence.border_contact_before > config.max_border_contact_gain,
        "edge_contrast": gain is None or gain < config.min_edge_contrast_gain,
        "predicted_iou": evidence.predicted_iou is not None and evidence.predicted_iou < config.min_predicted_iou,
    }
    return [code for code, failed in checks.items() if failed]


def border_contact(mask: np.ndarray) -> float:
    """Return the share of the mask's boundary pixels that lie on the image's edge, 0..1 (0 for an empty mask)."""
    padded = np.pad(mask.astype(np.uint8), 1)  # outside the image is not lesion, so the image's edge counts as boundary
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1].astype(bool)
    boundary = mask & ~inner
    on_edge = boundary[0].sum() + boundary[-1].sum() + boundary[1:-1, 0].sum() + boundary[1:-1, -1].sum()
    return float(on_edge) / max(1, int(np.count_nonzero(boundary)))


def edge_contrast(rgb: np.ndarray, mask: np.ndarray, band_px: int) -> float | None:
    """Return how different the two sides of a contour look.

    At each contour pixel the mean Lab colour of the lesion pixels and that of the skin pixels in a square window around it are
    compared (CIE76 distance); the mean over the contour is returned. Contour on the image's edge has no outer side and is left out.

    Args:
        rgb: uint8 (H, W, 3).
        mask: bool (H, W).
        band_px: Half side of the window in pixels, >= 1.

    Returns:
        Mean distance in units of Lab (0 to about 200), or None where the mask has no contour inside the image.
    """
    inside = mask.astype(np.float32)
    eroded = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE).astype(bool)
    contour = mask & ~eroded
    if not contour.any():
        return None
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    difference = _side_mean(lab, inside, band_px)[contour] - _side_mean(lab, 1 - inside, band_px)[contour]
    return float(np.mean(np.linalg.norm(difference.astype(np.float64), axis=1)))


def _side_mean(lab: np.ndarray, weight: np.ndarray, band_px: int) -> np.ndarray:
    """Return the local mean colour of the pixels of weight 1, float32 (H, W, 3)."""
    size = (2 * band_px + 1, 2 * band_px + 1)
    total = cv2.boxFilter(lab * weight[..., None], -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    count = cv2.boxFilter(weight, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return total / np.maximum(count, 1)[..., None]


def _surroundings(rgb: np.ndarray, coarse: np.ndarray, refined: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return the reduced view around both masks, the masks in it, and the half-width of the contour band in its pixels."""
    x0, y0, x1, y1 = mask_box(coarse | refined)
    a0, b0, a1, b1 = mask_box(coarse)
    diagonal = float(np.hypot(a1 - a0 + 1, b1 - b0 + 1))
    margin = int(np.ceil(2 * _BAND_SHARE * diagonal)) + 1
    x0, y0, x1, y1 = max(0, x0 - margin), max(0, y0 - margin), x1 + margin + 1, y1 + margin + 1
    crop, one, two = (a[y0:y1, x0:x1] for a in (rgb, coarse, refined))
    scale = min(1.0, _WORKING_SIDE / max(crop.shape[:2]))
    band = max(1, round(_BAND_SHARE * diagonal * scale))
    if scale == 1.0:
        return crop, one, two, band
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    small = [cv2.resize(m.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) >= 128 for m in (one, two)]
    return cv2.resize(crop, size, interpolation=cv2.INTER_AREA), small[0], small[1], band
