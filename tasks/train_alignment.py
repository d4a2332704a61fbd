"""train_alignment: projection heads and classifiers on frozen embeddings and measurements."""

from __future__ import annotations

from cefm_core.tables import training_log
from storage.parquet import content_digest, read_rows, write_rows
from storage.refs import FileRef
from storage.store import Store
from tasks.caching import fingerprint
from tasks.context import RunContext
from tasks.stage_task import as_cached, stage_task
from tasks.table_stage import Outputs, remember


@stage_task
def train_alignment(
    context: RunContext, manifest: FileRef, embeddings: FileRef, abc_features: FileRef, label: str = "train_alignment"
) -> Outputs:
    """Train on the images of `train`, choose on `tune`; the checkpoint is one safetensors file.

    Returns:
        ``checkpoint`` and ``training_log``.
    """
    config = context.config.alignment
    print_ = fingerprint(
        "train_alignment", config.model_dump(mode="json"), {}, ("cefm_core.alignment.train", "cefm_core.tables.training_log")
    )
    opened = context.open_store()
    tables = {"manifest": manifest, "embeddings": embeddings, "abc_features": abc_features}
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
        return Outputs(files=files, summary={"images": len(data.image_ids), "log_rows": len(trained.log_rows)})

    outputs = remember(context, print_, inputs, make)
    return as_cached(outputs, outputs.cached)
