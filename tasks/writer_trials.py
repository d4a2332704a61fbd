"""What each of several writers makes of the same ledgers; how the answers are scored belongs to ``cefm_core/reports/writer_score.py``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from cefm_core.config import CefmConfig
from storage.store import Store
from tasks.llm_endpoint import endpoint_of
from tasks.llm_writer import LlmWriter
from tasks.write_reports import TemplateWriter

if TYPE_CHECKING:
    from cefm_core.reports.facts import Facts
    from cefm_core.reports.writer_score import Trial

logger = logging.getLogger(__name__)


def try_writer(store: Store, config: CefmConfig, run_id: str, ledgers: Sequence[Facts], selection: str) -> list[Trial]:
    """Let a writer write on a selection of each ledger.

    Args:
        store: Where answers are kept, so that a second comparison asks only for what is new.
        config: Settings of the writer.
        run_id: Identifier of this use of an endpoint; the same one shares its slots and its budget.
        ledgers: The whole ledgers.
        selection: What of them the writer is given.
    """
    from cefm_core.reports.selections import select

    given = [select(ledger, selection) for ledger in ledgers]
    if config.reports.writer == "template":
        return _template_trials(config, ledgers, given)
    with closing(LlmWriter(config.reports, store, endpoint_of(run_id, config))) as writer:
        writer.prepare(given)
        return [_trial(writer, whole, part) for whole, part in zip(ledgers, given, strict=True)]


def _template_trials(config: CefmConfig, ledgers: Sequence[Facts], given: Sequence[Facts]) -> list[Trial]:
    from time import perf_counter

    from cefm_core.reports.writer_score import Trial

    writer = TemplateWriter(config.reports)
    trials = []
    for whole, part in zip(ledgers, given, strict=True):
        start = perf_counter()
        report = writer.write(part).report
        trials.append(Trial(whole, part, report, seconds=perf_counter() - start))
    return trials


def _trial(writer: LlmWriter, whole: Facts, given: Facts) -> Trial:
    from cefm_core.reports.claims import Report
    from cefm_core.reports.parse import parse_reply
    from cefm_core.reports.writer_score import Trial

    written = writer.write(given)
    answers = writer.answers(given)
    if not answers:
        return Trial(whole, given, None, written.reasons[0].split(":")[0] if written.reasons else "llm_unreachable", fallback=True)
    parsed = parse_reply(answers[0]["content"], answers[0]["finish_reason"])
    return Trial(
        whole,
        given,
        Report(parsed.claims, written.report.language) if parsed.ok else None,
        parsed.code,
        written.status == "fallback",
        answers[0].get("seconds"),
        sum(answer["prompt_tokens"] for answer in answers),
        sum(answer["completion_tokens"] for answer in answers),
    )
