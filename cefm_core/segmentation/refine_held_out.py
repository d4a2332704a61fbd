"""Scores of the refining stage on images with reference masks: what it gained, what its gate decided, and what its confidence is worth.

    python -m cefm_core.segmentation.refine_held_out METADATA.csv --split val [--rows ROWS.csv] [--page PAGE.html]

The split ``tune`` is the part of ``train`` on which no weights were fitted. Settings of a gate may be chosen on it, never on `val`.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cefm_core.config import CoarseConfig, RefineConfig
from cefm_core.segmentation.coarse import CoarseSegmenter
from cefm_core.segmentation.confidence import FEATURES
from cefm_core.segmentation.held_out import read_pair
from cefm_core.segmentation.mask_pages import PairedImage, gains_page
from cefm_core.segmentation.refine import MaskRefiner
from cefm_core.segmentation.scores import mask_scores
from cefm_core.segmentation.training import TrainingRecipe
from cefm_core.segmentation.training_data import TrainingRow, is_tuning, read_rows

HARD_BELOW = 0.85  # coarse Dice
SAMPLES, SEED = 2000, 999
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
Measured = dict[str, Any]


def read_split(metadata: Path, split: str) -> list[TrainingRow]:
    """Return the rows of a split; ``tune`` is the part of ``train`` that the network's training keeps apart."""
    if split != "tune":
        return read_rows(metadata, (split,))
    return [row for row in read_rows(metadata, ("train",)) if is_tuning(row.group, TrainingRecipe.tune_share)]


def measure(row: TrainingRow, segmenter: CoarseSegmenter, refiner: MaskRefiner) -> Measured:
    """Segment and refine one image; return its scores, the gate's evidence and its decision.

    ``coarse_dice``, ``proposal_dice`` (the coarse mask's where nothing was proposed) and ``dice`` (after the gate) are 0..1.
    """
    rgb, reference = read_pair(row)
    coarse = segmenter.segment([rgb])[0]
    found = refiner.refine(rgb, coarse.mask, coarse.row["confidence"])
    proposal = coarse.mask if found.proposal is None else found.proposal
    dice = {
        f"{name}dice": mask_scores(mask, reference)["dice"] or 0.0
        for name, mask in (("coarse_", coarse.mask), ("proposal_", proposal), ("", found.mask))
    }
    known = {**found.row, "coarse_confidence": coarse.row["confidence"]}
    told = {name: known[name] for name in ("decision", "decision_reason", "mask_confidence", *FEATURES)}
    return {"image_id": row.image_id, "source": row.source, "group": row.group, **dice, **told}


