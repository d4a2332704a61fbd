"""What a model gains by declining: abstention, prediction sets and their coverage, risk against coverage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cefm_core.evaluation.bootstrap import percentile_interval
from cefm_core.evaluation.frame import COMBINED, Cohort
from cefm_core.evaluation.rows import Measured, metric_row
from cefm_core.evaluation.score_rows import Rows, group_count
from cefm_core.evaluation.strata import strata
from cefm_core.evaluation.weighted import chunks, on_grid, resampled_mean

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
CLASSES = ("nevus", "melanoma")


def _mean_row(
    cohort: Cohort, metric: str, values: Bools, among: Bools, absent: str, stratum: str = "all", minimum: int = 1
) -> dict[str, Any]:
    """Row of a share among some rows of the cohort, with its interval; absent where there are fewer than ``minimum`` of them."""
    target = cohort.target[among]
    counts: dict[str, Any] = {"n": target.size, "n_positive": int(target.sum()), "stratum": stratum}
    if target.size < minimum:
        return metric_row(COMBINED, cohort.split, metric, Measured(None, absent), **counts)
    samples = resampled_mean(cohort.weights, values.astype(np.float64), among)
    interval = percentile_interval(samples, group_count(cohort.codes[among]))
    return metric_row(COMBINED, cohort.split, metric, Measured(float(values[among].mean())), interval=interval, **counts)


def abstention_rows(cohort: Cohort, column: str) -> Rows:
    """How often the model declines to answer, and its accuracy where it answers."""
    if "abstain" not in cohort.frame.columns or cohort.frame["abstain"].isna().all() or cohort.n == 0:
        return []
    declined = cohort.frame["abstain"].fillna(False).to_numpy(dtype=bool)
    right = (cohort.scores(column) >= 0.5) == (cohort.target == 1)
    everyone = np.ones(cohort.n, dtype=bool)
    return [
        _mean_row(cohort, "abstain_share", declined, everyone, "no_rows"),
        _mean_row(cohort, "accuracy_where_answered", right, ~declined, "no_rows"),
    ]


def held_classes(frame: pd.DataFrame) -> tuple[NDArray[np.bool_], Bools] | None:
    """Return which classes each prediction set holds, bool (n, 2), and which images have a set, (n,); None where none has."""
    if "conformal_set" not in frame.columns or not frame["conformal_set"].notna().any():
        return None
    known = frame["conformal_set"].notna().to_numpy()
    sets = [set() if not known_ else {str(v) for v in value} for value, known_ in zip(frame["conformal_set"], known, strict=True)]
    return np.array([[name in held for name in CLASSES] for held in sets], dtype=bool).reshape(len(sets), 2), known


def conformal_rows(cohort: Cohort, minimum: int) -> Rows:
    """Coverage of the prediction sets, overall, by class and by stratum, and what the sets of one class are worth.

    Args:
        cohort: Held-out rows with ``conformal_set``.
        minimum: Fewest images of either class for the coverage of a stratum.
    """
    found = held_classes(cohort.frame)
    if found is None or cohort.n == 0:
        return []
    held, known = found
    covered = held[np.arange(cohort.n), cohort.target]
    single = held.sum(axis=1) == 1
    rows = [_mean_row(cohort, "conformal_coverage", covered, known, "no_rows")]
    for label, name in enumerate(CLASSES):
        rows.append(_mean_row(cohort, f"conformal_coverage_{name}", covered, known & (cohort.target == label), "class_absent"))
    rows.append(_mean_row(cohort, "conformal_single_share", single, known, "no_rows"))
    rows.append(_mean_row(cohort, "conformal_single_accuracy", covered, known & single, "no_rows"))
    for stratum, inside in strata(cohort.frame):
        inside &= known
        for label, name in enumerate(CLASSES):
            among = inside & (cohort.target == label)
            rows.append(_mean_row(cohort, f"conformal_coverage_{name}", covered, among, "too_few", stratum, minimum))
    return rows


def selective_risk(weights: Floats, confidence: Floats, wrong: Floats) -> tuple[Floats, Floats]:
    """Return share answered and share of the answers that are wrong, as images are answered in order of falling confidence.

    Args:
        weights: Shape (resamples, n).
        confidence: Shape (n,); images of equal confidence are answered together.
        wrong: Shape (n,), 0 or 1.

    Returns:
        Two arrays (resamples, distinct confidences).
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    answered = np.cumsum(weights[:, order], axis=1)[:, ends]
    mistakes = np.cumsum(weights[:, order] * wrong[order], axis=1)[:, ends]
    with np.errstate(divide="ignore", invalid="ignore"):
        return answered / answered[:, -1:], np.where(answered > 0, mistakes / np.maximum(answered, 1e-12), 0.0)


def risk_area(weights: Floats, confidence: Floats, wrong: Floats) -> Floats:
    """Area under the curve of risk against coverage (Geifman and El-Yaniv 2017), (resamples,); lower is better."""
    share, risk = selective_risk(weights, confidence, wrong)
    steps = np.diff(share, axis=1, prepend=0.0)
    return on_grid((steps * risk).sum(axis=1))


def confidence_of(probability: Floats) -> Floats:
    """Return how sure a probability of melanoma is of the likelier class, 0.5..1."""
    return np.maximum(probability, 1 - probability)


def risk_rows(cohort: Cohort, column: str) -> Rows:
    """Area under risk against coverage, and the risk left when the least sure fifth or half is declined."""
    if cohort.n == 0:
        return []
    probability = cohort.scores(column)
    wrong = ((probability >= 0.5) != (cohort.target == 1)).astype(np.float64)
    confidence = confidence_of(probability)
    measures: dict[str, Callable[[Floats], Floats]] = {
        "risk_coverage_area": lambda w: risk_area(w, confidence, wrong),
        "risk_at_coverage80": lambda w: _risk_at(w, confidence, wrong, 0.8),
        "risk_at_coverage50": lambda w: _risk_at(w, confidence, wrong, 0.5),
    }
    rows = []
    for name, measure in measures.items():
        value = float(measure(np.ones((1, cohort.n)))[0])
        samples = np.concatenate([measure(block) for block in chunks(cohort.weights)])
        interval = percentile_interval(samples, group_count(cohort.codes))
        counts: dict[str, Any] = {"n": cohort.n, "n_positive": cohort.n_positive}
        rows.append(metric_row(COMBINED, cohort.split, name, Measured(value), interval=interval, **counts))
    return rows


def _risk_at(weights: Floats, confidence: Floats, wrong: Floats, coverage: float) -> Floats:
    """Return the risk at the least share answered that is not below ``coverage``, (resamples,)."""
    share, risk = selective_risk(weights, confidence, wrong)
    first = np.argmax(share >= coverage - 1e-9, axis=1)
    return risk[np.arange(len(risk)), first]
