"""What the page that compares writers shows, as plain values for its template, and the same as a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

from cefm_core.reports.claims import SECTIONS
from cefm_core.reports.estimates import Estimate
from cefm_core.reports.language import load_language
from cefm_core.reports.writer_score import Trial, WriterScore

SELECTION_NAMES = {"measurements": "A, B, C alone", "descriptors": "descriptors alone", "full": "whole pipeline"}
_SHARES = ("answered", "supported", "numbers_exact", "covered", "publishable", "fallback")
_EXAMPLES = 3


@dataclass(frozen=True)
class Comparison:
    """Everything on the page.

    Attributes:
        scores: One line a writer and selection.
        trials: The trials behind each line, in the same order.
        source: Where the ledgers come from, in words.
    """

    scores: tuple[WriterScore, ...]
    trials: tuple[tuple[Trial, ...], ...]
    source: str


def comparison_view(comparison: Comparison) -> dict[str, Any]:
    """Return the variables of ``compare.html.j2``."""
    words = load_language("en")
    return {
        "notice": words.notice,
        "source": comparison.source,
        "reports": max(score.reports for score in comparison.scores),
        "lines": [_line(score) for score in comparison.scores],
        "examples": [_example(comparison, index) for index in range(min(_EXAMPLES, len(comparison.trials[0])))],
        "priced": any(score.cost is not None for score in comparison.scores),
        "bert": any(score.bert_score is not None for score in comparison.scores),
    }


def _line(score: WriterScore) -> dict[str, Any]:
    return {
        "writer": score.writer,
        "selection": SELECTION_NAMES[score.selection],
        "full": score.selection == "full",
        "shares": [_bar(getattr(score, name)) for name in _SHARES],
        "contradictions": score.contradictions.text(1),
        "words": score.words.text(0),
        "seconds": _seconds(score.seconds),
        "tokens": f"{score.prompt_tokens:.0f} + {score.completion_tokens:.0f}" if score.prompt_tokens else "none",
        "cost": "—" if score.cost is None else f"{score.cost:.2f}",
        "bert_score": score.bert_score.text(3) if score.bert_score else "—",
        "objections": ", ".join(f"{code} {count}" for code, count in score.objections) or "none",
    }


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    return "< 0.01" if seconds < 0.01 else f"{seconds:.2f}"


def _bar(estimate: Estimate) -> dict[str, Any]:
    text = estimate.text(1, 100.0)
    if estimate.value is None:
        return {"text": text, "position": None}
    low, high = (end if end is not None else estimate.value for end in (estimate.low, estimate.high))
    return {"text": text, "position": round(100 * estimate.value, 1), "low": round(100 * low, 1), "width": round(100 * (high - low), 1)}


def _example(comparison: Comparison, index: int) -> dict[str, Any]:
    """One ledger: what each writer first said on it, the claims that may not stand marked."""
    columns = []
    for score, trials in zip(comparison.scores, comparison.trials, strict=True):
        trial = trials[index]
        columns.append(
            {
                "writer": score.writer,
                "selection": SELECTION_NAMES[score.selection],
                "failure": trial.failure,
                "claims": _claims(trial),
            }
        )
    return {"image_id": comparison.trials[0][index].whole.image_id, "columns": columns}


def _claims(trial: Trial) -> list[dict[str, Any]]:
    """Return the claims of a first answer with the objections to each, by the ledger that was given and by the whole one."""
    from cefm_core.reports.checker import claim_reasons
    from cefm_core.reports.verdict import CONTRADICTIONS

    if trial.report is None:
        return []
    found = []
    for claim in [claim for name in SECTIONS for claim in trial.report.section(name)]:
        codes = {reason.code for reason in claim_reasons(trial.given, trial.report, claim)}
        against = {r.code for r in claim_reasons(trial.whole, trial.report, claim) if r.code in CONTRADICTIONS} - codes
        found.append({"text": claim.text, "codes": sorted(codes), "against": sorted(against)})
    return found


def comparison_csv(comparison: Comparison) -> str:
    """Return the scores as CSV: one line a writer and selection, each estimate with its interval."""
    sink = io.StringIO()
    estimates = (*_SHARES, "contradictions", "words", *(("bert_score",) if comparison.scores[0].bert_score else ()))
    ends = [f"{name}{end}" for name in estimates for end in ("", "_low", "_high")]
    plain = ("seconds", "prompt_tokens", "completion_tokens", "cost")
    table = csv.DictWriter(sink, ["writer", "selection", "reports", *ends, *plain], lineterminator="\n")
    table.writeheader()
    for score in comparison.scores:
        row: dict[str, Any] = {"writer": score.writer, "selection": score.selection, "reports": score.reports}
        for name in estimates:
            estimate: Estimate = getattr(score, name)
            row |= {name: _cell(estimate.value), f"{name}_low": _cell(estimate.low), f"{name}_high": _cell(estimate.high)}
        table.writerow(row | {name: _cell(getattr(score, name)) for name in plain})
    return sink.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
