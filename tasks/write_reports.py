"""write_reports: a checked report and a page for every image. How a language model is reached belongs to ``tasks/llm_endpoint.py``."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from cefm_core.config import CefmConfig, ReportConfig
from cefm_core.errors import IntegrityError
from cefm_core.tables import reports
from storage import keys
from storage.parquet import read_arrow
from storage.refs import FileRef, digest_of
from storage.store import Store
from tasks.collect_corrections import corrections_of
from tasks.context import RunContext
from tasks.images import Pictures
from tasks.llm_endpoint import BUDGET, REFUSED, UNREACHABLE, Endpoint, NoAnswerError, endpoint_of
from tasks.report_page import Written, draw_page
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task

if TYPE_CHECKING:
    from cefm_core.reports.claims import Report
    from cefm_core.reports.corrections import Corrected
    from cefm_core.reports.facts import Facts
    from cefm_core.reports.verdict import Reason

logger = logging.getLogger(__name__)

# The ledger's name of each table.
_LEDGER = {
    "manifest": "manifest",
    "image_quality": "quality",
    "coarse_masks": "coarse",
    "refined_masks": "refined",
    "abc_features": "abc",
    "predictions": "prediction",
    "descriptors": "descriptors",
}


def _inputs(rows: Rows) -> Row:
    return {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256")} | {"rows": rows}


def _settings(config: CefmConfig) -> dict[str, Any]:
    """The model, the prompt and the sampling decide a text; the endpoint's address, the key's name and the budget do not."""
    if config.reports.writer == "template":
        return config.reports.model_dump(mode="json", include={"writer", "language"})
    return config.reports.model_dump(mode="json", exclude={"base_url", "api_key_env", "max_total_tokens"})


def _settled(row: Row) -> bool:
    """A template text that stands only because the endpoint gave no answer is not the last word: it is asked for again."""
    return row["status"] == "published" or not any(reason.startswith((UNREACHABLE, REFUSED, BUDGET)) for reason in row["reasons"])


STAGE = RowStage(
    name="write_reports",
    table=reports.TABLE,
    upstream=(*_LEDGER, "corrections"),
    entries=(
        "tasks.report_page",
        "cefm_core.reports.template_writer",
        "cefm_core.reports.prompt",
        "cefm_core.reports.parse",
        "cefm_core.reports.checker",
        "cefm_core.reports.pages",
        "cefm_core.reports.facts",
        "cefm_core.reports.corrections",
        "cefm_core.tables.reports",
    ),
    inputs=_inputs,
    settings=_settings,
    objects=("page", "picture", "thumb"),
    settled=_settled,
)


@stage_task
def write_reports(context: RunContext, fingerprint: str, work: FileRef, label: str = "write_reports") -> PartSummary:
    """Write, check and draw the reports of one shard."""
    pictures, items = Pictures(context), context.open_store().read_work(work)
    with closing(_writer(context)) as writer:

        def process(batch: list[Row]) -> list[Output]:
            return [draw_page(pictures, item, ledger := ledger_of(item), writer.write(ledger.facts)) for item in batch]

        writer.prepare(_ledgers(items))
        return run_shard(STAGE, context, fingerprint, work, process)


def fallback_note(store: Store, table: FileRef) -> str:
    """Return how many reports stand as the template's text in place of a model's, and why, or "" where none does."""
    rows = [row for row in read_arrow(store, table).select(["status", "reasons"]).to_pylist() if row["status"] == "fallback"]
    causes = Counter(reason.split(":")[0] for row in rows for reason in row["reasons"])
    said = ", ".join(f"{code} {count}" for code, count in causes.most_common(4))
    return f"{len(rows)} reports are the template's: {said}" if rows else ""


def ledger_of(item: Row) -> Corrected:
    """Return the ledger of an image, corrected by clinicians.

    Args:
        item: ``image_id``, and under ``rows`` the image's row of each upstream table.
    """
    from cefm_core.reports.corrections import apply_corrections
    from cefm_core.reports.facts import collect_facts

    measured = collect_facts(item["image_id"], **{argument: item["rows"][name] for name, argument in _LEDGER.items()})
    return apply_corrections(measured, corrections_of(item["rows"]["corrections"]))


def _ledgers(items: list[Row]) -> Iterator[Facts]:
    """Yield the ledgers of a shard; an item that fails here fails again in its turn, and is rejected then."""
    for item in items:
        try:
            yield ledger_of(item).facts
        except Exception:
            logger.info("image %s has no ledger", item["image_id"], exc_info=True)


class ReportWriter(Protocol):
    """Turns ledgers into reports."""

    def prepare(self, ledgers: Iterable[Facts]) -> None:
        """Hear beforehand of all the ledgers of a shard."""

    def write(self, ledger: Facts) -> Written:
        """Return the report of one ledger."""
        ...

    def close(self) -> None:
        """Stop what is still under way."""


def _writer(context: RunContext) -> ReportWriter:
    if context.config.reports.writer == "template":
        return TemplateWriter(context.config.reports)
    return LlmWriter(context.config.reports, context.open_store(), endpoint_of(context.run_id, context.config))


class TemplateWriter:
    """The deterministic, offline writer."""

    def __init__(self, config: ReportConfig) -> None:
        self._language = config.language

    def prepare(self, ledgers: Iterable[Facts]) -> None:
        """Do nothing: a report takes milliseconds."""

    def write(self, ledger: Facts) -> Written:
        """Return the report of one ledger."""
        from cefm_core.reports.template_writer import write_report

        return Written(write_report(ledger, self._language))

    def close(self) -> None:
        """Do nothing."""


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
        from cefm_core.reports.prompt import build_messages, prompt_digest, report_schema

        messages = build_messages(ledger, self._config, objections)
        decided_by = [
            messages,
            prompt_digest(ledger, self._config),
            self._config.llm_model,
            self._config.temperature,
            self._config.max_tokens,
            attempt,
        ]
        key = keys.cache_key("llm", digest_of(decided_by))
        try:
            answer = await asyncio.to_thread(self._store.read_json, key)
        except (IntegrityError, ValueError):
            answer = await self._endpoint.answer(messages, report_schema(ledger))
            await asyncio.to_thread(self._store.put_json, key, answer)
        else:
            self._stored += 1
        self._answers.setdefault(ledger.image_id, []).append(answer)
        return answer
