"""write_reports: descriptors, and a checked report with a page for every image."""

from __future__ import annotations

from prefect import flow

from cefm_core.descriptors import chosen_scorer
from flows.gate import gate
from flows.stage_run import FlowResult, run_row_stage
from flows.upstream import available, needed_from
from storage.refs import FileRef
from tasks.collect_corrections import collect_corrections
from tasks.context import RunContext
from tasks.llm_batch import ask_in_batch
from tasks.rank_descriptors import STAGE as RANKING
from tasks.rank_descriptors import rank_descriptors
from tasks.write_reports import STAGE, fallback_note
from tasks.write_reports import write_reports as write


@flow(name="write_reports", flow_run_name="write_reports {context.title}")
def write_reports(context: RunContext, inputs: dict[str, FileRef] | None = None) -> FlowResult:
    """Rank descriptors, gather what clinicians corrected, and write the reports.

    Args:
        context: The run.
        inputs: The tables reports are written from; None takes those of the latest published version.
    """
    found = available(context, inputs)
    tables = needed_from(context.store, found, *(name for name in STAGE.upstream if name not in ("descriptors", "corrections")))
    beside = {name: found[name] for name in RANKING.beside if name in found}
    result = FlowResult()
    scorer = chosen_scorer(context.config.descriptors)
    note = "skipped: descriptors.scorer is none" if scorer == "none" else f"scored by {scorer}"
    descriptors = run_row_stage(context, result, rank_descriptors, tables | beside, note=note)
    corrections = collect_corrections.submit(context, tables["manifest"]).result()
    gate(context, result, "corrections", corrections.files["corrections"], corrections.summary["images"])
    result.outputs |= corrections.files
    settings = context.config.reports
    in_batch = ask_in_batch if settings.writer == "openai" and settings.batch else None
    reports = run_row_stage(context, result, write, tables | {"descriptors": descriptors} | corrections.files, beforehand=in_batch)
    result.stages[-1].note = fallback_note(context.open_store(), reports)
    return result
