"""train_alignment: frozen embeddings, aligned with the clinical measurements."""

from __future__ import annotations

from prefect import flow

from flows.gate import gate
from flows.stage_run import FlowResult, run_row_stage, timed
from flows.upstream import needed
from storage.refs import FileRef
from tasks.context import RunContext
from tasks.embed_images import embed_images
from tasks.train_alignment import train_alignment as train


@flow(name="train_alignment", flow_run_name="train_alignment {context.title}")
def train_alignment(context: RunContext, inputs: dict[str, FileRef] | None = None) -> FlowResult:
    """Embed the images and train the projection heads and classifiers.

    Args:
        context: The run.
        inputs: Tables ``manifest``, ``refined_masks``, ``abc_features``; None takes those of the latest published version.
    """
    tables = needed(context, inputs, "manifest", "refined_masks", "abc_features")
    result = FlowResult()
    embeddings = run_row_stage(context, result, embed_images, tables)
    with timed(result, "train_alignment") as report:
        trained = train.submit(context, tables["manifest"], embeddings, tables["abc_features"]).result()
        gate(context, result, "training_log", trained.files["training_log"], trained.summary["log_rows"])
        result.outputs |= trained.files
        result.facts["model_kept"] = trained.summary.get("kept", False)
        rows = trained.summary["images"]
        report(items_in=rows, items_out=rows, rejected=0, reused=rows if trained.cached else 0, note=trained.summary.get("note", ""))
    return result
