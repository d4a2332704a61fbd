"""Parity with the paper's released feature tables: what five numbers a lesion give, and what the image's name alone gives.

Needs no image. The tables have one row per image: image_name, target (1 melanoma, 0 nevus) and the five columns of ``COLUMNS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cefm_core.config import EvaluationConfig
from cefm_core.errors import ConfigurationError
from cefm_core.evaluation.bootstrap import percentile_interval
from cefm_core.evaluation.evaluate import evaluate
from cefm_core.evaluation.frame import Cohort, assemble_frame, build_cohort
from cefm_core.evaluation.paper_page import parity_page
from cefm_core.evaluation.rows import Measured, metric_row
from cefm_core.evaluation.score_rows import group_count
from cefm_core.evaluation.shortcuts import id_number
from cefm_core.evaluation.weighted import resampled_auc, resampled_metrics

COLUMNS: dict[str, str] = {
    "A": "a_grey",
    "B2": "b2_mean_curvature",
    "H standard deviation": "hue_std",
    "S standard deviation": "saturation_std",
    "V standard deviation": "value_std",
}
HAM_IDS = (24306, 34320)  # first and last number of an ISIC id that belongs to HAM10000
FOLDS = 5
SEED = 999
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class PaperTables:
    """What the released tables show.

    Attributes:
        rows: Rows of the metrics table; split is ``test``.
        markdown: The page docs/paper_parity.md.
        headline: Sentences for a terminal; the sentinel's alarm comes first.
        figures: PNG bytes by file name; empty unless asked for.
    """

    rows: Rows
    markdown: str
    headline: list[str]
    figures: dict[str, bytes]


@dataclass(frozen=True)
class Candidate:
    """A classifier on the five numbers and its cross-validated AUC on the training table."""

    name: str
    label: str
    cv_auc: float
    cv_spread: float


def read_table(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return image_id, target and the five numbers under this project's names; incomplete rows are left out.

    Args:
        table: As released.
        name: Which table, for the message.

    Raises:
        ConfigurationError: A column is missing, or a class has fewer than ``FOLDS`` complete rows.
    """
    table = table.rename(columns=lambda c: str(c).strip())
    missing = [c for c in ("image_name", "target", *COLUMNS) if c not in table.columns]
    if missing:
        raise ConfigurationError(f"{name} table: missing column(s) {', '.join(missing)}; found {', '.join(table.columns)}")
    numbers = table[["target", *COLUMNS]].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan).rename(columns=COLUMNS)
    rows = pd.concat([table["image_name"].astype("string").astype("object").rename("image_id"), numbers], axis=1)
    rows = rows[rows["target"].isin([0, 1])].dropna().drop_duplicates("image_id").reset_index(drop=True)
    counts = np.bincount(rows["target"].astype(int), minlength=2)
    if counts.min() < FOLDS:
        raise ConfigurationError(f"{name} table: {counts[1]} complete melanoma rows and {counts[0]} nevus rows; each needs {FOLDS} or more")
    return rows


def in_ham_range(image_id: pd.Series) -> NDArray[np.bool_]:
    """Whether each id's number lies in the range that HAM10000 holds in the ISIC archive."""
    return id_number(image_id).between(*HAM_IDS).to_numpy(dtype=bool)


def _classifiers() -> dict[str, tuple[str, Any]]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, PowerTransformer, StandardScaler

    def quadratic(c: float) -> Any:
        steps = (PowerTransformer(), PolynomialFeatures(2, include_bias=False), StandardScaler())
        return make_pipeline(*steps, LogisticRegression(C=c, max_iter=2000))

    return {
        "logistic": ("logistic regression on the standardised numbers", make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))),
        "quadratic_0.1": ("logistic regression with squares and products, C 0.1", quadratic(0.1)),
        "quadratic_1": ("logistic regression with squares and products, C 1", quadratic(1.0)),
        "forest": (
            "random forest",
            RandomForestClassifier(n_estimators=60, min_samples_leaf=5, random_state=SEED, n_jobs=1),
        ),
    }


