"""What a writer's answers are worth, judged by the checker: before any of them is replaced by the template's text.

The first answer on each ledger is scored. Its claims and numbers are judged by the ledger that the writer was given; contradictions by the
whole ledger, so that a writer who was given less is held to what the pipeline knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from cefm_core.reports.bert_score import BertScorer
from cefm_core.reports.checker import check_report
from cefm_core.reports.claims import Report, render_text
from cefm_core.reports.estimates import Estimate, mean, ratio
from cefm_core.reports.ledger import Facts
from cefm_core.reports.template_writer import write_report
from cefm_core.reports.verdict import CONTRADICTIONS, Verdict

KEY_FACTS = ("abc.asymmetry_score", "abc.border_score", "abc.colour_count", "model.p_melanoma")


@dataclass(frozen=True)
class Trial:
    """What came of one ledger.

    Attributes:
        whole: The whole ledger.
        given: What the writer was given of it.
        report: Its first answer, or None where it was none.
        failure: Why it was none, e.g. ``llm_not_json``; or None.
        fallback: Whether, after all answers asked for, the template's text would stand.
        seconds: Time of the first answer, or None where it was not timed (none came, or it came in a batch).
        prompt_tokens: Tokens asked with, over all answers; 0 for the template.
        completion_tokens: Tokens answered with, over all answers.
    """

    whole: Facts
    given: Facts
    report: Report | None
    failure: str | None = None
    fallback: bool = False
    seconds: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class WriterScore:
    """One line of the comparison.

    Attributes:
        writer: Name of the writer.
        selection: What it was given, a key of ``selections.SELECTIONS``.
        reports: Ledgers it wrote on.
        answered: Share whose first answer is a report at all.
        supported: Share of claims that the checker has no objection to.
        numbers_exact: Share of numbers that are those of their facts.
        contradictions: Statements that the whole ledger contradicts, per 100 reports.
        covered: Share of key facts and descriptors measured by the pipeline that the report states.
        publishable: Share of first answers that the checker lets pass.
        fallback: Share that ends as the template's text.
        words: Words a report.
        seconds: Median time of an answer, or None where nothing was timed.
        prompt_tokens: Tokens asked with, a report.
        completion_tokens: Tokens answered with, a report.
        cost: Cost of 1000 reports in the currency of the prices given, or None.
        bert_score: BERTScore F1 with the template's text on what the writer was given, or None where it was not asked for.
        objections: Commonest objections with their counts.
    """

    writer: str
    selection: str
    reports: int
    answered: Estimate
    supported: Estimate
    numbers_exact: Estimate
    contradictions: Estimate
    covered: Estimate
    publishable: Estimate
    fallback: Estimate
    words: Estimate
    seconds: float | None
    prompt_tokens: float
    completion_tokens: float
    cost: float | None
    bert_score: Estimate | None
    objections: tuple[tuple[str, int], ...]


def score_writer(
    writer: str, selection: str, trials: Sequence[Trial], price: tuple[float, float] | None = None, bert: BertScorer | None = None
) -> WriterScore:
    """Score the answers of a writer.

    Args:
        writer: Its name.
        selection: What it was given.
        trials: One a ledger.
        price: Price of a million tokens asked with and answered with, or None.
        bert: Judges nearness to the template's text, or None.
    """
    own = [check_report(trial.given, trial.report) if trial.report else None for trial in trials]
    whole = [check_report(trial.whole, trial.report) if trial.report else None for trial in trials]
    told = [_covered(trial) for trial in trials]
    codes = Counter(code for trial, verdict in zip(trials, own, strict=True) for code in _objections(trial, verdict))
    prompt, completion = (sum(tokens) / len(trials) for tokens in _tokens(trials))
    written = [trial.report for trial in trials if trial.report is not None]
    timed = [trial.seconds for trial in trials if trial.seconds is not None]
    return WriterScore(
        writer=writer,
        selection=selection,
        reports=len(trials),
        answered=mean([float(trial.report is not None) for trial in trials]),
        supported=ratio([v.claims - v.claims_refused if v else 0 for v in own], [v.claims if v else 0 for v in own]),
        numbers_exact=ratio([v.numbers - v.numbers_wrong if v else 0 for v in own], [v.numbers if v else 0 for v in own]),
        contradictions=ratio([100.0 * _contradictions(v) for v in whole], [float(v is not None) for v in whole]),
        covered=ratio([said for said, _ in told], [known for _, known in told]),
        publishable=mean([float(v is not None and v.ok) for v in own]),
        fallback=mean([float(trial.fallback) for trial in trials]),
        words=mean([float(len(render_text(report).split())) for report in written]),
        seconds=median(timed) if any(timed) else None,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=None if price is None else 1000 * (prompt * price[0] + completion * price[1]) / 1e6,
        bert_score=None if bert is None else mean([_nearness(bert, trial.given, trial.report) for trial in trials if trial.report]),
        objections=tuple(codes.most_common(6)),
    )


def _tokens(trials: Sequence[Trial]) -> tuple[list[int], list[int]]:
    return [trial.prompt_tokens for trial in trials], [trial.completion_tokens for trial in trials]


def _nearness(bert: BertScorer, given: Facts, report: Report) -> float:
    return bert.f1(render_text(report), render_text(write_report(given, report.language)))


def _contradictions(verdict: Verdict | None) -> int:
    return sum(reason.code in CONTRADICTIONS for reason in verdict.reasons) if verdict else 0


def _objections(trial: Trial, verdict: Verdict | None) -> list[str]:
    if verdict is None:
        return [trial.failure or "llm_empty"]
    return [reason.code for reason in verdict.reasons]


def _covered(trial: Trial) -> tuple[int, int]:
    """Count the key facts and descriptors that were measured, and those of them that the report states."""
    known = [fact_id for fact_id in KEY_FACTS if trial.whole.measured(fact_id)]
    known += [fact.id for fact in trial.whole.descriptors() if fact.value is not None]
    named = {fact_id for claim in (trial.report.claims if trial.report else ()) for fact_id in claim.facts}
    return sum(fact_id in named and trial.given.measured(fact_id) is not None for fact_id in known), len(known)
