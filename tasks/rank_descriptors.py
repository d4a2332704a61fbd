"""rank_descriptors: the descriptors that CLIP, or the probes on the frozen embedding, see in every image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cefm_core.descriptors import chosen_scorer, deciding_settings, skipped_row, weights_digests
from cefm_core.tables import descriptors
from storage.refs import FileRef
from tasks.context import RunContext, once_per_thread
from tasks.images import Pictures, lesion_inputs
from tasks.row_stage import Output, PartSummary, Row, RowStage, run_shard
from tasks.stage_task import stage_task
from tasks.stored_embeddings import StoredEmbeddings

_Process = Callable[[list[Row]], list[Output]]


STAGE = RowStage(
    name="rank_descriptors",
    table=descriptors.TABLE,
    upstream=("manifest", "refined_masks"),
    entries=("cefm_core.descriptors", "cefm_core.descriptors.ranker", "cefm_core.descriptors.probes", "cefm_core.tables.descriptors"),
    inputs=lesion_inputs,
    settings=lambda config: deciding_settings(config.descriptors),
    weights=lambda config: weights_digests(config.descriptors),
    beside=("embeddings",),
    on_device=True,
)


@stage_task
def rank_descriptors(
    context: RunContext, fingerprint: str, work: FileRef, beside: dict[str, FileRef] | None = None, label: str = "rank_descriptors"
) -> PartSummary:
    """Score the descriptors for the images of one shard; ``beside`` may hold the table ``embeddings``."""
    scorer = chosen_scorer(context.config.descriptors)
    if scorer == "clip":
        process = _clip(context, fingerprint)
    elif scorer == "probes":
        process = _probes(context, fingerprint, (beside or {}).get("embeddings"))
    else:
        process = _nobody
    return run_shard(STAGE, context, fingerprint, work, process)


def _clip(context: RunContext, fingerprint: str) -> _Process:
    from cefm_core.descriptors.ranker import DescriptorRanker

    config, device, pictures = context.config.descriptors, context.device(), Pictures(context)
    ranker = once_per_thread(f"clip:{fingerprint}:{device}", lambda: DescriptorRanker.load(config, device))
    return lambda items: [Output(row) for row in ranker.rank([pictures.image(item) for item in items])]


def _probes(context: RunContext, fingerprint: str, embeddings: FileRef | None) -> _Process:
    from cefm_core.descriptors.probes import ProbeScorer, encoder_settings

    config, device, pictures = context.config.descriptors, context.device(), Pictures(context)
    scorer = once_per_thread(f"probes:{fingerprint}:{device}", lambda: ProbeScorer.load(config, device))
    stored = StoredEmbeddings(context, embeddings, encoder_settings())

    def vector(item: Row) -> np.ndarray:
        found = stored.find(item)
        if found is not None:
            return found
        rgb = pictures.image(item)
        return scorer.embed(rgb, pictures.mask(item, rgb.shape[:2]))

    return lambda items: [Output(scorer.rank(vector(item))) for item in items]


def _nobody(items: list[Row]) -> list[Output]:
    return [Output(skipped_row()) for _ in items]
