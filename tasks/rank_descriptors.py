"""rank_descriptors: the descriptors that CLIP, or the probes on the frozen embedding, see in every image."""

from __future__ import annotations

from collections.abc import Callable

from cefm_core.descriptors import chosen_scorer, deciding_settings, skipped_row, weights_digests
from cefm_core.tables import descriptors
from storage.refs import FileRef
from tasks.context import RunContext, once_per_thread
from tasks.images import Pictures
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task

_Process = Callable[[list[Row]], list[Output]]


def _inputs(rows: Rows) -> Row:
    manifest = {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256")}
    return manifest | {name: rows["refined_masks"][name] for name in ("mask_key", "mask_sha256")}


STAGE = RowStage(
    name="rank_descriptors",
    table=descriptors.TABLE,
    upstream=("manifest", "refined_masks"),
    entries=("cefm_core.descriptors", "cefm_core.descriptors.ranker", "cefm_core.descriptors.probes", "cefm_core.tables.descriptors"),
    inputs=_inputs,
    settings=lambda config: deciding_settings(config.descriptors),
    weights=lambda config: weights_digests(config.descriptors),
)


@stage_task
def rank_descriptors(context: RunContext, fingerprint: str, work: FileRef, label: str = "rank_descriptors") -> PartSummary:
    """Score the descriptors for the images of one shard."""
    process = {"clip": _clip, "probes": _probes, "none": _nobody}[chosen_scorer(context.config.descriptors)]
    return run_shard(STAGE, context, fingerprint, work, process(context, fingerprint))


def _clip(context: RunContext, fingerprint: str) -> _Process:
    from cefm_core.descriptors.ranker import DescriptorRanker

    config, device, pictures = context.config.descriptors, context.device(), Pictures(context)
    ranker = once_per_thread(f"clip:{fingerprint}:{device}", lambda: DescriptorRanker.load(config, device))
    return lambda items: [Output(row) for row in ranker.rank([pictures.image(item) for item in items])]


def _probes(context: RunContext, fingerprint: str) -> _Process:
    from cefm_core.descriptors.probes import ProbeScorer

    config, device, pictures = context.config.descriptors, context.device(), Pictures(context)
    scorer = once_per_thread(f"probes:{fingerprint}:{device}", lambda: ProbeScorer.load(config, device))

    def process(items: list[Row]) -> list[Output]:
        images = [pictures.image(item) for item in items]
        masks = [pictures.mask(item, rgb.shape[:2]) for item, rgb in zip(items, images, strict=True)]
        return [Output(row) for row in scorer.rank(images, masks)]

    return process


def _nobody(context: RunContext, fingerprint: str) -> _Process:
    return lambda items: [Output(skipped_row()) for _ in items]
