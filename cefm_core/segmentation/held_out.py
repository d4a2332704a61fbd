"""Scores of the coarse stage on images with reference masks, at their own size, with the whole stage as users run it.

Training does not belong here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cefm_core.config import CoarseConfig
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.coarse import CoarseSegmenter, Image
from cefm_core.segmentation.covariates import CONTINUOUS, covariates, stratum_order, thirds
from cefm_core.segmentation.mask_pages import WorstImage, failure_page
from cefm_core.segmentation.scores import Estimate, Scores, Summary, mask_scores, summarise, summarise_by
from cefm_core.segmentation.training_data import TrainingRow, read_rows

SHOWN = (
    ("dice_mean", "Dice, mean of images"),
    ("jaccard_mean", "Jaccard, mean"),
    ("threshold_jaccard_mean", "threshold Jaccard, mean"),
    ("failure_rate", "failures (Jaccard < 0.65)"),
    ("sensitivity_mean", "sensitivity, mean"),
    ("specificity_mean", "specificity, mean"),
    ("hd95_share_mean", "HD95 / diagonal, mean"),
    ("dice_pooled", "Dice, pooled over pixels"),
)


AXES = {
    "source": "source",
    "diagnosis": "diagnosis",
    "size": "lesion size",
    "frame": "lesion and frame",
    "skin_tone": "skin tone (individual typology angle)",
    "lightness": "lightness of the image",
    "contrast": "contrast of lesion and skin",
    "irregularity": "irregularity of the outline",
    "hair_share": "hair",
}


def score_rows(segmenter: CoarseSegmenter, rows: Sequence[TrainingRow], progress: Callable[[int], None] | None = None) -> list[Scores]:
    """Segment each image and compare with its reference mask.

    Args:
        segmenter: The loaded coarse stage.
        rows: Images with reference masks.
        progress: Called with the number of images done.

    Returns:
        Results of :func:`cefm_core.segmentation.scores.mask_scores`, in order, with ``image_id``, ``confidence`` and the axes of
        :func:`cefm_core.segmentation.covariates.covariates`.

    Raises:
        ConfigurationError: An image or mask cannot be read, or their sizes differ.
    """
    scores = []
    for index, row in enumerate(rows):
        rgb, reference = read_pair(row)
        found = segmenter.segment([rgb])[0]
        told: Scores = {"image_id": row.image_id, "confidence": found.row["confidence"]}
        scores.append(mask_scores(found.mask, reference) | told | covariates(rgb, reference))
        if progress is not None:
            progress(index + 1)
    return scores


def read_pair(row: TrainingRow) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Return an image, uint8 (H, W, 3), and its reference mask, bool (H, W).

    Raises:
        ConfigurationError: One of them cannot be read, or their sizes differ.
    """
    bgr, mask = cv2.imread(str(row.image)), cv2.imread(str(row.mask), cv2.IMREAD_GRAYSCALE)
    if bgr is None or mask is None or bgr.shape[:2] != mask.shape:
        raise ConfigurationError(f"held-out data: image or mask of {row.image_id} is unreadable, or their sizes differ")
    return np.ascontiguousarray(bgr[..., ::-1]), mask > 127


def summaries(scores: Sequence[Scores], rows: Sequence[TrainingRow]) -> dict[str, dict[str, Summary]]:
    """Return the summary of each stratum along each axis, the first axis being all images; intervals by lesion group."""
    groups = [row.group for row in rows]
    axes = {"source": [r.source for r in rows], "diagnosis": [r.diagnosis for r in rows]}
    axes |= {name: [str(s[name]) for s in scores] for name in ("size", "frame", "skin_tone")}
    axes |= {name: thirds([s[name] for s in scores]) for name in CONTINUOUS}
    found = {"all images": {"all": summarise(scores, groups)}}
    for name, strata in axes.items():
        parts = summarise_by(scores, strata, groups)
        found[AXES[name]] = {title: parts[title] for title in sorted(parts, key=stratum_order)}
    return found


def summary_table(axes: dict[str, dict[str, Summary]]) -> str:
    """Return the summaries as a Markdown table with 95 % bootstrap intervals."""
    lines = ["| images | n | " + " | ".join(title for _, title in SHOWN) + " |", "| --- | ---: |" + " ---: |" * len(SHOWN)]
    for axis, strata in axes.items():
        for name, summary in strata.items():
            cells = [_cell(summary.figures[key]) for key, _ in SHOWN]
            title = name if axis == "all images" else f"{axis}: {name}"
            lines.append(f"| {title} | {summary.n} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def page(segmenter: CoarseSegmenter, split: str, scores: Sequence[Scores], rows: Sequence[TrainingRow], count: int) -> str:
    """Return the failure page: the summaries, and the ``count`` worst images with both outlines."""
    by_id = {row.image_id: row for row in rows}
    shown = []
    for item in worst(scores, count):
        rgb, reference = read_pair(by_id[item["image_id"]])
        shown.append(WorstImage(rgb, reference, segmenter.segment([rgb])[0].mask, item))
    return failure_page(segmenter.weights, split, summaries(scores, rows), shown)


def worst(scores: Sequence[Scores], count: int) -> list[dict[str, Any]]:
    """Return the images of lowest Dice, lowest first; ties by image id. Images whose Dice is undefined are left out."""
    known = [s for s in scores if s["dice"] is not None]
    return sorted(known, key=lambda s: (s["dice"], s["image_id"]))[:count]


def _cell(estimate: Estimate) -> str:
    if estimate.value is None:
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the summary of one split of a data set: ``python -m cefm_core.segmentation.held_out METADATA.csv --split val``."""
    parser = argparse.ArgumentParser(prog="python -m cefm_core.segmentation.held_out", description="Score the coarse stage on one split.")
    parser.add_argument("metadata", type=Path, help="CSV of the data set; see cefm_core.segmentation.training_data.read_rows")
    parser.add_argument("--split", default="val", help="value of its column `split`")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the stage, e.g. second=none")
    parser.add_argument("--worst", type=int, default=20, help="how many of the worst images to list")
    parser.add_argument("--page", type=Path, help="write the failure page, with pictures of the worst images, to this file")
    chosen = parser.parse_args(arguments)
    config = CoarseConfig(**dict(item.split("=", 1) for item in chosen.set))
    segmenter, rows = CoarseSegmenter.load(config), read_rows(chosen.metadata, (chosen.split,))
    scores = score_rows(segmenter, rows)
    print(f"weights {segmenter.weights}, split {chosen.split}\n\n{summary_table(summaries(scores, rows))}")
    for row in worst(scores, chosen.worst):
        print(
            f"{row['image_id']}: Dice {row['dice']:.3f}, sensitivity {_plain(row['sensitivity'])}, confidence {_plain(row['confidence'])}"
        )
    if chosen.page is not None:
        chosen.page.write_text(page(segmenter, chosen.split, scores, rows, chosen.worst), encoding="utf-8")


def _plain(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
