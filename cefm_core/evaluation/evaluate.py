"""The evaluation of a run: rows, figures, model card and headline from the tables of the earlier stages.

No formula lives here; each has a module of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cefm_core.config import EvaluationConfig
from cefm_core.evaluation.diagnostics import diagnostic_rows
from cefm_core.evaluation.frame import COMBINED, FITTED, HELD_OUT, Cohort, assemble_frame, build_cohort, model_columns
from cefm_core.evaluation.headline import headline
from cefm_core.evaluation.left_out import left_out_rows
from cefm_core.evaluation.metrics import METRIC_NAMES, point_metrics, tuned_threshold
from cefm_core.evaluation.model_card import write_model_card
from cefm_core.evaluation.rows import Measured, find_row, metric_row
from cefm_core.evaluation.score_rows import comparison_rows, model_rows, stratum_rows
from cefm_core.evaluation.segmentation_rows import segmentation_rows
from cefm_core.evaluation.selective import abstention_rows, conformal_rows, risk_rows
from cefm_core.evaluation.sentinel import MIN_CLASS, SentinelResult, watch
from cefm_core.evaluation.shortcuts import fit_shortcuts
from cefm_core.evaluation.strata import strata

Rows = list[dict[str, Any]]
EMPTY = pd.DataFrame()


@dataclass(frozen=True)
class Evaluation:
    """Everything an evaluation says.

    Attributes:
        metric_rows: Rows of the metrics table, in a fixed order.
        figures: PNG bytes by file name, e.g. ``roc.png``; a figure without data is absent.
        model_card: Markdown.
        headline: Sentences for the summary; an alarm of the shortcut sentinel comes first.
    """

    metric_rows: Rows
    figures: dict[str, bytes]
    model_card: str
    headline: list[str]


@dataclass(frozen=True)
class _Scored:
    """Cohorts and what was found on them, the primary one first."""

    cohorts: list[Cohort]
    sentinels: list[SentinelResult]
    rows: Rows
    absent: str


def _thresholds(frame: pd.DataFrame, models: dict[str, str]) -> dict[str, Measured]:
    """Choose each model's operating threshold on the labelled rows of `tune`."""
    tune = frame[(frame["split"] == "tune") & frame["target"].isin([0, 1])]
    result = {}
    for model, column in models.items():
        scores = pd.to_numeric(tune[column], errors="coerce").to_numpy(dtype=np.float64)
        known = np.isfinite(scores)
        result[model] = tuned_threshold(tune["target"].to_numpy(dtype=np.int64)[known], scores[known])
    return result


def _fitted_rows(frame: pd.DataFrame, models: dict[str, str], thresholds: dict[str, Measured]) -> Rows:
    """Score the rows that decided the model, without intervals: they show fit, not worth."""
    rows: Rows = []
    for split in FITTED:
        for model, column in models.items():
            cohort = build_cohort(frame, split, column, samples=1, seed=0)
            if cohort.n:
                points = point_metrics(cohort.target, cohort.scores(column), thresholds[model])
                counts: dict[str, Any] = {"n": cohort.n, "n_positive": cohort.n_positive}
                rows += [metric_row(model, split, name, points[name], **counts) for name in METRIC_NAMES]
    return rows


def _cohort_rows(cohort: Cohort, models: dict[str, str], thresholds: dict[str, Measured], config: EvaluationConfig) -> Rows:
    rows: Rows = []
    for model, column in models.items():
        rows += model_rows(cohort, model, column, thresholds[model])
    rows += comparison_rows(cohort, models)
    main = next(iter(models))
    leak = Measured(float(cohort.shared_groups))
    rows.append(metric_row(main, cohort.split, "groups_shared_with_fitted", leak, n=cohort.n, n_positive=cohort.n_positive))
    if main == COMBINED:
        rows += abstention_rows(cohort, models[main]) + risk_rows(cohort, models[main]) + conformal_rows(cohort, config.min_stratum)
    for stratum, inside in strata(cohort.frame):
        rows += stratum_rows(cohort, main, models[main], thresholds[main], stratum, inside, config.min_stratum)
    return rows


def _absence(frame: pd.DataFrame, models: dict[str, str]) -> tuple[str, str]:
    """Return the reason code and the words for an evaluation without a single scored image."""
    inside = frame[frame["split"].isin(HELD_OUT)]
    if not models:
        return "no_rows", "no prediction holds a probability"
    if len(inside) and not inside["target"].isin([0, 1]).any():
        return "no_labels", "no image of val, test or external has a label"
    return "no_rows", "no labelled image with a score in val, test or external"


