"""segment_coarse: coarse lesion masks by UltraLight VM-UNet, and by a second network where that is unsure."""

from __future__ import annotations

from typing import Any

from cefm_core.config import CefmConfig
from cefm_core.tables import coarse_masks
from storage.refs import FileRef
from tasks.context import RunContext, once_per_thread
from tasks.images import Pictures
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task


def _inputs(rows: Rows) -> Row:
    manifest = rows["manifest"]
    return {name: manifest[name] for name in ("image_id", "uri", "image_sha256", "reference_mask_uri", "reference_mask_sha256")}


def _weights(config: CefmConfig) -> dict[str, str]:
    from cefm_core.segmentation.coarse import weights_digests

    return weights_digests(config.coarse)


def _settings(config: CefmConfig) -> dict[str, Any]:
    from cefm_core.segmentation.coarse import deciding_settings

    return deciding_settings(config.coarse)


STAGE = RowStage(
    name="segment_coarse",
    table=coarse_masks.TABLE,
    upstream=("manifest",),
    entries=("cefm_core.segmentation.coarse", "cefm_core.segmentation.scores", "cefm_core.tables.coarse_masks"),
    inputs=_inputs,
    settings=_settings,
    weights=_weights,
    objects=("mask",),
    on_device=True,
)


@stage_task
def segment_coarse(context: RunContext, fingerprint: str, work: FileRef, label: str = "segment_coarse") -> PartSummary:
    """Segment the images of one shard."""
    from cefm_core.imaging.decode import encode_mask_png
    from cefm_core.segmentation.coarse import CoarseSegmenter

    device = context.device()
    segmenter = once_per_thread(f"coarse:{fingerprint}:{device}", lambda: CoarseSegmenter.load(context.config.coarse, device))
    pictures = Pictures(context)

    def process(items: list[Row]) -> list[Output]:
        masks = segmenter.segment([pictures.image(item) for item in items])
        return [
            Output(found.row | pictures.reference_scores(item, found.mask), {"mask": (encode_mask_png(found.mask), "png")})
            for item, found in zip(items, masks, strict=True)
        ]

    return run_shard(STAGE, context, fingerprint, work, process)
