"""The model card: what a run's model is, on what it was made, how good it is and for whom, from the run's own facts.

Headings and their order follow the four parts of the CLEAR Derm checklist (Daneshjou et al., JAMA Dermatology 2022): data,
technique, technical assessment, application. Nothing is stated that is not in the tables or in ``facts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cefm_core.config import EvaluationConfig
from cefm_core.evaluation.card_data import data_section
from cefm_core.evaluation.frame import COMBINED
from cefm_core.evaluation.left_out import SPLIT
from cefm_core.evaluation.markdown import flatten, table
from cefm_core.evaluation.rows import REASONS, find_row, format_value

Rows = list[dict[str, Any]]

METRIC_LABELS: dict[str, str] = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC (average precision)",
    "pauc_tpr80": "Partial AUC above sensitivity 0.8 (0 to 0.2)",
    "accuracy": "Accuracy at 0.5",
    "balanced_accuracy": "Balanced accuracy at 0.5",
    "f1": "F1 at 0.5",
    "kappa": "Cohen's kappa at 0.5",
    "sensitivity": "Sensitivity at 0.5",
    "specificity": "Specificity at 0.5",
    "threshold_tuned95": "Threshold chosen on tune for sensitivity 0.95",
    "sensitivity_tuned95": "Sensitivity at that threshold",
    "specificity_tuned95": "Specificity at that threshold",
    "sensitivity_at_specificity95": "Sensitivity at specificity 0.95",
    "specificity_at_sensitivity95": "Specificity at sensitivity 0.95",
    "ece": "Expected calibration error (15 bins)",
    "ece_by_chance": "The same where every probability keeps its word (mean, 95 % of draws)",
    "calibration_slope": "Calibration slope (below 1: too extreme)",
    "calibration_intercept": "Calibration intercept (above 0: melanoma predicted too seldom)",
    "brier": "Brier score",
    "roc_auc_source_matched": "ROC AUC within sources",
    "source_matched_share": "Melanomas whose source also holds a nevus (share)",
    "groups_shared_with_fitted": "Groups that also have images in train or tune",
    "abstain_share": "Share of images on which the model abstains",
    "accuracy_where_answered": "Accuracy where it answers",
    "risk_coverage_area": "Area under risk against coverage",
    "risk_at_coverage80": "Share wrong when the least sure fifth is declined",
    "risk_at_coverage50": "Share wrong when the less sure half is declined",
}
FIGURE_LABELS = {
    "roc.png": "ROC curves",
    "reliability.png": "Reliability",
    "shortcuts.png": "Model and shortcuts",
    "strata.png": "AUC by stratum",
    "cosines.png": "Cosines of pairs",
    "dice_by_source.png": "Dice by source",
    "features_by_class.png": "Features by class",
    "risk_coverage.png": "Risk against coverage",
    "clinical_shifts.png": "What moves the clinical score",
    "left_out.png": "Sources left out of training",
}
INTENDED = """**Intended use.** Research: to study how measured features, image embeddings and reports go together on dermoscopic images of
melanomas and nevi, and to compare methods.

**Not intended.** Any decision about a person: diagnosis, triage, choice of treatment, self-examination. Images that are not dermoscopic;
lesions other than melanoma and nevus; skin tones, sites and devices on which the strata above show no score. A size in millimetres
cannot be had from an image without a scale.

