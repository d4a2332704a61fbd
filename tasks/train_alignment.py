"""train_alignment: projection heads and classifiers on frozen embeddings and measurements."""

from __future__ import annotations

from cefm_core.tables import training_log
from storage.parquet import content_digest, read_rows, write_rows
from storage.refs import FileRef
from storage.store import Store
from storage.versions import latest_outputs
from tasks.caching import Fingerprint, fingerprint
from tasks.context import RunContext
from tasks.rows import row_stage
from tasks.stage_task import as_cached, stage_task
from tasks.table_stage import Outputs, record, record_key, recorded, remember

_UPSTREAM = ("segment_coarse", "refine_masks", "measure_abc", "embed_images")


@stage_task
def train_alignment(
    context: RunContext, manifest: FileRef, embeddings: FileRef, abc_features: FileRef, label: str = "train_alignment"
) -> Outputs:
    """Train on the images of `train`, choose on `tune`; the checkpoint is one safetensors file.

    Returns:
        ``checkpoint`` and ``training_log``; the summary says under ``kept`` whether they are those of the latest version.
    """
    config = context.config.alignment
    print_ = fingerprint(
        "train_alignment", config.model_dump(mode="json"), {}, ("cefm_core.alignment.train", "cefm_core.tables.training_log")
    )
    opened = context.open_store()
    tables = {"manifest": manifest, "embeddings": embeddings, "abc_features": abc_features}
    inputs = {name: content_digest(opened, ref) for name, ref in tables.items()}
    if context.keep_model and not context.computes_anew("train_alignment") and recorded(opened, record_key(print_, inputs)) is None:
        kept = _kept(context, print_)
        if kept is not None:
            return as_cached(kept, True)

    def make(store: Store) -> Outputs:
        from cefm_core.alignment.data import AlignmentData
        from cefm_core.alignment.train import train_alignment as train
        from cefm_core.device import resolve_device

        resolve_device("cpu")
        rows = {name: read_rows(store, ref) for name, ref in tables.items()}
        data = AlignmentData.from_rows(rows["manifest"], rows["embeddings"], rows["abc_features"], config.profile)
        trained = train(data, config)
        files = {
            "checkpoint": store.put_object("checkpoint", trained.to_bytes(), "safetensors"),
            "training_log": write_rows(store, training_log.TABLE, trained.log_rows),
        }
        summary = {"images": len(data.image_ids), "log_rows": len(trained.log_rows), "upstream": _upstream(context)}
        return Outputs(files=files, summary=summary)

    outputs = remember(context, print_, inputs, make)
    if not outputs.cached:
        record(opened, _model_key(print_, outputs.files["checkpoint"]), outputs)
    return as_cached(outputs, outputs.cached)


def _kept(context: RunContext, print_: Fingerprint) -> Outputs | None:
    """Return the model of the latest version, if these settings and this code made it, and what it reads is made as it was; else None."""
    store = context.open_store()
    checkpoint = latest_outputs(store).get("checkpoint")
    found = recorded(store, _model_key(print_, checkpoint)) if checkpoint is not None else None
    if found is None or found.summary.get("upstream") != _upstream(context):
        return None
    return found.model_copy(update={"cached": True, "summary": found.summary | {"kept": True, "note": "kept, as asked"}})


def _upstream(context: RunContext) -> dict[str, str]:
    """Return the fingerprints of the stages by which an image becomes what the model reads."""
    return {name: row_stage(name).fingerprint(context.config).digest for name in _UPSTREAM}


def _model_key(print_: Fingerprint, checkpoint: FileRef) -> str:
    """Key under which a model is found again by itself, whatever it was trained on."""
    return record_key(print_, {"checkpoint": checkpoint.sha256})