def gain_table(rows: Sequence[Measured]) -> str:
    """Return mean Dice before, proposed and after the gate by source, as Markdown; intervals by lesion group."""
    strata = {"all": list(rows)}
    strata |= {name: [r for r in rows if r["source"] == name] for name in sorted({r["source"] for r in rows})}
    strata |= {f"coarse Dice below {HARD_BELOW}": [r for r in rows if r["coarse_dice"] < HARD_BELOW]}
    lines = ["| images | n | coarse | proposed | after the gate | gain (95 % interval) |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, members in strata.items():
        if not members:
            continue
        means = [np.mean([r[key] for r in members]) for key in ("coarse_dice", "proposal_dice", "dice")]
        low, high = _interval(members)
        cells = " | ".join(f"{m:.4f}" for m in means)
        lines.append(f"| {name} | {len(members)} | {cells} | {means[2] - means[0]:+.4f} ({low:+.4f} to {high:+.4f}) |")
    return "\n".join(lines) + "\n"


def decision_table(rows: Sequence[Measured]) -> str:
    """Return how often each reason stood, and how often the decision was right, as Markdown."""
    reasons = Counter((r["decision"], r["decision_reason"]) for r in rows)
    lines = ["| decision | reason | images | proposal truly better | truly worse |", "| --- | --- | ---: | ---: | ---: |"]
    for (decision, reason), count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        members = [r["proposal_dice"] - r["coarse_dice"] for r in rows if (r["decision"], r["decision_reason"]) == (decision, reason)]
        lines.append(f"| {decision} | {reason} | {count} | {sum(g > 0 for g in members)} | {sum(g < 0 for g in members)} |")
    return "\n".join(lines) + "\n"


def confidence_table(rows: Sequence[Measured]) -> str:
    """Return rank correlations with the final Dice, the error of the confidence, and Dice by coverage, as Markdown."""
    from scipy.stats import spearmanr

    dice = np.array([r["dice"] for r in rows])
    lines = ["| column | n | Spearman with the final Dice |", "| --- | ---: | ---: |"]
    for name in ("mask_confidence", *FEATURES):
        there = np.array([r[name] is not None for r in rows])
        if there.sum() > 2:
            values = np.array([r[name] for r in rows if r[name] is not None], dtype=float)
            lines.append(f"| {name} | {int(there.sum())} | {spearmanr(values, dice[there]).statistic:.3f} |")
    known = [r for r in rows if r["mask_confidence"] is not None]
    if not known:
        return "\n".join(lines) + "\n"
    expected, found = (np.array([r[key] for r in known]) for key in ("mask_confidence", "dice"))
    lines += [
        "",
        f"Mean confidence {expected.mean():.3f}, mean Dice {found.mean():.3f}, mean absolute error {np.abs(expected - found).mean():.3f}.",
    ]
    lines += ["", "| share kept, most confident first | mean Dice | Dice below 0.8 |", "| ---: | ---: | ---: |"]
    order = np.argsort(-expected, kind="stable")
    for coverage in COVERAGES:
        kept = found[order[: max(1, round(coverage * len(order)))]]
        lines.append(f"| {coverage:.0%} | {kept.mean():.3f} | {np.mean(kept < 0.8):.1%} |")
    return "\n".join(lines) + "\n"


def _interval(rows: Sequence[Measured]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean gain over lesion groups."""
    gain = np.array([r["dice"] - r["coarse_dice"] for r in rows])
    _, codes = np.unique([r["group"] for r in rows], return_inverse=True)
    sums: npt.NDArray[Any] = np.bincount(codes, weights=gain)
    sizes = np.bincount(codes)
    drawn = np.random.default_rng(SEED).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=SAMPLES)
    low, high = np.percentile((drawn @ sums) / (drawn @ sizes), (2.5, 97.5))
    return float(low), float(high)


def _page(rows: Sequence[Measured], sources: dict[str, TrainingRow], segmenter: CoarseSegmenter, refiner: MaskRefiner, count: int) -> str:
    order = sorted(rows, key=lambda r: (r["dice"] - r["coarse_dice"], r["image_id"]))

    def shown(members: Sequence[Measured]) -> list[PairedImage]:
        pairs = []
        for item in members:
            rgb, reference = read_pair(sources[item["image_id"]])
            coarse = segmenter.segment([rgb])[0]
            refined = refiner.refine(rgb, coarse.mask, coarse.row["confidence"])
            pairs.append(PairedImage(rgb, reference, coarse.mask, refined.mask, item))
        return pairs

    return gains_page(shown(order[::-1][:count]), shown(order[:count]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the three tables; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m cefm_core.segmentation.refine_held_out", description="Score the refining stage.")
    parser.add_argument("metadata", type=Path, help="CSV of the data set; see cefm_core.segmentation.training_data.read_rows")
    parser.add_argument("--split", default="val", help="value of its column `split`, or `tune`")
    parser.add_argument("--refiner", default="auto", help="backend")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another setting of the stage")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image only")
    parser.add_argument("--rows", type=Path, help="write one row an image to this CSV file")
    parser.add_argument("--page", type=Path, help="write a page of the 20 largest gains and losses to this file")
    chosen = parser.parse_args(arguments)
    segmenter, refiner = (
        CoarseSegmenter.load(CoarseConfig()),
        MaskRefiner.load(RefineConfig(refiner=chosen.refiner, **dict(item.split("=", 1) for item in chosen.set))),
    )
    sources = read_split(chosen.metadata, chosen.split)[:: chosen.every]
    rows = [measure(row, segmenter, refiner) for row in sources]
    print(f"refiner {refiner.resolved.name}, coarse weights {segmenter.weights}, split {chosen.split}\n")
    print("\n".join((gain_table(rows), decision_table(rows), confidence_table(rows))))
    if chosen.rows is not None:
        with chosen.rows.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if chosen.page is not None:
        chosen.page.write_text(_page(rows, {r.image_id: r for r in sources}, segmenter, refiner, 20), encoding="utf-8")


if __name__ == "__main__":
    main()