**Effect on care.** None has been studied. A score on collected images does not tell how a person would read with the software at hand."""


def _performance(rows: Rows) -> str:
    """One table per held-out split: metrics down, models across."""
    parts = []
    for split in ("val", "test", "external"):
        models = list(dict.fromkeys(r["model"] for r in rows if r["split"] == split and r["metric"] == "brier" and r["stratum"] == "all"))
        if not models:
            continue
        first = find_row(rows, models[0], split, "brier")
        lines = []
        for metric, label in METRIC_LABELS.items():
            found = [find_row(rows, model, split, metric) for model in models]
            if any(found):
                lines.append([label, *(format_value(row) if row else "-" for row in found)])
        counts = f"{first['n']} images, {first['n_positive']} melanomas" if first else ""
        parts.append(f"#### {split} ({counts})\n\n" + table(["metric", *models], lines))
    return "\n\n".join(parts) or "Not scored."


def _comparisons(rows: Rows) -> str:
    lines = []
    for row in rows:
        if row["metric"] == "roc_auc_difference":
            p_value = find_row(rows, row["model"], row["split"], "delong_p")
            lines.append([row["model"].replace("_", " "), row["split"], format_value(row), format_value(p_value, 4)])
    return table(["comparison", "split", "AUC difference", "DeLong p"], lines)


def _fitted(rows: Rows) -> str:
    chosen = [r for r in rows if r["role"] == "fitted_on" and r["metric"] == "roc_auc" and r["stratum"] == "all"]
    return table(["model", "split (fitted on)", "ROC AUC", "images"], [[r["model"], r["split"], format_value(r), r["n"]] for r in chosen])


def _bias(rows: Rows, config: EvaluationConfig) -> str:
    keys = list(dict.fromkeys((r["split"], r["model"], r["stratum"]) for r in rows if r["metric"] == "roc_auc_gap"))
    lines = []
    for split, model, stratum in keys:
        shown = ("roc_auc", "roc_auc_gap", "sensitivity", "specificity", "ece", "ece_by_chance")
        found = {m: find_row(rows, model, split, m, stratum) for m in shown}
        auc = found["roc_auc"]
        counts = f"{auc['n_positive']} / {auc['n']}" if auc else "-"
        lines.append([split, stratum.replace("=", ": "), counts, *(format_value(row, 2) for row in found.values())])
    header = ["split", "stratum", "melanomas / images", "AUC", "gap to the rest", "sensitivity", "specificity", "ECE", "ECE by chance"]
    note = (
        f"A stratum with fewer than {config.min_stratum} melanomas or nevi says too_few. Many strata are compared, so single gaps arise "
        "by chance."
    )
    return table(header, lines) + "\n\n" + note


def _shortcuts(rows: Rows, config: EvaluationConfig) -> str:
    names = dict.fromkeys((r["split"], r["model"]) for r in rows if r["model"].startswith(("shortcut:", "baseline:")))
    lines = [[s, m, format_value(find_row(rows, m, s, "roc_auc")), format_value(find_row(rows, m, s, "accuracy"))] for s, m in names]
    note = (
        f"Each is fitted without the lesion's picture on the train and tune rows (out of fold where there are none). An AUC within "
        f"{config.shortcut_margin} of the model's, or an accuracy not below it, raises the alarm in the summary."
    )
    return table(["split", "what alone", "ROC AUC", "accuracy"], lines) + "\n\n" + note


def _prediction_sets(rows: Rows, facts: Mapping[str, Any]) -> str:
    """Coverage of the prediction sets on every held-out split, overall and by source."""
    stated = (facts.get("settings") or {}).get("coverage")
    names = ("conformal_coverage_nevus", "conformal_coverage_melanoma", "conformal_single_share", "conformal_single_accuracy")
    keys = dict.fromkeys((r["split"], r["stratum"]) for r in rows if r["metric"] == names[0])
    shown = [key for key in keys if key[1] == "all" or key[1].startswith("source=")]
    lines = [
        [split, s.replace("=", ": "), *(format_value(row, 2) if (row := find_row(rows, COMBINED, split, m, s)) else "-" for m in names)]
        for split, s in shown
    ]
    note = (
        f"Coverage asked for: {stated if stated is not None else 'not recorded'}, of nevi and of melanomas each, calibrated on tune. It is "
        "promised for images like those of tune; whether it holds elsewhere is what the table shows."
    )
    header = ["split", "stratum", "coverage of nevi", "coverage of melanomas", "share with one class", "right where one class"]
    return note + "\n\n" + table(header, lines) if lines else "None."


def _left_out(rows: Rows) -> str:
    names = list(dict.fromkeys(r["stratum"] for r in rows if r["split"] == SPLIT and r["stratum"] != "all"))
    shown = ("roc_auc", "sensitivity_at_specificity95", "sensitivity", "specificity", "ece", "ece_by_chance")
    lines = []
    for name in names:
        found = [find_row(rows, COMBINED, SPLIT, metric, name) for metric in shown]
        counts = f"{found[0]['n_positive']} / {found[0]['n']}" if found[0] else "-"
        lines.append([name.removeprefix("source="), counts, *(format_value(row, 2) for row in found)])
    mean = find_row(rows, COMBINED, SPLIT, "mean_roc_auc")
    note = (
        "Models trained with the same settings on all other sources score every labelled image of the source, whatever its split. "
        f"Mean AUC over the sources that are large enough: {format_value(mean)}."
    )
    header = ["source left out", "melanomas / images", "AUC", "sensitivity at specificity 0.95", "sensitivity at 0.5", "specificity at 0.5"]
    return note + "\n\n" + table([*header, "ECE", "ECE by chance"], lines) if names else "Not measured."


def _masks(rows: Rows) -> str:
    chosen = [r for r in rows if r["metric"] in ("mean_dice", "mean_dice_difference") and r["split"] not in ("train", "tune")]
    return table(
        ["mask", "split", "stratum", "Dice", "images"], [[r["model"], r["split"], r["stratum"], format_value(r), r["n"]] for r in chosen]
    )


def _alignment(rows: Rows) -> str:
    chosen = [r for r in rows if r["model"] == "alignment"]
    return table(
        ["measure", "split", "value", "pairs"], [[r["metric"].replace("_", " "), r["split"], format_value(r), r["n"]] for r in chosen]
    )


def _training(training_log: pd.DataFrame | None) -> str:
    """Say how long each model was trained, from the training log."""
    if training_log is None or not {"model", "seed", "epoch"} <= set(training_log.columns) or training_log.empty:
        return "No training log."
    keys = ["model", "phase"] if "phase" in training_log.columns else ["model"]
    grouped = training_log.groupby(keys, sort=True, dropna=False)
    lines = [
        [
            *(k if isinstance(k, tuple) else (k,)),
            ", ".join(str(int(s)) for s in sorted(g["seed"].dropna().unique())) or None,
            int(g.groupby("seed", dropna=False)["epoch"].nunique().max()),
        ]
        for k, g in grouped
    ]
    return table([*keys, "seeds", "most epochs"], lines)


def _reasons(rows: Rows) -> str:
    seen = sorted({r["reason"] for r in rows if r["reason"] and r["reason"] != "no_interval"})
    return "\n".join(f"- `{name}`: {REASONS.get(name, name)}" for name in seen) or "No number is absent."


def write_model_card(
    frame: pd.DataFrame,
    rows: Rows,
    lines: list[str],
    facts: Mapping[str, Any],
    config: EvaluationConfig,
    training_log: pd.DataFrame | None = None,
    figures: list[str] | None = None,
) -> str:
    """Write the card.

    Args:
        frame: Rows of :func:`cefm_core.evaluation.frame.assemble_frame`.
        rows: All metric rows.
        lines: The headline.
        facts: What the run knows of itself. ``name`` titles the card; ``command`` is shown as the line that remakes it; all others
            (``commit``, ``versions``, ``weights``, ``config``, ``inputs``, nested as deep as they like) are listed under their
            dotted names. Give nothing that differs between two runs on the same inputs, unless it should show.
        config: Settings of the evaluation.
        training_log: The training_log table.
        figures: File names of the figures, which the card shows by relative link.
    """
    listed = {k: v for k, v in facts.items() if k not in ("name", "command")}
    command = str(facts.get("command") or "not recorded").replace("```", "'''")
    pictures = "\n\n".join(f"![{FIGURE_LABELS.get(name, name)}]({name})" for name in figures or []) or "None could be drawn."
    how = (
        f"Intervals are 95 % percentile intervals of {config.bootstrap_samples} bootstrap resamples of whole groups (patient, lesion or "
        f"duplicates), seed {config.bootstrap_seed}. Differences are paired. DeLong's p takes images as independent. "
        "Resamples of the calibration error, which resampling inflates, are shifted back by their mean excess."
    )
    sections = [
        f"# Model card: {facts.get('name') or 'CEFM'}",
        "> Research software. Not a medical device. It makes no diagnosis.",
        "## Summary\n\n" + "\n".join(f"- {line}" for line in lines),
        "## Data\n\n" + data_section(frame),
        "## Technique\n\n### Development\n\n"
        + _training(training_log)
        + "\n\n### Alignment of images and measurements\n\n"
        + _alignment(rows),
        "## Technical assessment\n\n### Performance\n\n" + how + "\n\n" + _performance(rows),
        "### Comparison of models\n\n" + _comparisons(rows),
        "### Rows that decided the model (shown for fit, not for worth)\n\n" + _fitted(rows),
        "### Shortcuts\n\n" + _shortcuts(rows, config),
        "### Prediction sets and abstention\n\n" + _prediction_sets(rows, facts),
        "### Sources left out of training\n\n" + _left_out(rows),
        "### Bias: strata\n\n" + _bias(rows, config),
        "### Masks\n\n" + _masks(rows),
        "### Absent numbers\n\n" + _reasons(rows),
        "### Figures\n\n" + pictures,
        "## Application\n\n" + INTENDED,
        "## Remaking it\n\n```\n" + command + "\n```\n\n" + table(["fact", "value"], flatten(listed)),
    ]
    return "\n\n".join(sections) + "\n"
