"""write_reports: a checked report and a page for every image. How a language model writes belongs to ``tasks/llm_writer.py``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from cefm_core.config import CefmConfig, ReportConfig
from cefm_core.tables import reports
from storage.parquet import read_arrow
from storage.refs import FileRef
from storage.store import Store
from tasks.collect_corrections import corrections_of
from tasks.context import RunContext
from tasks.images import Pictures
from tasks.llm_endpoint import BUDGET, REFUSED, UNREACHABLE, endpoint_of
from tasks.llm_writer import LlmWriter
from tasks.report_page import Written, draw_page
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task

if TYPE_CHECKING:
    from cefm_core.reports.corrections import Corrected
    from cefm_core.reports.facts import Facts

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


# Of no use to a report: what models say that were trained without the image's source.
_UNSAID = {"p_left_out", "left_out_reason"}


def _inputs(rows: Rows) -> Row:
    prediction = {name: value for name, value in rows["predictions"].items() if name not in _UNSAID}
    said = rows | {"predictions": prediction}
    return {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256")} | {"rows": said}


def _settings(config: CefmConfig) -> dict[str, Any]:
    """The model, the prompt and the sampling decide a text; the endpoint's address, the key's name, the budget and the way there do not."""
    if config.reports.writer == "template":
        return config.reports.model_dump(mode="json", include={"writer", "language"})
    return config.reports.model_dump(mode="json", exclude={"base_url", "api_key_env", "max_total_tokens", "batch"})


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
    settled_by=("status", "reasons"),
)


@stage_task
def write_reports(context: RunContext, fingerprint: str, work: FileRef, label: str = "write_reports") -> PartSummary:
    """Write, check and draw the reports of one shard."""
    pictures, items = Pictures(context), context.open_store().read_work(work)
    with closing(_writer(context)) as writer:

        def process(batch: list[Row]) -> list[Output]:
            return [draw_page(pictures, item, ledger := ledger_of(item), writer.write(ledger.facts)) for item in batch]

        writer.prepare(ledgers_of(items))
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


def ledgers_of(items: list[Row]) -> Iterator[Facts]:
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
