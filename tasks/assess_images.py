"""assess_images: image quality of every image."""

from __future__ import annotations

from cefm_core.tables import image_quality
from storage.refs import FileRef
from tasks.context import RunContext
from tasks.images import Pictures
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task


def _inputs(rows: Rows) -> Row:
    manifest = rows["manifest"]
    return {name: manifest[name] for name in ("image_id", "uri", "image_sha256")}


STAGE = RowStage(
    name="assess_images",
    table=image_quality.TABLE,
    upstream=("manifest",),
    entries=("cefm_core.imaging.quality", "cefm_core.tables.image_quality"),
    inputs=_inputs,
    settings=lambda config: config.quality.model_dump(mode="json"),
)


@stage_task
def assess_images(context: RunContext, fingerprint: str, work: FileRef, label: str = "assess_images") -> PartSummary:
    """Measure the quality of the images of one shard."""
    from cefm_core.imaging.quality import assess_image

    pictures = Pictures(context)

    def process(items: list[Row]) -> list[Output]:
        return [Output(assess_image(pictures.image(item), context.config.quality)) for item in items]

    return run_shard(STAGE, context, fingerprint, work, process)
