"""Scores of the coarse stage on images with reference masks, at their own size, with the whole stage as users run it.

Training does not belong here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2

from cefm_core.config import CoarseConfig
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.coarse import CoarseSegmenter
from cefm_core.segmentation.postprocess import touches_border
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


def score_rows(segmenter: CoarseSegmenter, rows: Sequence[TrainingRow], progress: Callable[[int], None] | None = None) -> list[Scores]:
    """Segment each image and compare with its reference mask.

    Args:
        segmenter: The loaded coarse stage.
        rows: Images with reference masks.
        progress: Called with the number of images done.

    Returns:
        Results of :func:`cefm_core.segmentation.scores.mask_scores`, in order, with ``image_id``, ``confidence``, ``size`` (stratum of
        the reference mask's share of the image) and ``frame`` (whether it reaches the image's edge).

    Raises:
        ConfigurationError: An image or mask cannot be read, or their sizes differ.
    """
    scores = []
    for index, row in enumerate(rows):
        bgr, mask = cv2.imread(str(row.image)), cv2.imread(str(row.mask), cv2.IMREAD_GRAYSCALE)
        if bgr is None or mask is None or bgr.shape[:2] != mask.shape:
            raise ConfigurationError(f"held-out data: image or mask of {row.image_id} is unreadable, or their sizes differ")
        found, reference = segmenter.segment([bgr[..., ::-1].copy()])[0], mask > 127
        extra: Scores = {"image_id": row.image_id, "confidence": found.row["confidence"], "size": _size(float(reference.mean()))}
        extra["frame"] = "cut by the frame" if touches_border(reference) else "whole in the frame"
        scores.append(mask_scores(found.mask, reference) | extra)
        if progress is not None:
            progress(index + 1)
    return scores


def summary_table(scores: Sequence[Scores], rows: Sequence[TrainingRow]) -> str:
    """Return a Markdown table with 95 % bootstrap intervals by group: all images, each source, diagnosis, lesion size and frame contact."""
    groups = [row.group for row in rows]
    strata: dict[str, Summary] = {"all": summarise(scores, groups)}
    strata |= {f"source {k}": v for k, v in summarise_by(scores, [r.source for r in rows], groups).items()}
    strata |= {f"diagnosis {k}": v for k, v in summarise_by(scores, [r.diagnosis for r in rows], groups).items()}
    strata |= {f"lesion {k}": v for k, v in summarise_by(scores, [s["size"] for s in scores], groups).items()}
    strata |= {f"lesion {k}": v for k, v in summarise_by(scores, [s["frame"] for s in scores], groups).items()}
    lines = ["| images | n | " + " | ".join(title for _, title in SHOWN) + " |", "| --- | ---: |" + " ---: |" * len(SHOWN)]
    for name, summary in strata.items():
        cells = [_cell(summary.figures[key]) for key, _ in SHOWN]
        lines.append(f"| {name} | {summary.n} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def worst(scores: Sequence[Scores], count: int) -> list[dict[str, Any]]:
    """Return the images of lowest Dice, lowest first; ties by image id. Images whose Dice is undefined are left out."""
    known = [s for s in scores if s["dice"] is not None]
    return sorted(known, key=lambda s: (s["dice"], s["image_id"]))[:count]


def _size(share: float) -> str:
    bounds = ((0.05, "below 5 % of the image"), (0.15, "from 5 to 15 %"), (0.35, "from 15 to 35 %"))
    return next((name for bound, name in bounds if share < bound), "over 35 %")


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
    parser.add_argument("--weights", default="builtin", help="`builtin`, or the path of a safetensors file")
    parser.add_argument("--test-time-augmentation", action="store_true", help="average over four flips")
    parser.add_argument("--worst", type=int, default=20, help="how many of the worst images to list")
    chosen = parser.parse_args(arguments)
    config = CoarseConfig(weights=chosen.weights, test_time_augmentation=chosen.test_time_augmentation)
    segmenter, rows = CoarseSegmenter.load(config), read_rows(chosen.metadata, (chosen.split,))
    scores = score_rows(segmenter, rows)
    print(f"weights {segmenter.facts.sha256}, split {chosen.split}\n\n{summary_table(scores, rows)}")
    for row in worst(scores, chosen.worst):
        print(
            f"{row['image_id']}: Dice {row['dice']:.3f}, sensitivity {_plain(row['sensitivity'])}, confidence {_plain(row['confidence'])}"
        )


def _plain(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
