"""Fit the confidence of refined masks on images with masks of experts.

    python -m cefm_core.segmentation.refine_held_out METADATA.csv --split tune --set max_coarse_confidence=1 --rows ROWS.csv
    python -m cefm_core.segmentation.confidence_fit ROWS.csv --refiner medsam-lite

Every mask is refined for this, so that each has its evidence. The rows must be of images on which neither network was fitted; a split
that is reported must not be among them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.confidence import FEATURES, MODEL, transformed

BINS = 12  # of the monotone curve from score to Dice
LEAST_ROWS = 50
Values = npt.NDArray[np.float64]


def fit_confidence(features: Values, dice: Values, coarse_dice: Values, refiner: str) -> dict[str, Any]:
    """Fit the model of :func:`cefm_core.segmentation.confidence.mask_confidence`.

    The linear part is a ridge regression of the logit of Dice, its strength by leave-one-out.

    Args:
        features: (n, features) in the order of ``FEATURES``.
        dice: (n,), Dice of the refined masks with their references.
        coarse_dice: (n,), Dice of the coarse masks.
        refiner: Backend of the rows.

    Raises:
        ConfigurationError: There are too few rows.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(dice) < LEAST_ROWS:
        raise ConfigurationError(f"confidence: {len(dice)} usable rows, at least {LEAST_ROWS} are needed")
    inputs, clipped = transformed(features), np.clip(dice, 0.02, 0.995)
    pipeline = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11))).fit(inputs, np.log(clipped / (1 - clipped)))
    weights = pipeline[1].coef_ / pipeline[0].scale_
    offset = float(pipeline[1].intercept_ - weights @ pipeline[0].mean_)
    knots, curve = monotone_curve(inputs @ weights + offset, dice)
    coarse_knots, coarse_curve = monotone_curve(features[:, 0], coarse_dice)
    return {
        "features": list(FEATURES),
        "refiner": refiner,
        "fitted_on": len(dice),
        "weights": [round(float(w), 6) for w in weights],
        "offset": round(offset, 6),
        "knots": knots,
        "dice": curve,
        "coarse_knots": coarse_knots,
        "coarse_dice": coarse_curve,
    }


def monotone_curve(score: Values, dice: Values) -> tuple[list[float], list[float]]:
    """Return a rising curve of Dice over a score: the means of ``BINS`` equally filled bins, made monotone by isotonic regression."""
    from sklearn.isotonic import IsotonicRegression

    order = np.array_split(np.argsort(score, kind="stable"), BINS)
    knots = np.array([score[part].mean() for part in order])
    means = IsotonicRegression().fit_transform(knots, [dice[part].mean() for part in order])
    return [round(float(k), 6) for k in knots], [round(float(d), 6) for d in means]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and write ``confidence.json``; see the module's text."""
    import pandas as pd

    parser = argparse.ArgumentParser(prog="python -m cefm_core.segmentation.confidence_fit", description="Fit the confidence of masks.")
    parser.add_argument("rows", type=Path, help="CSV of refine_held_out --rows")
    parser.add_argument("--refiner", default="medsam-lite", help="backend of the rows")
    parser.add_argument("--out", type=Path, default=MODEL, help="file to write")
    chosen = parser.parse_args(arguments)
    table = pd.read_csv(chosen.rows).dropna(subset=list(FEATURES))
    features, dice, coarse = (table[names].to_numpy(float) for names in (list(FEATURES), "proposal_dice", "coarse_dice"))
    model = fit_confidence(features, dice, coarse, chosen.refiner)
    chosen.out.write_text(json.dumps(model, indent=1) + "\n", encoding="utf-8")
    print(f"{chosen.out}: fitted on {model['fitted_on']} images")


if __name__ == "__main__":
    main()
