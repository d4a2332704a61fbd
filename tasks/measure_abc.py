"""measure_abc: asymmetry, border, colour and structure inside the refined masks, both profiles."""

from __future__ import annotations

from cefm_core.tables import abc_features
from storage.refs import FileRef
from tasks.context import RunContext
from tasks.images import Pictures
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task


def _inputs(rows: Rows) -> Row:
    manifest = {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256")}
    return manifest | {name: rows["refined_masks"][name] for name in ("mask_key", "mask_sha256", "mask_confidence")}


STAGE = RowStage(
    name="measure_abc",
    table=abc_features.TABLE,
    upstream=("manifest", "refined_masks"),
    entries=("cefm_core.abc_features.measure", "cefm_core.tables.abc_features"),
    inputs=_inputs,
    settings=lambda config: config.abc.model_dump(mode="json"),
)


@stage_task
def measure_abc(context: RunContext, fingerprint: str, work: FileRef, label: str = "measure_abc") -> PartSummary:
    """Measure the lesions of one shard."""
    from cefm_core.abc_features.measure import measure_abc as measure

    pictures = Pictures(context)

    def one(item: Row) -> Output:
        rgb = pictures.image(item)
        mask = pictures.mask(item, rgb.shape[:2])
        measured = measure(rgb, mask, context.config.abc, mask_confidence=item["mask_confidence"])
        return Output(measured | {name: item[name] for name in ("mask_key", "mask_sha256")})

    return run_shard(STAGE, context, fingerprint, work, lambda items: [one(item) for item in items])
