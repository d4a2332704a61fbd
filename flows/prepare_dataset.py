"""prepare_dataset: from source images to a manifest, masks and measurements."""

from __future__ import annotations

from prefect import flow

from flows.gallery import show_gallery
from flows.gate import gate
from flows.stage_run import FlowResult, run_row_stage, run_shards, timed
from tasks.assess_images import assess_images
from tasks.build_manifest import assemble_manifest, build_manifest, scan_source
from tasks.context import RunContext
from tasks.measure_abc import measure_abc
from tasks.refine_masks import refine_masks
from tasks.row_stage import Plan
from tasks.segment_coarse import segment_coarse


@flow(name="prepare_dataset", flow_run_name="prepare_dataset {context.title}")
def prepare_dataset(context: RunContext) -> FlowResult:
    """Build the manifest of a source, segment its lesions and measure them."""
    result = FlowResult()
    _manifest(context, result)
    for stage in (assess_images, segment_coarse, refine_masks):
        run_row_stage(context, result, stage, result.outputs)
    show_gallery(context, result.outputs)
    run_row_stage(context, result, measure_abc, result.outputs)
    return result


def _manifest(context: RunContext, result: FlowResult) -> None:
    with timed(result, "build_manifest") as report:
        scanned = scan_source.submit(context).result()
        plan, facts = run_shards(context, build_manifest, {"source_listing": scanned.files["source_listing"]})
        assembled = assemble_manifest.submit(context, scanned.files["source_listing"], facts.table).result()
        rejected = scanned.summary["rejected"] + facts.rejected + assembled.summary["rejected"]
        rows = assembled.summary["rows"]
        gate(context, result, "manifest", assembled.files["manifest"], rows, rejected, facts.causes)
        result.outputs["manifest"] = assembled.files["manifest"]
        result.rejects += [scanned.files["rejects"], facts.rejects, assembled.files["rejects"]]
        result.facts |= {"ignored": scanned.summary["ignored"], "manifest_notes": assembled.summary["notes"]}
        items = scanned.summary["images"] + assembled.summary["metadata_only"]
        reused = items if assembled.cached and not plan.missing else _reused(plan, assembled.summary["unchanged"])
        report(items_in=items, items_out=rows, rejected=rejected, reused=reused)


def _reused(plan: Plan, unchanged: int | None) -> int:
    """Images that were neither decoded again nor described otherwise than in the version before, where there is one."""
    decoded_before = plan.images - plan.missing
    return decoded_before if unchanged is None else min(decoded_before, unchanged)