def _score(frame: pd.DataFrame, models: dict[str, str], thresholds: dict[str, Measured], config: EvaluationConfig) -> _Scored:
    reason, absent = _absence(frame, models)
    first = next(iter(models.values()), None)
    cohorts = [build_cohort(frame, split, first, config.bootstrap_samples, config.bootstrap_seed) for split in HELD_OUT]
    cohorts = sorted((c for c in cohorts if c.n), key=lambda c: 0 < c.n_positive < c.n, reverse=True)
    rows: Rows = []
    sentinels = []
    shortcuts = fit_shortcuts(frame, FITTED, MIN_CLASS) if cohorts else []
    for cohort in cohorts:
        main, column = next(iter(models.items()))
        rows += _cohort_rows(cohort, models, thresholds, config)
        sentinels.append(watch(cohort, shortcuts, main, column, config.shortcut_margin))
        rows += sentinels[-1].rows
    if not cohorts:
        name = next(iter(models), COMBINED)
        rows = [metric_row(name, "val", metric, Measured(None, reason), n=0, n_positive=0) for metric in METRIC_NAMES]
    return _Scored(cohorts, sentinels, rows, absent)


def _figures(
    scored: _Scored,
    rows: Rows,
    frame: pd.DataFrame,
    models: dict[str, str],
    thresholds: dict[str, Measured],
    config: EvaluationConfig,
    diagnostics: Mapping[str, Any],
) -> dict[str, bytes]:
    from cefm_core.evaluation import data_figures, score_figures

    held_out = frame[frame["split"].isin(HELD_OUT)]
    drawn: dict[str, bytes | None] = {
        "cosines.png": score_figures.cosine_figure(diagnostics),
        "dice_by_source.png": data_figures.dice_figure(held_out),
        "features_by_class.png": data_figures.feature_figure(frame),
        "clinical_shifts.png": data_figures.shift_figure(frame),
        "left_out.png": data_figures.left_out_figure(rows),
    }
    cohort = next((c for c in scored.cohorts if 0 < c.n_positive < c.n), None)
    if cohort is not None:
        main, column = next(iter(models.items()))
        aucs = [row for model in models if (row := find_row(scored.rows, model, cohort.split, "roc_auc")) is not None]
        drawn |= {
            "risk_coverage.png": score_figures.risk_figure(cohort, column, rows) if main == COMBINED else None,
            "roc.png": score_figures.roc_figure(cohort, models, scored.rows, thresholds[main]),
            "reliability.png": score_figures.reliability_figure(cohort, main, column, scored.rows),
            "shortcuts.png": data_figures.shortcut_figure(scored.sentinels[0], cohort, aucs, config.shortcut_margin),
            "strata.png": data_figures.strata_figure(scored.rows, cohort, aucs[0]),
        }
    return {name: data for name, data in sorted(drawn.items()) if data is not None}


def evaluate(
    predictions: pd.DataFrame,
    manifest: pd.DataFrame,
    abc_features: pd.DataFrame = EMPTY,
    image_quality: pd.DataFrame = EMPTY,
    refined_masks: pd.DataFrame = EMPTY,
    config: EvaluationConfig | None = None,
    facts: Mapping[str, Any] | None = None,
    training_log: pd.DataFrame | None = None,
    diagnostics: Mapping[str, Any] | None = None,
    coarse_masks: pd.DataFrame = EMPTY,
    *,
    draw: bool = True,
) -> Evaluation:
    """Evaluate the predictions of a run.

    Scores are made on the labelled rows of `val`, `test` and `external`, each apart; `train` and `tune` rows appear only with
    role ``fitted_on``. Whatever cannot be computed is a row with a reason; no table needs to be complete, or even to hold a row.

    Args:
        predictions: Columns image_id and ``p_*`` (0..1), optionally split, target, abstain; ``p_melanoma`` is the model judged.
        manifest: The manifest table; its target, split, source and group_id win over those of ``predictions``.
        abc_features: The abc_features table.
        image_quality: The image_quality table.
        refined_masks: The refined_masks table.
        config: Settings; None for the defaults.
        facts: What else the model card should state; see :func:`cefm_core.evaluation.model_card.write_model_card`.
        training_log: The training_log table, for the model card.
        diagnostics: Of the aligned embeddings: ``positive_cosines``, ``negative_cosines`` (and ``..._before``), ``split``, and any
            further numbers, each of which becomes a row of model ``alignment``.
        coarse_masks: The coarse_masks table, for Dice and for lesions cut by the frame.
        draw: Whether to draw the figures, which take about half of the time.
    """
    config = config or EvaluationConfig()  # type: ignore[call-arg]
    frame = assemble_frame(predictions, manifest, abc=abc_features, quality=image_quality, refined=refined_masks, coarse=coarse_masks)
    models = model_columns(predictions)
    thresholds = _thresholds(frame, models)
    scored = _score(frame, models, thresholds, config)
    rows = scored.rows + left_out_rows(frame, config) + _fitted_rows(frame, models, thresholds)
    rows += segmentation_rows(frame, config.min_stratum, config.bootstrap_samples, config.bootstrap_seed)
    rows += diagnostic_rows(diagnostics or {})
    lines = headline(rows, scored.cohorts, scored.sentinels, next(iter(models), None), scored.absent)
    figures = _figures(scored, rows, frame, models, thresholds, config, diagnostics or {}) if draw else {}
    card = write_model_card(frame, rows, lines, dict(facts or {}), config, training_log, sorted(figures))
    return Evaluation(rows, figures, card, lines)
