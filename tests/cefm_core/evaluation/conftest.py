"""A synthetic run whose truth is known: what the model sees, and what a shortcut could see."""

import numpy as np
import pandas as pd
import pytest


def make_run(n=900, seed=0, planted=False):
    """Tables of a run; with ``planted``, nearly all melanomas come from one source and the model looks at little else."""
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 3, n)
    prevalence = np.where(source == 0, 0.75, 0.08) if planted else np.full(n, 0.3)
    target = (rng.random(n) < prevalence).astype(int)
    signal = 2.5 * (source == 0) + 0.2 * target - 0.6 if planted else 2.4 * target
    signal = signal + rng.normal(0, 0.6 if planted else 1.0, n)
    ids = [f"IMG_{i:07d}" for i in rng.permutation(10**6)[:n]]
    split = rng.choice(["train", "tune", "val", "test"], n, p=[0.45, 0.1, 0.3, 0.15])
    manifest = pd.DataFrame(
        {
            "image_id": ids,
            "target": pd.array(target, dtype="Int64"),
            "split": split,
            "source": np.array(["HAM", "ISIC", "PH2"])[source],
            "group_id": [f"{s}-{g}" for s, g in zip(split, rng.integers(0, n // 2, n), strict=True)],
            "width_px": rng.choice([600, 1022], n),
            "height_px": rng.choice([450, 767], n),
            "age_years": rng.choice([20.0, 35.0, 70.0, np.nan], n),
            "sex": rng.choice(["male", "female", None], n),
            "licence": "CC-0",
        }
    )
    probability = 1 / (1 + np.exp(-(1.6 * signal - 2.4)))
    predictions = pd.DataFrame(
        {
            "image_id": ids,
            "p_melanoma": probability,
            "p_low": probability * 0.9,
            "p_clinical": 1 / (1 + np.exp(-(1.2 * target + rng.normal(size=n) - 1.2))),
            "abstain": np.abs(probability - 0.5) < 0.05,
        }
    )
    abc = pd.DataFrame(
        {"image_id": ids, "a_grey": rng.gamma(6, 2.5, n) + 2 * target, "tds": rng.normal(4.5, 1, n), "skin_ita_deg": rng.normal(40, 15, n)}
    )
    flags = [["hair"] if v > 0.6 else [] for v in rng.random(n)]
    quality = pd.DataFrame({"image_id": ids, "sharpness": rng.gamma(4, 9, n), "hair_share": rng.beta(1, 30, n), "flags": flags})
    dice = np.where(rng.random(n) < 0.8, rng.beta(20, 2, n), np.nan)
    coarse = pd.DataFrame({"image_id": ids, "touches_border": rng.random(n) < 0.3, "reference_dice": dice})
    refined = pd.DataFrame({"image_id": ids, "area_share": rng.beta(2, 5, n), "reference_dice": dice**0.9})
    cosines = {"positive_cosines": rng.normal(0.7, 0.1, 200).clip(-1, 1), "negative_cosines": rng.normal(0, 0.2, 500).clip(-1, 1)}
    return {
        "predictions": predictions,
        "manifest": manifest,
        "abc_features": abc,
        "image_quality": quality,
        "refined_masks": refined,
        "coarse_masks": coarse,
        "diagnostics": {"split": "val", "retrieval_at_10": 0.34, **cosines},
    }


def watch_split(tables, config, split="val"):
    """What the sentinel alone says of one split, without the rest of an evaluation."""
    from cefm_core.evaluation.frame import FITTED, assemble_frame, build_cohort
    from cefm_core.evaluation.sentinel import MIN_CLASS, watch
    from cefm_core.evaluation.shortcuts import fit_shortcuts

    named = {"abc": "abc_features", "quality": "image_quality", "refined": "refined_masks", "coarse": "coarse_masks"}
    frame = assemble_frame(tables["predictions"], tables["manifest"], **{short: tables[name] for short, name in named.items()})
    cohort = build_cohort(frame, split, "p_melanoma", config.bootstrap_samples, config.bootstrap_seed)
    return watch(cohort, fit_shortcuts(frame, FITTED, MIN_CLASS), "combined", "p_melanoma", config.shortcut_margin)


@pytest.fixture(scope="session")
def sentinel():
    return watch_split


@pytest.fixture(scope="session")
def run():
    return make_run


@pytest.fixture(scope="session")
def config():
    from cefm_core.config import EvaluationConfig

    return EvaluationConfig(bootstrap_samples=200)
