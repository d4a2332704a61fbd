"""evaluate_alignment: predictions for every image, and what they are worth."""

from __future__ import annotations

from typing import Any

from cefm_core import __version__
from cefm_core.tables import metrics, predictions
from storage.parquet import content_digest, read_frame, read_rows, write_rows
from storage.refs import FileRef
from storage.store import Store
from tasks.caching import fingerprint, row_key
from tasks.context import RunContext
from tasks.stage_task import as_cached, stage_task
from tasks.table_stage import Outputs, remember

TABLES = ("manifest", "image_quality", "coarse_masks", "refined_masks", "abc_features", "embeddings", "training_log")
INPUTS = ("checkpoint", *TABLES)
_ENTRIES = (
    "cefm_core.alignment.predict",
    "cefm_core.alignment.left_out",
    "cefm_core.alignment.neighbours",
    "cefm_core.alignment.diagnostics",
    "cefm_core.evaluation.evaluate",
    "cefm_core.tables.metrics",
    "cefm_core.tables.predictions",
)


@stage_task
def evaluate_alignment(
    context: RunContext, inputs: dict[str, FileRef], model_kept: bool = False, label: str = "evaluate_alignment"
) -> Outputs:
    """Predict every embedded image and evaluate the held-out ones; no source is left out of a model that was kept.

    Returns:
        ``predictions``, ``metrics``, ``model_card`` and one ``figure:<name>`` per figure.
    """
    print_ = fingerprint("evaluate_alignment", context.config.evaluation.model_dump(mode="json"), {}, _ENTRIES)
    opened = context.open_store()
    digests = {name: content_digest(opened, inputs[name]) for name in TABLES} | {"checkpoint": inputs["checkpoint"].sha256}
    leave_out = context.config.evaluation.leave_one_source_out and not model_kept
    digests |= {"model_kept": "yes"} if model_kept else {}

    def make(store: Store) -> Outputs:
        from cefm_core.evaluation.evaluate import evaluate

        rows, facts, diagnostics = _predicted(store, inputs, leave_out)
        written = write_rows(store, predictions.TABLE, [_with_lineage(row, print_.digest, digests["checkpoint"]) for row in rows])
        frames = {name: read_frame(store, inputs[name]) for name in TABLES if name not in {"embeddings", "manifest"}}
        found = evaluate(
            read_frame(store, written),
            read_frame(store, inputs["manifest"]),
            config=context.config.evaluation,
            facts=facts,
            diagnostics=diagnostics,
            **frames,
        )
        files = {
            "predictions": written,
            "metrics": write_rows(store, metrics.TABLE, found.metric_rows),
            "model_card": store.put_object("model_card", found.model_card.encode(), "md"),
        }
        files |= {f"figure:{name}": store.put_object("figure", data, "png") for name, data in sorted(found.figures.items())}
        summary = {
            "images": len(rows),
            "metric_rows": len(found.metric_rows),
            "headline": list(found.headline),
            "shortcut_alarm": bool(found.headline) and found.headline[0].startswith("SHORTCUT ALARM"),
        }
        return Outputs(files=files, summary=summary)

    outputs = remember(context, print_, digests, make)
    return as_cached(outputs, outputs.cached)


def _predicted(store: Store, inputs: dict[str, FileRef], leave_out: bool) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Return prediction rows with the images' digests, the checkpoint's facts and the diagnostics of the alignment."""
    from cefm_core.alignment.checkpoint import checkpoint_from_bytes
    from cefm_core.alignment.data import AlignmentData
    from cefm_core.alignment.diagnostics import diagnose
    from cefm_core.alignment.left_out import leave_one_source_out
    from cefm_core.alignment.neighbours import nearest_cases
    from cefm_core.alignment.predict import predict
    from cefm_core.device import resolve_device

    resolve_device("cpu")
    checkpoint = checkpoint_from_bytes(store.get(inputs["checkpoint"]))
    manifest = read_rows(store, inputs["manifest"])
    embeddings, abc_features = (read_rows(store, inputs[name]) for name in ("embeddings", "abc_features"))
    data = AlignmentData.from_rows(manifest, embeddings, abc_features, checkpoint.facts["profile"])
    digest = {row["image_id"]: row["image_sha256"] for row in manifest}
    nearest = nearest_cases(checkpoint, data)
    rows = [row | near | {"image_sha256": digest[row["image_id"]]} for row, near in zip(predict(checkpoint, data), nearest, strict=True)]
    if leave_out:
        left_out = leave_one_source_out(data, checkpoint)
        rows = [row | left_out.columns(index) for index, row in enumerate(rows)]
    facts = dict(checkpoint.facts) | {
        "name": "alignment and classifiers",
        "command": "cefm run --source IMAGES --metadata TABLE --store STORE",
        "checkpoint_sha256": inputs["checkpoint"].sha256,
        "package_version": __version__,
    }
    return rows, facts, diagnose(checkpoint, data)


def _with_lineage(row: dict[str, Any], stage: str, checkpoint: str) -> dict[str, Any]:
    return row | {"row_key": row_key(stage, {"checkpoint": checkpoint, "image_id": row["image_id"], "image_sha256": row["image_sha256"]})}
