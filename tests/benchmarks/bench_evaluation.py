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
from cefm_core.evaluation.rows import Measured
from cefm_core.evaluation.weighted import resampled_auc, resampled_metrics


def timed(what: str, function: Callable[[], Any]) -> Any:
    """Run a function once and print its CPU seconds."""
    start = time.process_time()
    result = function()
    print(f"{what}: {time.process_time() - start:.2f} s")
    return result


def main() -> None:
    """Time the bootstrap at the asked size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=100, help="resamples of the loop over scikit-learn")
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    target = (rng.random(asked.images) < 0.3).astype(np.int64)
    probability = 1 / (1 + np.exp(-(rng.normal(size=asked.images) + 1.5 * target - 1)))
    codes = rng.integers(0, asked.images // 2, asked.images)
    codes = np.unique(codes, return_inverse=True)[1]
    print(f"{asked.images} images in {codes.max() + 1} groups, {asked.resamples} resamples")
    weights = timed("draw groups", lambda: group_resamples(codes, asked.resamples, 0))
    timed("all 14 metrics", lambda: resampled_metrics(weights, target, probability, Measured(0.2)))
    fast = timed("AUC alone", lambda: resampled_auc(weights, target, probability))

    def loop() -> list[float]:
        chosen = [np.repeat(np.arange(asked.images), w) for w in weights[: asked.loop]]
        return [float(roc_auc_score(target[rows], probability[rows])) for rows in chosen]

    slow = timed(f"AUC by a loop over scikit-learn, {asked.loop} resamples", loop)
    print(f"largest difference: {np.abs(np.array(slow) - fast[: asked.loop]).max():.1e}")


if __name__ == "__main__":
    main()
