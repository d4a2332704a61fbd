"""The page docs/paper_parity.md, written from the rows of :mod:`cefm_core.evaluation.paper_tables`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pandas as pd

from cefm_core.evaluation.markdown import table
from cefm_core.evaluation.rows import find_row, format_value

Rows = list[dict[str, Any]]
PAPER_ACCURACY, PAPER_AUC = 0.9279, 0.961  # as published, image classifier, arXiv 2512.06105
METRICS = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "pauc_tpr80": "partial AUC above sensitivity 0.8 (0 to 0.2)",
    "accuracy": "accuracy at 0.5",
    "balanced_accuracy": "balanced accuracy at 0.5",
    "sensitivity": "sensitivity at 0.5",
    "specificity": "specificity at 0.5",
    "sensitivity_at_specificity95": "sensitivity at specificity 0.95",
    "ece": "ECE (15 bins)",
    "brier": "Brier score",
}


class CandidateLike(Protocol):
    """What the page needs to know of a classifier that was tried."""

    @property
    def label(self) -> str:
        """Words for a reader."""

    @property
    def cv_auc(self) -> float:
        """Mean AUC over the folds."""

    @property
    def cv_spread(self) -> float:
        """Standard deviation over the folds."""


def _scores(rows: Rows) -> str:
    def columns(metric: str) -> list[str]:
        return [format_value(find_row(rows, model, "test", metric)) for model in ("clinical", "clinical_selected")]

    return table(["metric", "logistic regression", "selected classifier"], [[label, *columns(m)] for m, label in METRICS.items()])


def _by_melanoma_source(rows: Rows) -> str:
    lines = []
    for stratum, label in (
        ("all", "all melanomas against all nevi"),
        ("melanomas=HAM10000 ids", "melanomas with HAM10000 ids against all nevi"),
        ("melanomas=other ids", "melanomas with ISIC 2020 ids against all nevi"),
    ):
        row = find_row(rows, "clinical", "test", "roc_auc", stratum)
        counts = f"{row['n_positive']} / {row['n'] - row['n_positive']}" if row else "-"
        selected = find_row(rows, "clinical_selected", "test", "roc_auc", stratum)
        lines.append([label, counts, format_value(row), format_value(selected)])
    return table(["AUC on the test table", "melanomas / nevi", "logistic regression", "selected classifier"], lines)


def _shortcuts(rows: Rows) -> str:
    models = list(dict.fromkeys(r["model"] for r in rows if r["model"].startswith("shortcut:")))
    lines = [
        [m.removeprefix("shortcut:").replace("_", " "), *(format_value(find_row(rows, m, "test", n)) for n in ("roc_auc", "accuracy"))]
        for m in models
    ]
    return table(["what alone", "ROC AUC", "accuracy"], [line for line in lines if not line[1].startswith("n/a (not_available)")])


def _paper_line(rows: Rows) -> str:
    rule = find_row(rows, "shortcut:ham_id_rule", "test", "accuracy")
    if rule is None or rule["value"] is None:
        return ""
    verdict = "more often right than" if rule["value"] >= PAPER_ACCURACY else "less often right than"
    return (
        f"The rule `a HAM10000 id is a melanoma` looks at no image, yet is {verdict} the published classifier on these images: accuracy "
        f"{100 * rule['value']:.1f} % against {100 * PAPER_ACCURACY:.2f} % (published AUC {PAPER_AUC}). A headline score on these tables "
        "cannot separate disease from collection."
    )


def _selected_line(rows: Rows, best: CandidateLike) -> str:
    row = find_row(rows, "clinical_minus_clinical_selected", "test", "roc_auc_difference")
    if row is None or row["value"] is None:
        return ""
    gain = {**row, "value": -row["value"], "low": row["low"] and -row["high"], "high": row["high"] and -row["low"]}
    p_value = format_value(find_row(rows, "clinical_minus_clinical_selected", "test", "delong_p"), 4)
    return (
        f"Chosen by cross-validation on the training table alone: {best.label}. Its AUC on the test table exceeds that of plain logistic "
        f"regression by {format_value(gain)}; DeLong p {p_value}."
    )


def parity_page(
    rows: Rows, headline: list[str], candidates: Sequence[CandidateLike], train: pd.DataFrame, test: pd.DataFrame, dropped: tuple[int, int]
) -> str:
    """Write the page.

    Args:
        rows: Rows of the metrics table.
        headline: Sentences, the sentinel's alarm first.
        candidates: Classifiers tried, the chosen one first.
        train: Complete training rows.
        test: Complete test rows.
        dropped: Rows left out of each for want of a value or a label.
    """
    counts = [
        [name, len(t), int(t["target"].sum()), int(len(t) - t["target"].sum()), left_out]
        for name, t, left_out in (("training", train, dropped[0]), ("test", test, dropped[1]))
    ]
    tried = [[c.label, f"{c.cv_auc:.3f}", f"{c.cv_spread:.3f}"] for c in candidates]
    sections = [
        "# Parity with the paper's released tables",
        "Made by `cefm paper-tables TRAIN.csv TEST.csv`. The released tables hold five numbers a lesion (A, B2 and the standard deviations "
        "of hue, saturation and value) and no image. Intervals are 95 %, by bootstrap; the tables name no patient or lesion, so images "
        "are taken as independent, which narrows the intervals.",
        "\n".join(f"- {line}" for line in headline),
        "## Rows\n\n" + table(["table", "complete rows", "melanoma", "nevus", "left out"], counts),
        "## The clinical classifier on the test table\n\n" + _scores(rows) + "\n\n" + _selected_line(rows, candidates[0]),
        table(["classifier tried", "AUC, 5-fold on training", "spread over folds"], tried),
        "## The same scores by origin of the melanomas\n\n" + _by_melanoma_source(rows),
        "## What a shortcut reaches\n\n" + _shortcuts(rows) + "\n\n" + _paper_line(rows),
        "Research software. Not a medical device. It makes no diagnosis.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"
