"""The shortcut sentinel: says so, before anything else, when a score could have been had without looking at the lesion.

Four alarms, each a comparison on the same images and the same resamples:

* ``auc``: a shortcut alone comes within the margin of the model's AUC, and is itself clearly above chance.
* ``accuracy``: a shortcut alone is at least as often right as the model, and clearly beats calling everything the commoner class.
* ``matched``: the model's AUC falls by more than the margin when only pairs from the same source are compared.
* ``coverage``: most melanomas come from sources that hold no nevus, so that no analysis can part disease from source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cefm_core.evaluation.bootstrap import percentile_interval
from cefm_core.evaluation.frame import Cohort
from cefm_core.evaluation.matching import MatchedAuc, matched_auc
from cefm_core.evaluation.rows import NO_INTERVAL, Interval, Measured, metric_row
from cefm_core.evaluation.score_rows import group_count
from cefm_core.evaluation.shortcuts import FittedShortcut, Shortcut, out_of_fold
from cefm_core.evaluation.weighted import resampled_auc, resampled_mean

MIN_COVERED_SHARE = 0.5
MIN_CLASS = 10  # melanomas and nevi below which no alarm can be judged


@dataclass(frozen=True)
class ShortcutScore:
    """What one shortcut alone reaches on a cohort.

    Attributes:
        shortcut: Which.
        auc: AUC, or the reason why there is none.
        auc_interval: Its 95 % interval.
        accuracy: Share of images it calls right at 0.5.
        accuracy_interval: Its 95 % interval.
        gain_low: Lower end of the interval of its accuracy less that of calling everything the commoner class; None where undefined.
        fitted: ``train and tune``, or ``out of fold``.
    """

    shortcut: Shortcut
    auc: Measured
    auc_interval: Interval = NO_INTERVAL
    accuracy: Measured = Measured(None, "not_available")
    accuracy_interval: Interval = NO_INTERVAL
    gain_low: float | None = None
    fitted: str = ""


@dataclass(frozen=True)
class SentinelResult:
    """What the sentinel saw on one cohort.

    Attributes:
        split: The cohort's split.
        scores: One per shortcut, in their order.
        matched: AUC of the model within sources.
        rows: Rows for the metrics table.
        alarms: One sentence per alarm; empty when quiet.
        notes: What could not be judged, and findings that are no alarm.
        judged: Whether there were images enough to judge; without, the absence of an alarm means nothing.
    """

    split: str
    scores: list[ShortcutScore]
    matched: MatchedAuc
    rows: list[dict[str, Any]]
    alarms: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    judged: bool = True

    @property
    def fires(self) -> bool:
        """Whether any alarm was raised."""
        return bool(self.alarms)


def shortcut_probability(cohort: Cohort, fitted: FittedShortcut) -> tuple[NDArray[np.float64] | None, str]:
    """Return a shortcut's probability for each row of the cohort, and how it was fitted (or the reason for its absence)."""
    if fitted.probability is not None:
        return fitted.probability.reindex(cohort.frame["image_id"].to_numpy()).to_numpy(dtype=np.float64), "train and tune"
    features = fitted.shortcut.features(cohort.frame)
    if features is None:
        return None, "not_available"
    if np.bincount(cohort.target, minlength=2).min() < MIN_CLASS:
        return None, "too_few"
    probability = out_of_fold(features, cohort.target, cohort.codes)
    return probability, "too_few" if probability is None else "out of fold"


