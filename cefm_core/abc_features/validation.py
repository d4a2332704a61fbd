"""What the clinical features are worth on labelled images: the measured part of docs/features.md.

python -m cefm_core.abc_features.validation METADATA.csv [--images 400]

METADATA.csv as in ``dataset``, with ``diagnosis``, and on some rows ``ph2_asymmetry``, ``ph2_n_colors`` and
``ph2_color_<colour>``. Intervals are 95 %, by bootstrap over images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import rankdata, spearmanr

from cefm_core.abc_features.colour import COLOURS
from cefm_core.abc_features.dataset import load_lesions, read_records, sample_records
from cefm_core.abc_features.measure import measure_abc
from cefm_core.config import AbcConfig

FEATURES = (
    "asymmetry_score",
    "asymmetry_shape",
    "asymmetry_colour",
    "asymmetry_structure",
    "border_score",
    "border_compactness",
    "border_curvature_energy",
    "border_fractal_dimension",
    "colour_count",
    "colour_variety",
    "structure_count",
    "tds",
    "a_grey",
    "b2_mean_curvature",
    "hue_std",
    "saturation_std",
    "value_std",
)
RESAMPLES = 500
Pair = tuple[np.ndarray, np.ndarray]


def auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the ROC curve by ranks; NaN where one class is missing."""
    present = truth.astype(bool)
    n, m = present.sum(), (~present).sum()
    return float((rankdata(score)[present].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def balanced_accuracy(truth: np.ndarray, called: np.ndarray) -> float:
    """Return the mean of sensitivity and specificity; NaN where one class is missing."""
    present = truth.astype(bool)
    if not present.any() or present.all():
        return float("nan")
    return float((called[present].mean() + 1 - called[~present].mean()) / 2)


def with_interval(statistic: Callable[[np.ndarray, np.ndarray], float], truth: np.ndarray, value: np.ndarray) -> str:
    """Return a statistic with its bootstrap interval and n, as text."""
    generator = np.random.default_rng(999)
    picks = (generator.integers(0, len(truth), len(truth)) for _ in range(RESAMPLES))
    draws = [statistic(truth[i], value[i]) for i in picks]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return f"{statistic(truth, value):.2f} ({low:.2f} to {high:.2f}), n {len(truth)}"


def spearman(truth: np.ndarray, value: np.ndarray) -> float:
    """Return the rank correlation."""
    return float(spearmanr(truth, value)[0])


def pairs(rows: list[tuple[dict, dict]], truth: str, feature: str) -> Pair:
    """Return label and feature of the images that hold both."""
    kept = [(float(r[truth]), float(m[feature])) for r, m in rows if r.get(truth) and m.get(feature) is not None]
    return np.array([k[0] for k in kept]), np.array([k[1] for k in kept])


def experts(rows: list[tuple[dict, dict]]) -> list[str]:
    """Return the comparison with experts' asymmetry and colours."""
    lines = ["| compared with the experts of PH2 | figure |", "| --- | --- |"]
    truth, value = pairs(rows, "ph2_asymmetry", "asymmetry_score")
    lines.append(f"| asymmetry_score, rank correlation with 0/1/2 | {with_interval(spearman, truth, value)} |")
    lines.append(f"| asymmetry_score, AUC for 1 or 2 against 0 | {with_interval(auc, truth > 0, value)} |")
    truth, value = pairs(rows, "ph2_n_colors", "colour_count")
    lines.append(f"| colour_count, rank correlation with the number of colours | {with_interval(spearman, truth, value)} |")
    for name in COLOURS:
        truth, value = pairs(rows, f"ph2_color_{name}", f"colour_{name}")
        lines.append(f"| {name}, balanced accuracy | {with_interval(balanced_accuracy, truth, value)}, present {int(truth.sum())} |")
    return lines


def effects(rows: list[tuple[dict, dict]]) -> list[str]:
    """Return, per feature and source, the AUC of melanoma against nevus: above one half where melanoma is higher."""
    sources = sorted({r["source"] for r, _ in rows})
    lines = ["| feature | " + " | ".join(sources) + " |", "| --- " * (len(sources) + 1) + "|"]
    for feature in FEATURES:
        cells = []
        for source in sources:
            kept = [(r["diagnosis"] == "melanoma", m[feature]) for r, m in rows if r["source"] == source and m.get(feature) is not None]
            truth, value = np.array([k[0] for k in kept]), np.array([float(k[1]) for k in kept])
            enough = len(truth) and min(truth.sum(), (~truth).sum()) >= 5
            cells.append(f"{auc(truth, value):.2f} ({int(truth.sum())}/{len(truth)})" if enough else "too few")
        lines.append(f"| {feature} | " + " | ".join(cells) + " |")
    return lines


def validate(metadata: Path, images: int) -> str:
    """Return the Markdown of both comparisons, on every PH2 image and a sample of ``val``."""
    records = [r for r in read_records(metadata) if r["diagnosis"] in ("melanoma", "nevus")]
    chosen = sample_records([r for r in records if r["split"] == "val"], images) + [r for r in records if r.get("ph2_asymmetry")]
    rows = [(record, measure_abc(rgb, mask, AbcConfig(mask_samples=0))) for record, rgb, mask in load_lesions(chosen, metadata.parent)]
    return "\n".join([*experts(rows), "", *effects(rows)])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--images", type=int, default=400)
    arguments = parser.parse_args()
    print(validate(arguments.metadata, arguments.images))


if __name__ == "__main__":
    main()