def cross_validate(features: NDArray[np.float64], target: NDArray[np.int64]) -> list[Candidate]:
    """Score every candidate classifier by five-fold cross-validation on the training table alone, best first."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    result = []
    for name, (label, model) in _classifiers().items():
        scores = cross_val_score(model, features, target, cv=folds, scoring="roc_auc")
        result.append(Candidate(name, label, float(scores.mean()), float(scores.std(ddof=1))))
    return sorted(result, key=lambda c: (-c.cv_auc, c.name))


def _predictions(train: pd.DataFrame, test: pd.DataFrame, chosen: str) -> pd.DataFrame:
    """Fit logistic regression and the chosen classifier on the training table; probabilities for both tables."""
    names = list(COLUMNS.values())
    both = pd.concat([train, test], ignore_index=True)
    columns = {}
    for column, name in (("p_clinical", "logistic"), ("p_clinical_selected", chosen)):
        model = _classifiers()[name][1].fit(train[names].to_numpy(), train["target"].to_numpy(dtype=np.int64))
        columns[column] = model.predict_proba(both[names].to_numpy())[:, 1]
    return pd.DataFrame({"image_id": both["image_id"], **columns})


def _manifest(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    both = pd.concat([train.assign(split="train"), test.assign(split="test")], ignore_index=True)
    ham = in_ham_range(both["image_id"])
    source = np.where(ham, "HAM10000 id range", "other ids")
    return both[["image_id", "target", "split"]].assign(source=source, group_id=None)


def _source_rows(cohort: Cohort, models: Sequence[str]) -> Rows:
    """AUC with the melanomas of one collection only, against all nevi."""
    ham = in_ham_range(cohort.frame["image_id"])
    rows: Rows = []
    for stratum, chosen in (("melanomas=HAM10000 ids", ham), ("melanomas=other ids", ~ham)):
        inside = (cohort.target == 0) | chosen
        target = cohort.target[inside]
        for model in models:
            measured, interval = Measured(None, "single_class"), percentile_interval(np.full(1, np.nan), 0)
            if np.unique(target).size == 2:
                from sklearn.metrics import roc_auc_score

                score = cohort.scores(f"p_{model}")[inside]
                measured = Measured(float(roc_auc_score(target, score)))
                samples = resampled_auc(cohort.weights[:, inside], target, score)
                interval = percentile_interval(samples, group_count(cohort.codes[inside]))
            counts: dict[str, Any] = {"n": target.size, "n_positive": int(target.sum())}
            rows.append(metric_row(model, cohort.split, "roc_auc", measured, interval=interval, stratum=stratum, **counts))
    return rows


def _rule_rows(cohort: Cohort) -> Rows:
    """What the fixed rule `a HAM10000 id is a melanoma` reaches; it sees no image and learns nothing."""
    from cefm_core.evaluation.metrics import point_metrics

    names = ("roc_auc", "accuracy", "sensitivity", "specificity", "balanced_accuracy")
    called = in_ham_range(cohort.frame["image_id"]).astype(np.float64)
    none = Measured(None, "no_tune_threshold")
    points = point_metrics(cohort.target, called, none, names)
    samples = resampled_metrics(cohort.weights, cohort.target, called, none, names)
    counts: dict[str, Any] = {"n": cohort.n, "n_positive": cohort.n_positive}
    groups = group_count(cohort.codes)
    return [
        metric_row("shortcut:ham_id_rule", cohort.split, n, points[n], interval=percentile_interval(samples[n], groups), **counts)
        for n in names
    ]


def evaluate_paper_tables(
    train: pd.DataFrame, test: pd.DataFrame, config: EvaluationConfig | None = None, *, draw: bool = False
) -> PaperTables:
    """Train the clinical classifier on the released training table and score it, and its shortcuts, on the test table.

    Args:
        train: Released training table.
        test: Released test table.
        config: Settings of intervals and sentinel; None for the defaults.
        draw: Whether to draw the figures.

    Raises:
        ConfigurationError: A table lacks a column or a class, or an image stands in both.
    """
    config = config or EvaluationConfig()  # type: ignore[call-arg]
    fit, held_out = read_table(train, "training"), read_table(test, "test")
    shared = sorted(set(fit["image_id"]) & set(held_out["image_id"]))
    if shared:
        raise ConfigurationError(f"{len(shared)} image(s) stand in both tables, the first {shared[0]}; remove them from one")
    names = list(COLUMNS.values())
    candidates = cross_validate(fit[names].to_numpy(), fit["target"].to_numpy(dtype=np.int64))
    predictions, manifest = _predictions(fit, held_out, candidates[0].name), _manifest(fit, held_out)
    abc = pd.concat([fit, held_out], ignore_index=True)[["image_id", *names]]
    result = evaluate(predictions, manifest, abc_features=abc, config=config, draw=draw)
    frame = assemble_frame(predictions, manifest)
    models = ("clinical", "clinical_selected")
    cohort = build_cohort(frame, "test", "p_clinical", config.bootstrap_samples, config.bootstrap_seed)
    rows = result.metric_rows + _source_rows(cohort, models) + _rule_rows(cohort)
    dropped = (len(train) - len(fit), len(test) - len(held_out))
    headline = [line for line in result.headline if not line.startswith("Shortcut sentinel")]
    page = parity_page(rows, headline, candidates, fit, held_out, dropped)
    return PaperTables(rows, page, headline, result.figures)
