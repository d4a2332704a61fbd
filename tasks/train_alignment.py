"""train_alignment: projection heads and classifiers on frozen embeddings and measurements."""

from __future__ import annotations

from cefm_core.tables import training_log
from storage import keys
from storage.parquet import content_digest, read_arrow, read_rows, write_rows
from storage.refs import FileRef, digest_of
from storage.store import Store
from storage.versions import latest_outputs
from tasks.caching import Fingerprint, fingerprint
from tasks.context import RunContext
from tasks.stage_task import as_cached, stage_task
from tasks.table_stage import Outputs, record, recorded, remember


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
    if context.keep_model and not context.computes_anew("train_alignment") and (kept := _kept(opened, print_, embeddings)):
        return as_cached(kept, True)
    inputs = {name: content_digest(opened, ref) for name, ref in tables.items()}

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
        summary = {"images": len(data.image_ids), "log_rows": len(trained.log_rows), "encoder_sha256": data.encoder_sha256}
        return Outputs(files=files, summary=summary)

    outputs = remember(context, print_, inputs, make)
    if not outputs.cached:
        record(opened, _model_key(print_, outputs.files["checkpoint"]), outputs)
    return as_cached(outputs, outputs.cached)


def _kept(store: Store, print_: Fingerprint, embeddings: FileRef) -> Outputs | None:
    """Return the model of the latest version, if it was made by these settings and this code for these embeddings; else None."""
    checkpoint = latest_outputs(store).get("checkpoint")
    found = recorded(store, _model_key(print_, checkpoint)) if checkpoint is not None else None
    encoders = read_arrow(store, embeddings).column("encoder_sha256").unique().to_pylist()
    if found is None or encoders != [found.summary["encoder_sha256"]]:
        return None
    return found.model_copy(update={"cached": True, "summary": found.summary | {"kept": True, "note": "kept, as asked"}})


def _model_key(print_: Fingerprint, checkpoint: FileRef) -> str:
    """Key under which a model is found again by itself, whatever it was trained on."""
    return keys.cache_key("train_alignment", digest_of([print_.digest, {"checkpoint": checkpoint.sha256}]))
