"""The few lines a reader sees first; an alarm of the sentinel always comes before the score."""

from __future__ import annotations

from typing import Any

from cefm_core.evaluation.frame import COMBINED, Cohort
from cefm_core.evaluation.left_out import left_out_line
from cefm_core.evaluation.rows import REASONS, find_row, format_value
from cefm_core.evaluation.sentinel import SentinelResult

Rows = list[dict[str, Any]]


def alarm_line(result: SentinelResult) -> str:
    """Write the sentence that opens the summary when the sentinel fired."""
    return f"SHORTCUT ALARM on {result.split}: " + "; ".join(result.alarms) + ". The score may not be about the lesion."


def leak_line(cohort: Cohort) -> str:
    """Write the sentence that warns of groups on both sides of the split."""
    return (
        f"LEAK on {cohort.split}: {cohort.shared_groups} group(s) of one patient, lesion or duplicate also have images in train or tune; "
        "the score is too good."
    )


def score_line(rows: Rows, cohort: Cohort, model: str) -> str:
    """Write what the model reaches on one cohort."""
    auc = find_row(rows, model, cohort.split, "roc_auc")
    counts = f"{cohort.n} images, {cohort.n_positive} melanomas" + ("" if model == COMBINED else f"; model {model}")
    if auc is None or auc["value"] is None:
        reason = REASONS.get((auc or {}).get("reason") or "", "")
        return f"{cohort.split}: AUC n/a, {reason} ({counts})."
    sensitivity, specificity = (format_value(find_row(rows, model, cohort.split, m), 2) for m in ("sensitivity", "specificity"))
    return f"{cohort.split}: AUC {format_value(auc)}; at 0.5 sensitivity {sensitivity}, specificity {specificity} ({counts})."


def _detail_lines(rows: Rows, cohort: Cohort, model: str) -> list[str]:
    lines = []
    tuned = find_row(rows, model, cohort.split, "sensitivity_tuned95")
    if tuned is not None and tuned["value"] is not None:
        specificity = format_value(find_row(rows, model, cohort.split, "specificity_tuned95"), 2)
        lines.append(
            f"At the threshold chosen on tune for sensitivity 0.95: sensitivity {format_value(tuned, 2)}, specificity {specificity}."
        )
    matched = find_row(rows, model, cohort.split, "roc_auc_source_matched")
    if matched is not None and matched["value"] is not None:
        lines.append(f"Within sources: AUC {format_value(matched)}.")
    ece = find_row(rows, model, cohort.split, "ece")
    if ece is not None and ece["value"] is not None:
        chance = find_row(rows, model, cohort.split, "ece_by_chance")
        lines.append(
            f"Calibration error (ECE, 15 bins): {format_value(ece)}; probabilities that keep their word would show {format_value(chance)} "
            "on as many images."
        )
    return lines


def mask_lines(rows: Rows) -> list[str]:
    """Write the mean Dice of both masks on the first held-out split that has reference masks."""
    for split in ("val", "test", "external"):
        found = [(m, find_row(rows, m, split, "mean_dice")) for m in ("coarse_mask", "refined_mask")]
        texts = [f"{m.removesuffix('_mask')} {format_value(r)}" for m, r in found if r is not None and r["value"] is not None]
        if texts:
            n = max(r["n"] for _, r in found if r is not None)
            return [f"Mean Dice of the masks on {split}: {', '.join(texts)} ({n} images)."]
    return []


def headline(rows: Rows, cohorts: list[Cohort], sentinels: list[SentinelResult], model: str | None, absent: str) -> list[str]:
    """Write the summary: alarms first, then scores, then what could not be said.

    Args:
        rows: All metric rows.
        cohorts: Held-out cohorts with at least one row, the primary one first.
        sentinels: What the sentinel saw on each of them.
        model: Model under watch, or None where no score exists.
        absent: Why nothing was scored, used where ``cohorts`` is empty.
    """
    lines = [alarm_line(s) for s in sentinels if s.fires] + [leak_line(c) for c in cohorts if c.shared_groups]
    if model is None or not cohorts:
        lines.append(f"Not scored: {absent}.")
    else:
        for index, cohort in enumerate(cohorts):
            lines.append(score_line(rows, cohort, model))
            lines += _detail_lines(rows, cohort, model) if index == 0 else []
    lines += left_out_line(rows) + mask_lines(rows)
    for sentinel in sentinels:
        if sentinel.judged and not sentinel.fires:
            lines.append(f"Shortcut sentinel on {sentinel.split}: quiet.")
        lines += [f"Shortcut sentinel on {sentinel.split}: {note}." for note in sentinel.notes]
    for cohort in cohorts:
        left_out = [(cohort.unlabelled, "without a label"), (cohort.unscored, "without a score")]
        parts = [f"{count} {why}" for count, why in left_out if count]
        if parts:
            lines.append(f"Left out of the scores on {cohort.split}: {', '.join(parts)}.")
    lines.append("Research software: not a medical device, and no diagnosis.")
    return lines
