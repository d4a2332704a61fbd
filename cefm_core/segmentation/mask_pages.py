"""Pages for a look at masks: where the coarse stage fails, and what refining gained and lost.

A page holds pictures of the scored images: it is for those who may see them, and is written only where it is asked for.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cefm_core.imaging.decode import encode_jpeg
from cefm_core.imaging.outlines import BEFORE_COLOUR, FOUND_COLOUR, REFERENCE_COLOUR, Colour, outlined
from cefm_core.segmentation.scores import Estimate, Scores, Summary
from cefm_core.segmentation.training_data import Image

THUMBNAIL_PX = 320
FEW = 20
METRICS = (
    ("dice_mean", "Dice"),
    ("threshold_jaccard_mean", "threshold Jaccard"),
    ("failure_rate", "failures"),
    ("sensitivity_mean", "sensitivity"),
)


@dataclass(frozen=True)
class WorstImage:
    """One image shown on the page: RGB uint8 (H, W, 3), its two masks bool (H, W), and its scores."""

    rgb: Image
    reference: npt.NDArray[np.bool_]
    found: npt.NDArray[np.bool_]
    scores: Scores


@dataclass(frozen=True)
class PairedImage:
    """One image before and after refining: RGB uint8 (H, W, 3), three masks bool (H, W), and the measured row."""

    rgb: Image
    reference: npt.NDArray[np.bool_]
    coarse: npt.NDArray[np.bool_]
    refined: npt.NDArray[np.bool_]
    row: dict[str, Any]


def failure_page(weights: str, split: str, axes: dict[str, dict[str, Summary]], worst: Sequence[WorstImage]) -> str:
    """Return the page as HTML that needs no other file.

    Args:
        weights: The weights in use, for people.
        split: Name of the scored split.
        axes: For each axis its strata's summaries; the first axis holds all images.
        worst: Images to show, worst first.
    """
    overall = next(iter(next(iter(axes.values())).values()))
    return _template("failure_page.html.j2").render(
        weights=weights,
        split=split,
        metrics=[title for _, title in METRICS],
        axes=[(name, [_stratum(title, summary) for title, summary in strata.items()]) for name, strata in axes.items()],
        overall=overall.figures["dice_mean"].value,
        worst=[_shown(item) for item in worst],
        few=FEW,
    )


def gains_page(gains: Sequence[PairedImage], losses: Sequence[PairedImage]) -> str:
    """Return a page of the images that refining changed most, as HTML that needs no other file.

    Args:
        gains: Images of the largest gains in Dice, largest first.
        losses: Images of the largest losses, largest first.
    """
    parts = [("Largest gains", gains), ("Largest losses", losses)]
    return _template("gains_page.html.j2").render(parts=[(title, [_paired(item) for item in items]) for title, items in parts])


def _template(name: str) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).get_template(name)


def _stratum(title: str, summary: Summary) -> dict[str, Any]:
    dice = summary.figures["dice_mean"]
    return {
        "title": title,
        "n": summary.n,
        "cells": [_cell(summary.figures[key]) for key, _ in METRICS],
        "bar": None if dice.value is None else {"value": dice.value, "low": dice.low, "high": dice.high},
    }


def _cell(estimate: Estimate) -> str:
    if estimate.value is None:
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f}\u2013{estimate.high:.3f})"


def _shown(item: WorstImage) -> dict[str, Any]:
    shown = {k: item.scores[k] for k in ("image_id", "dice", "size", "frame", "skin_tone")}
    return shown | _outlined(item.rgb, (item.reference, REFERENCE_COLOUR), (item.found, FOUND_COLOUR))


def _paired(item: PairedImage) -> dict[str, Any]:
    shown = {k: item.row[k] for k in ("image_id", "source", "decision", "decision_reason", "coarse_dice", "dice")}
    outlines = ((item.reference, REFERENCE_COLOUR), (item.coarse, BEFORE_COLOUR), (item.refined, FOUND_COLOUR))
    return shown | _outlined(item.rgb, *outlines)


def _outlined(rgb: Image, *outlines: tuple[npt.NDArray[np.bool_], Colour]) -> dict[str, Any]:
    """Return a small JPEG with outlines, base64, and its size."""
    picture = outlined(rgb, *outlines, side_px=THUMBNAIL_PX)
    height, width = picture.shape[:2]
    return {"picture": base64.b64encode(encode_jpeg(picture, 85)).decode("ascii"), "width": width, "height": height}
