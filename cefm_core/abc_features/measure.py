"""measure_abc: one image and its mask to one row of ``abc_features``, both profiles."""

from __future__ import annotations

import numpy as np

from cefm_core.abc_features import asymmetry, border, colour, paper_profile, structure
from cefm_core.abc_features.intervals import Maps, measure_intervals
from cefm_core.abc_features.lesion import Lesion, find_lesion
from cefm_core.abc_features.levels import measure_levels
from cefm_core.abc_features.tds import measure_tds
from cefm_core.abc_features.view import LesionView, make_view
from cefm_core.config import AbcConfig
from cefm_core.imaging.artefacts import Artefacts, find_artefacts

#: Artefacts over more of the lesion than this are the lesion itself misread (a blue veil as ink); they are kept in.
MAX_COVERED_SHARE = 0.3

REASONS = (
    "reason",
    "paper_colour_reason",
    "asymmetry_reason",
    "border_reason",
    "colour_reason",
    "hue_reason",
    "skin_reason",
    "structure_reason",
    "tds_reason",
    "interval_reason",
)


def measure_abc(
    rgb: np.ndarray, mask: np.ndarray, config: AbcConfig, artefacts: Artefacts | None = None, mask_confidence: float | None = None
) -> dict:
    """Measure asymmetry, border, colour and structure of one lesion.

    Args:
        rgb: (H, W, 3) uint8 image.
        mask: (H, W) bool, the lesion.
        config: Working scale, smallest lesion, number of perturbed masks.
        artefacts: Pixels of hair, vignette, ink or ruler and glare, which the clinical profile leaves out; None to find
            them here. The paper's profile leaves none out.
        mask_confidence: Dice to be expected of the mask, 0..1, from which the intervals are made; None where it is not known.

    Returns:
        A row of ``abc_features`` without the columns that the row driver fills. What cannot be measured is None and its
        reason column says why.

    Raises:
        ValueError: Image and mask differ in size, or the image is not (H, W, 3) uint8.
    """
    _check_shapes(rgb, mask)
    lesion, reason = find_lesion(mask, config)
    if lesion is None:
        return dict.fromkeys(REASONS, reason) | {"flags": []}
    row = _facts(rgb, lesion)
    grey = "greyscale_source" in row["flags"]
    row |= _paper(rgb, lesion, grey, row["flags"])
    excluded = (find_artefacts(rgb) if artefacts is None else artefacts).any
    if covered_share(excluded, lesion) > MAX_COVERED_SHARE:
        row["flags"].append("artefacts_over_lesion")
        excluded = excluded & ~mask.astype(bool)
    view = make_view(rgb, lesion, excluded, config)
    row |= measure_clinical(view, grey, config, mask_confidence)
    return row | measure_levels(row)


def measure_paper_row(rgb: np.ndarray, mask: np.ndarray, config: AbcConfig) -> dict:
    """Measure the paper's profile alone; arguments and errors as in :func:`measure_abc`."""
    _check_shapes(rgb, mask)
    lesion, reason = find_lesion(mask, config)
    if lesion is None:
        return {"reason": reason, "paper_colour_reason": reason, "flags": []}
    row = _facts(rgb, lesion)
    return row | _paper(rgb, lesion, "greyscale_source" in row["flags"], row["flags"])


def measure_clinical(view: LesionView, grey: bool, config: AbcConfig, mask_confidence: float | None = None) -> dict:
    """Measure the clinical profile on a view of the lesion; ``grey`` says that its colours mean nothing."""
    polar = asymmetry.sample_polar(view)
    row: dict = {}
    row_reasons: dict = {}
    part, row_reasons["asymmetry_reason"] = asymmetry.measure_asymmetry(polar)
    row |= part
    pigment, points = border.pigment_map(view), border.outline(view.mask)
    part, row_reasons["border_reason"] = border.measure_abruptness(view, pigment, points)
    row |= part | border.measure_irregularity(view, points)
    colours = None if grey or view.skin is None else colour.colour_map(view, view.skin)
    part, reasons = _colour(view, grey, colours)
    row |= part | row_reasons | reasons
    row |= structure.measure_structures(view)
    row |= measure_tds(row)
    return row | measure_intervals(Maps(view, polar, pigment, colours), row, config.mask_samples, mask_confidence)


def covered_share(excluded: np.ndarray, lesion: Lesion) -> float:
    """Return the share of the lesion's pixels that are excluded; (H, W) bool."""
    height, width = lesion.mask.shape
    box = excluded[lesion.y0 : lesion.y0 + height, lesion.x0 : lesion.x0 + width]
    return float((box & (lesion.mask > 0)).sum() / lesion.area_px)


def _check_shapes(rgb: np.ndarray, mask: np.ndarray) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"image is {rgb.dtype} {rgb.shape}, (H, W, 3) uint8 is needed")
    if mask.shape != rgb.shape[:2]:
        raise ValueError(f"mask is {mask.shape}, the image is {rgb.shape[:2]}")


def _facts(rgb: np.ndarray, lesion: Lesion) -> dict:
    """Size of the lesion, and what the reader of the row must know about it."""
    height, width = lesion.mask.shape
    box = rgb[lesion.y0 : lesion.y0 + height, lesion.x0 : lesion.x0 + width]
    found = {
        "cut_by_frame": lesion.touches_frame,
        "multiple_lesions": lesion.comparable > 1,
        "islands_ignored": lesion.components > 1,
        "greyscale_source": colour.is_greyscale(box),
    }
    return {
        "reason": None,
        "lesion_area_px": lesion.area_px,
        "lesion_area_share": lesion.area_px / (lesion.frame[0] * lesion.frame[1]),
        "components": lesion.components,
        "flags": [name for name, true in found.items() if true],
    }


def _paper(rgb: np.ndarray, lesion: Lesion, grey: bool, flags: list[str]) -> dict:
    row = paper_profile.measure_paper(rgb, lesion)
    row["flags"] = [*flags, *row["flags"]]
    if grey:
        row |= dict.fromkeys(name for name in row if "_std" in name)
    return row | {"paper_colour_reason": "greyscale_source" if grey else None}


def _colour(view: LesionView, grey: bool, colours: np.ndarray | None) -> tuple[dict, dict]:
    """Colours, variety, hue and skin with their reasons."""
    if grey:
        return {}, dict.fromkeys(("colour_reason", "hue_reason", "skin_reason"), "greyscale_source")
    usable = view.inside & view.valid
    if not usable.any():
        return {}, dict.fromkeys(("colour_reason", "hue_reason"), "lesion_covered") | _skin(view)[1]
    row, hue_reason = colour.measure_hue(view.rgb[usable])
    row |= colour.measure_variety(view.lab[usable])
    skin, skin_reason = _skin(view)
    row |= skin
    if colours is not None:
        row |= colour.measure_colours(colours, usable)
    return row, {"hue_reason": hue_reason, "colour_reason": skin_reason["skin_reason"]} | skin_reason


def _skin(view: LesionView) -> tuple[dict, dict]:
    if view.skin is None:
        return {}, {"skin_reason": "skin_not_visible"}
    return {"skin_ita_deg": colour.typology_angle(view.skin), "skin_lightness": float(view.skin[0])}, {"skin_reason": None}
