"""embed_images: what the frozen vision transformer makes of every image."""

from __future__ import annotations

from cefm_core.config import CefmConfig
from cefm_core.tables import embeddings
from storage.refs import FileRef
from tasks.context import RunContext, once_per_thread
from tasks.images import Pictures, lesion_inputs
from tasks.row_stage import Output, PartSummary, Row, RowStage, run_shard
from tasks.stage_task import stage_task


def _weights(config: CefmConfig) -> dict[str, str]:
    from cefm_core.alignment.encoder import encoder_digest

    return {"encoder": encoder_digest(config.embed)}


STAGE = RowStage(
    name="embed_images",
    table=embeddings.TABLE,
    upstream=("manifest", "refined_masks"),
    entries=("cefm_core.alignment.encoder", "cefm_core.tables.embeddings"),
    inputs=lesion_inputs,
    settings=lambda config: config.embed.model_dump(mode="json", exclude={"weights"}),
    weights=_weights,
    on_device=True,
)


@stage_task
def embed_images(context: RunContext, fingerprint: str, work: FileRef, label: str = "embed_images") -> PartSummary:
    """Embed the images of one shard."""
    from cefm_core.alignment.encoder import Encoder

    device = context.device()
    encoder = once_per_thread(f"encoder:{fingerprint}:{device}", lambda: Encoder.load(context.config.embed, device))
    pictures = Pictures(context)

    def process(items: list[Row]) -> list[Output]:
        images = [pictures.image(item) for item in items]
        masks = [pictures.mask(item, rgb.shape[:2]) for item, rgb in zip(items, images, strict=True)]
        return [Output(row) for row in encoder.rows(images, masks)]

    return run_shard(STAGE, context, fingerprint, work, process)