def accuracy_samples(cohort: Cohort, called: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Accuracy of these calls in every resample."""
    right = (called == (cohort.target == 1)).astype(np.float64)
    return resampled_mean(cohort.weights, right)


def score_shortcut(cohort: Cohort, fitted: FittedShortcut) -> ShortcutScore:
    """Score one shortcut on the cohort."""
    from sklearn.metrics import roc_auc_score

    shortcut = fitted.shortcut
    if np.unique(cohort.target).size < 2:
        return ShortcutScore(shortcut, Measured(None, "single_class" if cohort.n else "no_rows"))
    probability, how = shortcut_probability(cohort, fitted)
    if probability is None:
        return ShortcutScore(shortcut, Measured(None, how))
    groups = group_count(cohort.codes)
    called = probability >= 0.5
    samples = accuracy_samples(cohort, called)
    commoner = np.full(cohort.n, cohort.target.mean() >= 0.5)
    gain = percentile_interval(samples - accuracy_samples(cohort, commoner), groups)
    return ShortcutScore(
        shortcut,
        Measured(float(roc_auc_score(cohort.target, probability))),
        percentile_interval(resampled_auc(cohort.weights, cohort.target, probability), groups),
        Measured(float(np.mean(called == (cohort.target == 1)))),
        percentile_interval(samples, groups),
        gain.low,
        how,
    )


def _above_chance(score: ShortcutScore) -> bool:
    """Whether the shortcut's AUC is above 0.5 beyond doubt; a score that never varies (a perfect one) is taken at its word."""
    if score.auc.value is None or score.auc_interval.reason == "too_few":
        return False
    low = score.auc.value if score.auc_interval.low is None else score.auc_interval.low
    return low > 0.5


def _shortcut_alarms(score: ShortcutScore, model_auc: float, model_accuracy: float, margin: float) -> list[str]:
    auc, accuracy = score.auc.value, score.accuracy.value
    if auc is None or accuracy is None:
        return []
    near = auc >= model_auc - margin and _above_chance(score)
    as_right = accuracy >= model_accuracy and score.gain_low is not None and score.gain_low > 0
    if not (near or as_right):
        return []
    reached = f"AUC {auc:.3f} and accuracy {100 * accuracy:.1f} %"
    against = f"AUC {model_auc:.3f} and accuracy {100 * model_accuracy:.1f} %"
    return [f"{score.shortcut.label} alone reaches {reached}, the model {against}"]


def _source_alarms(cohort: Cohort, matched: MatchedAuc, model_auc: float, auc_samples: NDArray[np.float64], margin: float) -> list[str]:
    alarms = []
    fall = percentile_interval(auc_samples - matched.samples, group_count(cohort.codes))
    if matched.value is not None and model_auc - matched.value > margin and fall.low is not None and fall.low > 0:
        alarms.append(f"between melanomas and nevi of the same source the model's AUC falls from {model_auc:.3f} to {matched.value:.3f}")
    if matched.covered_share < MIN_COVERED_SHARE:
        alarms.append(f"only {100 * matched.covered_share:.0f} % of the melanomas come from a source that also holds a nevus")
    return alarms


def _rows(cohort: Cohort, model: str, scores: list[ShortcutScore], matched: MatchedAuc) -> list[dict[str, Any]]:
    counts: dict[str, Any] = {"n": cohort.n, "n_positive": cohort.n_positive}
    rows = []
    for score in scores:
        name = f"{'shortcut' if score.shortcut.is_shortcut else 'baseline'}:{score.shortcut.name}"
        rows.append(metric_row(name, cohort.split, "roc_auc", score.auc, interval=score.auc_interval, **counts))
        accuracy = score.accuracy if score.auc.value is not None else Measured(None, score.auc.reason)
        rows.append(metric_row(name, cohort.split, "accuracy", accuracy, interval=score.accuracy_interval, **counts))
    reason = None if matched.value is not None else ("no_matched_pairs" if cohort.n else "no_rows")
    interval = percentile_interval(matched.samples, group_count(cohort.codes)) if cohort.n else NO_INTERVAL
    rows.append(metric_row(model, cohort.split, "roc_auc_source_matched", Measured(matched.value, reason), interval=interval, **counts))
    share = Measured(matched.covered_share) if cohort.n_positive else Measured(None, "class_absent" if cohort.n else "no_rows")
    rows.append(metric_row(model, cohort.split, "source_matched_share", share, **counts))
    return rows


def _notes(scores: list[ShortcutScore], model_auc: float, margin: float) -> list[str]:
    notes = []
    for score in scores:
        if (
            not score.shortcut.is_shortcut
            and score.auc.value is not None
            and score.auc.value >= model_auc - margin
            and _above_chance(score)
        ):
            notes.append(f"{score.shortcut.label} alone reach AUC {score.auc.value:.3f}: the image adds little to them")
    missing = [s.shortcut.label for s in scores if s.auc.reason == "not_available"]
    if missing:
        notes.append("not tried, for want of data: " + ", ".join(missing))
    return notes


def watch(cohort: Cohort, shortcuts: list[FittedShortcut], model: str, column: str, margin: float) -> SentinelResult:
    """Score every shortcut on a cohort and compare the model with them.

    Args:
        cohort: Held-out rows.
        shortcuts: Every shortcut as :func:`cefm_core.evaluation.shortcuts.fit_shortcuts` fitted it; one that lacked rows
            to fit on is scored out of fold on the cohort, by group.
        model: Name of the model under watch.
        column: Its column.
        margin: AUC within which a shortcut counts as near.
    """
    from sklearn.metrics import roc_auc_score

    score = cohort.scores(column)
    source = cohort.frame["source"].to_numpy(dtype=object)
    matched = matched_auc(cohort.target, score, source, cohort.weights)
    scores = [score_shortcut(cohort, shortcut) for shortcut in shortcuts]
    rows = _rows(cohort, model, scores, matched)
    if np.bincount(cohort.target, minlength=2).min() < MIN_CLASS:
        note = f"shortcuts not judged: fewer than {MIN_CLASS} melanomas or nevi"
        return SentinelResult(cohort.split, scores, matched, rows, [], [note], judged=False)
    auc = float(roc_auc_score(cohort.target, score))
    accuracy = float(np.mean((score >= 0.5) == (cohort.target == 1)))
    alarms = [a for s in scores if s.shortcut.is_shortcut for a in _shortcut_alarms(s, auc, accuracy, margin)]
    alarms += _source_alarms(cohort, matched, auc, resampled_auc(cohort.weights, cohort.target, score), margin)
    return SentinelResult(cohort.split, scores, matched, rows, alarms, _notes(scores, auc, margin))
