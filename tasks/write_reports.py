"""write_reports: a checked report and a page for every image. The only module that talks to a language model."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Protocol

from cefm_core.config import CefmConfig, ReportConfig
from cefm_core.errors import ConfigurationError, IntegrityError
from cefm_core.tables import reports
from storage import keys
from storage.refs import FileRef, digest_of
from storage.store import Store
from tasks.context import RunContext
from tasks.images import Pictures
from tasks.report_page import Written, draw_page
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task

if TYPE_CHECKING:
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
# How an endpoint is asked for JSON, strictest first; the first that it accepts serves the rest of the run.
_FORMATS = ("json_schema", "json_object", "plain")
_UNREACHABLE = "llm_unreachable"


def _inputs(rows: Rows) -> Row:
    return {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256")} | {"rows": rows}


def _settings(config: CefmConfig) -> dict[str, Any]:
    """The model, the prompt and the sampling decide a text; the endpoint's address and the key's name do not."""
    if config.reports.writer == "template":
        return config.reports.model_dump(mode="json", include={"writer", "language"})
    return config.reports.model_dump(mode="json", exclude={"base_url", "api_key_env"})


def _settled(row: Row) -> bool:
    """A text that stands only because the endpoint was away is asked for again."""
    return not any(reason.startswith(_UNREACHABLE) for reason in row["reasons"])


STAGE = RowStage(
    name="write_reports",
    table=reports.TABLE,
    upstream=tuple(_LEDGER),
    entries=(
        "tasks.report_page",
        "cefm_core.reports.template_writer",
        "cefm_core.reports.prompt",
        "cefm_core.reports.parse",
        "cefm_core.reports.checker",
        "cefm_core.reports.pages",
        "cefm_core.reports.facts",
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
    from cefm_core.reports.facts import collect_facts

    pictures, writer = Pictures(context), _writer(context)

    def process(items: list[Row]) -> list[Output]:
        ledgers = [collect_facts(item["image_id"], **{_LEDGER[name]: row for name, row in item["rows"].items()}) for item in items]
        return [draw_page(pictures, *each) for each in zip(items, ledgers, writer.write(ledgers), strict=True)]

    return run_shard(STAGE, context, fingerprint, work, process)


class ReportWriter(Protocol):
    """Turns ledgers into reports."""

    def write(self, ledgers: list[Facts]) -> list[Written]:
        """Return one report a ledger, in order."""
        ...


def _writer(context: RunContext) -> ReportWriter:
    if context.config.reports.writer == "template":
        return TemplateWriter(context.config.reports)
    return LlmWriter(context.config, context.open_store())


class TemplateWriter:
    """The deterministic, offline writer."""

    def __init__(self, config: ReportConfig) -> None:
        self._language = config.language

    def write(self, ledgers: list[Facts]) -> list[Written]:
        """Return one report a ledger, in order."""
        from cefm_core.reports.template_writer import write_report

        return [Written(write_report(ledger, self._language)) for ledger in ledgers]


class LlmWriter:
    """Any OpenAI-compatible endpoint; what the checker refuses is not published, and the template stands in.

    Only facts of the ledger are sent. Every answer is stored at once under what decided it, so that a restart asks only for the rest.
    """

    def __init__(self, config: CefmConfig, store: Store) -> None:
        self._config = config.reports
        self._runtime = config.runtime
        self._store = store
        self._format = 0

    def write(self, ledgers: list[Facts]) -> list[Written]:
        """Return one report a ledger, in order."""
        return asyncio.run(self._write(ledgers))

    async def _write(self, ledgers: list[Facts]) -> list[Written]:
        from openai import AsyncOpenAI

        slots = asyncio.Semaphore(self._runtime.llm_concurrency)
        key = os.environ.get(self._config.api_key_env) or "none"
        async with AsyncOpenAI(base_url=self._config.base_url, api_key=key, timeout=self._runtime.llm_timeout_s, max_retries=4) as client:
            return list(await asyncio.gather(*(self._one(client, slots, ledger) for ledger in ledgers)))

    async def _one(self, client: Any, slots: asyncio.Semaphore, ledger: Facts) -> Written:
        from cefm_core.reports.checker import check_report
        from cefm_core.reports.claims import Report
        from cefm_core.reports.parse import parse_reply
        from cefm_core.reports.template_writer import write_report

        refused: list[str] = []
        objections: tuple[Reason, ...] = ()
        for attempt in range(self._config.attempts):
            async with slots:
                answer = await self._answer(client, ledger, objections, attempt)
            if "error" in answer:
                refused.append(f"{_UNREACHABLE}: {answer['error']}")
                break
            parsed = parse_reply(answer["content"], answer["finish_reason"])
            if not parsed.ok:
                refused.append(f"{parsed.code}: {parsed.message}")
                continue
            report = Report(parsed.claims, self._config.language)
            verdict = check_report(ledger, report)
            if verdict.ok:
                return Written(report, "openai", "published", tuple(refused), self._config.llm_model)
            refused += verdict.lines()
            objections = verdict.reasons
        return Written(write_report(ledger, self._config.language), "template", "fallback", tuple(refused), self._config.llm_model)

    async def _answer(self, client: Any, ledger: Facts, objections: tuple[Reason, ...], attempt: int) -> dict[str, Any]:
        """Return a stored answer, or ask for one and store it; an endpoint that fails gives ``{"error": ...}``, which is not stored."""
        from cefm_core.reports.prompt import build_messages, prompt_digest

        messages = build_messages(ledger, self._config, objections)
        decided_by = [
            messages,
            prompt_digest(self._config),
            self._config.llm_model,
            self._config.temperature,
            self._config.max_tokens,
            attempt,
        ]
        key = keys.cache_key("llm", digest_of(decided_by))
        try:
            return self._store.read_json(key)
        except IntegrityError:
            answer = await self._ask(client, messages)
        if "error" not in answer:
            self._store.put_json(key, answer)
        return answer

    async def _ask(self, client: Any, messages: list[dict[str, str]]) -> dict[str, Any]:
        import openai

        while True:
            form = self._format
            try:
                request = client.chat.completions.create(
                    model=self._config.llm_model,
                    messages=messages,
                    max_tokens=self._config.max_tokens,
                    temperature=self._config.temperature,
                    **_response_format(_FORMATS[form]),
                )
                answer = await asyncio.wait_for(request, self._runtime.llm_timeout_s)
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                name = self._config.api_key_env
                raise ConfigurationError(f"reports.base_url {self._config.base_url} refuses the key in {name}; set a valid one") from error
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if form + 1 == len(_FORMATS):
                    return {"error": f"request refused ({error.status_code})"}
                self._format = max(self._format, form + 1)
                logger.warning("the endpoint refuses response_format %s; asking with %s", _FORMATS[form], _FORMATS[form + 1])
            except (openai.APIError, TimeoutError) as error:
                return {"error": type(error).__name__}
            else:
                choice = answer.choices[0] if answer.choices else None
                return {"content": choice and choice.message.content, "finish_reason": choice and choice.finish_reason}


def _response_format(form: str) -> dict[str, Any]:
    from cefm_core.reports.prompt import report_schema

    if form == "json_schema":
        schema = {"name": "report", "strict": True, "schema": report_schema()}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"response_format": {"type": "json_object"}} if form == "json_object" else {}
