"""Intervals of A, B, C and the total score from perturbed masks: how much of a value hangs on where the edge was drawn."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cefm_core.abc_features import asymmetry, border, colour
from cefm_core.abc_features.tds import measure_tds
from cefm_core.abc_features.view import LesionView

#: Side of the grid of independent displacements, and their mean size between the grid's nodes as a share of the largest one.
GRID, MEAN_SHARE = 4, 0.35
#: Largest displacement of the edge in pixels of the view where nothing is known of the mask; and, over the radius, the most ever.
JITTER_PX, MOST = 2.0, 0.6
FEATURES = {"asymmetry_score": "asymmetry", "border_score": "border", "colour_count": "colour", "tds": "tds"}


def edge_reach(view: LesionView, mask_confidence: float | None) -> float:
    """Return by how many pixels of the view the edge is moved at most.

    A disc of radius r whose edge is off by d on average has a Dice of 1 - d / r with the true one. So masks as wrong as this one is
    expected to be are had by moving the edge by (1 - confidence) * r on average.

    Args:
        view: The lesion at the working scale.
        mask_confidence: Dice to be expected of the mask, 0..1; None where it is not known, which moves the edge by 2 px.
    """
    if mask_confidence is None:
        return JITTER_PX
    radius = view.diameter / 2
    return float(np.clip((1 - mask_confidence) * radius / MEAN_SHARE, JITTER_PX, MOST * radius))


def perturbed_masks(view: LesionView, samples: int, reach: float) -> Iterator[np.ndarray]:
    """Yield masks whose edge wanders smoothly by up to ``reach`` pixels; (h, w) float32.

    The seed is the view's own pixels: the same image and mask give the same masks in every run.
    """
    generator = np.random.default_rng(zlib.crc32(view.mask.tobytes(), zlib.crc32(view.rgb.tobytes())))
    height, width = view.mask.shape
    for _ in range(samples):
        grid = generator.uniform(-reach, reach, (GRID, GRID)).astype(np.float32)
        shift = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        yield np.clip(view.depth + shift + 0.5, 0, 1)


@dataclass(frozen=True)
class Maps:
    """What is measured once per image and read again under every perturbed mask.

    Attributes:
        view: The lesion at the working scale.
        polar: Its polar samples.
        pigment: Its pigment map, or None where nothing around it is visible.
        colours: Its colour map, or None where colours are not measured.
    """

    view: LesionView
    polar: asymmetry.PolarLesion
    pigment: np.ndarray | None
    colours: np.ndarray | None


def measure_intervals(maps: Maps, row: dict, samples: int, mask_confidence: float | None = None) -> dict:
    """Return the ``_low`` and ``_high`` columns: least and greatest value over the mask and its perturbed masks.

    Args:
        maps: The image's maps.
        row: The row with the values themselves; a value that is None gets no interval.
        samples: Perturbed masks; 0 gives no interval.
        mask_confidence: See :func:`edge_reach`.
    """
    if samples == 0:
        return {"interval_reason": "not_requested"}
    x, y = asymmetry.polar_grid(maps.view)
    rows = [row]
    reach = edge_reach(maps.view, mask_confidence)
    for mask in perturbed_masks(maps.view, samples, reach):
        polar_mask = cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        rows.append(_measure_again(maps, mask, polar_mask, row))
    result: dict = {"interval_reason": None, "interval_edge_share": MEAN_SHARE * reach / (maps.view.diameter / 2)}
    for feature, stem in FEATURES.items():
        if row.get(feature) is None:
            result["interval_reason"] = "value_not_measured"
            continue
        values = [r[feature] for r in rows if r.get(feature) is not None]
        result |= {f"{stem}_low": float(min(values)), f"{stem}_high": float(max(values))}
    return result


def _measure_again(maps: Maps, mask: np.ndarray, polar_mask: np.ndarray, row: dict) -> dict:
    view = replace(maps.view, mask=mask)
    again = {"structure_count": row.get("structure_count")}
    again |= asymmetry.measure_asymmetry(maps.polar, polar_mask)[0]
    again |= border.measure_abruptness(view, maps.pigment, border.outline(mask))[0]
    if maps.colours is not None and row.get("colour_count") is not None:
        again |= colour.measure_colours(maps.colours, view.inside & view.valid)
    return again | measure_tds(again)
