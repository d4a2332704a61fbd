"""The writer that asks a language model. How the model is reached belongs to ``tasks/llm_endpoint.py``."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from cefm_core.config import ReportConfig
from cefm_core.errors import IntegrityError
from storage import keys
from storage.refs import digest_of
from storage.store import Store
from tasks.llm_endpoint import Endpoint, NoAnswerError
from tasks.report_page import Written

if TYPE_CHECKING:
    from cefm_core.reports.claims import Report
    from cefm_core.reports.facts import Facts
    from cefm_core.reports.verdict import Reason

logger = logging.getLogger(__name__)

ANSWERS = "llm"
"""Where a store keeps the answers, each under its :func:`answer_digest`."""


def answer_digest(ledger: Facts, config: ReportConfig, messages: list[dict[str, str]], attempt: int) -> str:
    """Return the digest of everything that decides an answer; it says nothing of whose image it is.

    Args:
        ledger: The ledger.
        config: Model and sampling.
        messages: What is asked.
        attempt: Number of the answer, from 0.
    """
    from cefm_core.reports.prompt import prompt_digest

    return digest_of([messages, prompt_digest(ledger, config), config.llm_model, config.temperature, config.max_tokens, attempt])


class LlmWriter:
    """Any OpenAI-compatible endpoint; what the checker refuses is not published, and the template stands in.

    Only facts of the ledger are sent. Every answer is stored at once under what decided it, so that a restart asks only for the rest.
    A whole shard is asked for at once, and pages are drawn while answers still come in.
    """

    def __init__(self, config: ReportConfig, store: Store, endpoint: Endpoint) -> None:
        self._config = config
        self._store = store
        self._endpoint = endpoint
        self._reports: dict[str, Future[Written]] = {}
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self._stored = 0

    def prepare(self, ledgers: Iterable[Facts]) -> None:
        """Start asking for the reports of all these ledgers."""
        for ledger in ledgers:
            self._reports[ledger.image_id] = self._endpoint.submit(self._one(ledger))

    def write(self, ledger: Facts) -> Written:
        """Wait for the report of one ledger.

        Raises:
            ConfigurationError: The endpoint refuses the key, or knows no such model.
        """
        if ledger.image_id not in self._reports:
            self.prepare([ledger])
        return self._reports[ledger.image_id].result()

    def answers(self, ledger: Facts) -> tuple[dict[str, Any], ...]:
        """Return the endpoint's answers behind the report of a ledger, the first one first."""
        return tuple(self._answers.get(ledger.image_id, ()))

    def close(self) -> None:
        """Stop asking, and log what came of it."""
        for report in self._reports.values():
            report.cancel()
        done = [report.result() for report in self._reports.values() if not report.cancelled() and report.exception() is None]
        codes = Counter(reason.split(":")[0] for written in done if written.status == "fallback" for reason in written.reasons)
        counts = Counter(written.status for written in done)
        published, fallen, lost = counts["published"], counts["fallback"], len(self._reports) - len(done)
        logger.info(
            "reports: %d asked for, %d published, %d fallback %s, %d failed", len(self._reports), published, fallen, dict(codes), lost
        )
        tokens = self._endpoint.tokens
        logger.info(
            "answers from the store: %d; tokens of the run: %d prompt, %d completion", self._stored, tokens.prompt, tokens.completion
        )

    async def _one(self, ledger: Facts) -> Written:
        refused: list[str] = []
        objections: tuple[Reason, ...] = ()
        for attempt in range(self._config.attempts):
            try:
                answer = await self._answer(ledger, objections, attempt)
            except NoAnswerError as error:
                refused.append(str(error))
                break
            report, lines, objections = await asyncio.to_thread(self._judge, ledger, answer)
            refused += lines
            if report is not None:
                return Written(report, "openai", "published", tuple(refused), self._config.llm_model)
        return await asyncio.to_thread(self._fall_back, ledger, refused)

    def _judge(self, ledger: Facts, answer: dict[str, Any]) -> tuple[Report | None, list[str], tuple[Reason, ...]]:
        """Return the report of an answer, or None with what is wrong with it."""
        from cefm_core.reports.checker import check_report
        from cefm_core.reports.claims import Report
        from cefm_core.reports.parse import parse_reply

        parsed = parse_reply(answer["content"], answer["finish_reason"])
        if not parsed.ok:
            return None, [f"{parsed.code}: {parsed.message}"], ()
        report = Report(parsed.claims, self._config.language)
        verdict = check_report(ledger, report)
        return (report, [], ()) if verdict.ok else (None, verdict.lines(), verdict.reasons)

    def _fall_back(self, ledger: Facts, refused: list[str]) -> Written:
        from cefm_core.reports.template_writer import write_report

        return Written(write_report(ledger, self._config.language), "template", "fallback", tuple(refused), self._config.llm_model)

    async def _answer(self, ledger: Facts, objections: tuple[Reason, ...], attempt: int) -> dict[str, Any]:
        """Return a stored answer, or ask for one and store it; no answer is not stored."""
        from cefm_core.reports.prompt import build_messages, report_schema

        messages = build_messages(ledger, self._config, objections)
        key = keys.cache_key(ANSWERS, answer_digest(ledger, self._config, messages, attempt))
        try:
            answer = await asyncio.to_thread(self._store.read_json, key)
        except (IntegrityError, ValueError):
            answer = await self._endpoint.answer(messages, report_schema(ledger))
            await asyncio.to_thread(self._store.put_json, key, answer)
        else:
            self._stored += 1
        self._answers.setdefault(ledger.image_id, []).append(answer)
        return answer
