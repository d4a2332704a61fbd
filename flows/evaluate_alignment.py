"""evaluate_alignment: predictions for every image, and what they are worth."""

from __future__ import annotations

from prefect import flow

from flows.gate import gate
from flows.stage_run import FlowResult, timed
from flows.upstream import needed
from storage.refs import FileRef
from tasks.context import RunContext
from tasks.evaluate_alignment import INPUTS
from tasks.evaluate_alignment import evaluate_alignment as evaluate


@flow(name="evaluate_alignment", flow_run_name="evaluate_alignment {context.title}")
def evaluate_alignment(context: RunContext, inputs: dict[str, FileRef] | None = None, model_kept: bool = False) -> FlowResult:
    """Predict every image and evaluate the predictions.

    Args:
        context: The run.
        inputs: The checkpoint and the tables it is evaluated on; None takes those of the latest published version.
        model_kept: Whether the checkpoint was trained on an earlier version of the data: sources are left out when it is trained.
    """
    result = FlowResult()
    with timed(result, "evaluate_alignment") as report:
        evaluated = evaluate.submit(context, needed(context, inputs, *INPUTS), model_kept).result()
        rows, summary = evaluated.summary["images"], evaluated.summary
        gate(context, result, "predictions", evaluated.files["predictions"], rows)
        gate(context, result, "metrics", evaluated.files["metrics"], summary["metric_rows"])
        result.outputs |= evaluated.files
        result.facts |= {"headline": summary["headline"], "shortcut_alarm": summary["shortcut_alarm"]}
        report(items_in=rows, items_out=rows, rejected=0, reused=rows if evaluated.cached else 0)
    return result
