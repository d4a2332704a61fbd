"""write_reports: a checked report and a page for every image. The only module that talks to a language model."""

from __future__ import annotations

from typing import Any

from cefm_core.config import CefmConfig
from cefm_core.tables import reports
from storage.refs import FileRef
from tasks.context import RunContext
from tasks.images import Pictures
from tasks.row_stage import Output, PartSummary, Row, RowStage, Rows, run_shard
from tasks.stage_task import stage_task

_TABLES = ("manifest", "image_quality", "coarse_masks", "refined_masks", "abc_features", "predictions", "descriptors")
# From a page (objects/page/<aa>/<sha256>.html) to the root of the store.
_ROOT = "../../../"


def _inputs(rows: Rows) -> Row:
    manifest = {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256")}
    return manifest | {"rows": rows}


def _settings(config: CefmConfig) -> dict[str, Any]:
    """The endpoint's address and the key's name do not decide a text; the model, the prompt and the sampling do."""
    chosen = config.reports.model_dump(mode="json", exclude={"base_url", "api_key_env"})
    return chosen if config.reports.writer == "openai" else {"writer": config.reports.writer, "language": config.reports.language}


STAGE = RowStage(
    name="write_reports",
    table=reports.TABLE,
    upstream=_TABLES,
    entries=("cefm_core.reports.writing", "cefm_core.reports.pages", "cefm_core.tables.reports"),
    inputs=_inputs,
    settings=_settings,
    objects=("page", "picture", "thumb"),
)


@stage_task
def write_reports(context: RunContext, fingerprint: str, work: FileRef, label: str = "write_reports") -> PartSummary:
    """Write, check and draw the reports of one shard."""
    from cefm_core.reports.facts import collect_facts
    from tasks.report_writers import make_writer

    pictures, writer = Pictures(context), make_writer(context)

    def process(items: list[Row]) -> list[Output]:
        ledgers = [collect_facts(item["image_id"], **_ledger_rows(item["rows"])) for item in items]
        written = writer.write([ledger for ledger in ledgers])
        return [_page(pictures, item, ledger, report) for item, ledger, report in zip(items, ledgers, written, strict=True)]

    return run_shard(STAGE, context, fingerprint, work, process)
