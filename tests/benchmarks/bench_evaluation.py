"""What the evaluation costs: bootstrap of all metrics, and of AUC alone against a loop over scikit-learn.

    python tests/benchmarks/bench_evaluation.py [--images N] [--resamples N] [--loop N]

The loop draws the same resamples and calls ``roc_auc_score`` on the repeated rows, as one would without the weighted form; both
give the same numbers, which is checked. Times are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[2]))

from cefm_core.evaluation.bootstrap import group_resamples
from cefm_core.evaluation.metrics import METRIC_NAMES
from cefm_core.evaluation.rows import Measured
from cefm_core.evaluation.weighted import resampled_auc, resampled_metrics


def seconds(function: Callable[[], Any]) -> tuple[Any, float]:
    """Run a function once; return its result and its CPU seconds."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def run(quick: bool) -> str:
    """Time the bootstrap at the usual size; ``quick`` takes a tenth of the images."""
    return measure(500 if quick else 5000, 1000, 100)


def measure(images: int, resamples: int, looped: int) -> str:
    """Time the bootstrap of all metrics and of AUC, and AUC by a loop over scikit-learn on the first ``looped`` resamples."""
    rng = np.random.default_rng(0)
    target = (rng.random(images) < 0.3).astype(np.int64)
    probability = 1 / (1 + np.exp(-(rng.normal(size=images) + 1.5 * target - 1)))
    codes = rng.integers(0, images // 2, images)
    codes = np.unique(codes, return_inverse=True)[1]
    weights, drawn = seconds(lambda: group_resamples(codes, resamples, 0))
    _, everything = seconds(lambda: resampled_metrics(weights, target, probability, Measured(0.2)))
    fast, alone = seconds(lambda: resampled_auc(weights, target, probability))

    def loop() -> list[float]:
        chosen = [np.repeat(np.arange(images), w) for w in weights[:looped]]
        return [float(roc_auc_score(target[rows], probability[rows])) for rows in chosen]

    slow, peer = seconds(loop)
    difference = np.abs(np.array(slow) - fast[:looped]).max()
    rows = [
        (f"draw {resamples} resamples of groups", drawn),
        (f"all {len(METRIC_NAMES) - 1} resampled metrics, {resamples} resamples", everything),
        (f"AUC alone, {resamples} resamples", alone),
        (f"AUC by a loop over scikit-learn, {looped} resamples", peer),
    ]
    lines = ["| step | CPU s |", "| --- | ---: |", *(f"| {name} | {spent:.2f} |" for name, spent in rows)]
    return "\n".join([*lines, "", f"{images} images in {codes.max() + 1} groups; largest difference of the two AUCs {difference:.1e}."])


def main() -> None:
    """Measure at the asked size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=100, help="resamples of the loop over scikit-learn")
    asked = parser.parse_args()
    print(measure(asked.images, asked.resamples, asked.loop))


if __name__ == "__main__":
    main()
