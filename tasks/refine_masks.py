"""refine_masks: refined lesion masks by SAM 2 or its stand-in, each accepted or refused with a reason."""

from __future__ import annotations

from typing import Any

from cefm_core.config import CefmConfig
from cefm_core.tables import refined_masks
from storage.refs import FileRef
from tasks.context import RunContext, once_per_thread
from tasks.images import Pictures
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task


def _inputs(rows: Rows) -> Row:
    manifest = {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256", "reference_mask_uri", "reference_mask_sha256")}
    return manifest | {name: rows["coarse_masks"][name] for name in ("mask_key", "mask_sha256", "confidence")}


def _settings(config: CefmConfig) -> dict[str, Any]:
    from cefm_core.segmentation.refine import resolve_refiner

    chosen = resolve_refiner(config.refine)
    settings = config.refine.model_dump(mode="json", exclude={"sam2_checkpoint", "sam2_checkpoint_sha256"})
    return settings | {"refiner": chosen.name, "refiner_reason": chosen.reason}


def _weights(config: CefmConfig) -> dict[str, str]:
    from cefm_core.segmentation.refine import resolve_refiner

    chosen = resolve_refiner(config.refine)
    return {chosen.name: chosen.weights_sha256} if chosen.weights_sha256 else {}


STAGE = RowStage(
    name="refine_masks",
    table=refined_masks.TABLE,
    upstream=("manifest", "coarse_masks"),
    entries=("cefm_core.segmentation.refine", "cefm_core.segmentation.scores", "cefm_core.tables.refined_masks"),
    inputs=_inputs,
    settings=_settings,
    weights=_weights,
    objects=("mask",),
    on_device=True,
)


@stage_task
def refine_masks(context: RunContext, fingerprint: str, work: FileRef, label: str = "refine_masks") -> PartSummary:
    """Refine the masks of one shard."""
    from cefm_core.imaging.decode import encode_mask_png
    from cefm_core.segmentation.refine import MaskRefiner

    device = context.device()
    refiner = once_per_thread(f"refiner:{fingerprint}:{device}", lambda: MaskRefiner.load(context.config.refine, device))
    pictures = Pictures(context)

    def one(item: Row) -> Output:
        rgb = pictures.image(item)
        found = refiner.refine(rgb, pictures.mask(item, rgb.shape[:2]), item["confidence"])
        return Output(found.row | pictures.reference_scores(item, found.mask), {"mask": (encode_mask_png(found.mask), "png")})

    return run_shard(STAGE, context, fingerprint, work, lambda items: [one(item) for item in items])
