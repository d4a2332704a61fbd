"""rank_descriptors: the descriptor vocabulary, ranked by CLIP for every image; skipped with a reason where CLIP has no weights."""

from __future__ import annotations

from typing import Any

from cefm_core.config import CefmConfig
from cefm_core.tables import descriptors
from storage.refs import FileRef
from tasks.context import RunContext, once_per_thread
from tasks.images import Pictures
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task


def _inputs(rows: Rows) -> Row:
    return {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256")}


def _settings(config: CefmConfig) -> dict[str, Any]:
    from cefm_core.descriptors import availability

    return config.descriptors.model_dump(mode="json", exclude={"weights"}) | {"skipped": availability(config.descriptors)}


def _weights(config: CefmConfig) -> dict[str, str]:
    from cefm_core.descriptors import availability, weights_digest

    return {} if availability(config.descriptors) else {"clip": weights_digest(config.descriptors)}


STAGE = RowStage(
    name="rank_descriptors",
    table=descriptors.TABLE,
    upstream=("manifest",),
    entries=("cefm_core.descriptors", "cefm_core.descriptors.ranker", "cefm_core.tables.descriptors"),
    inputs=_inputs,
    settings=_settings,
    weights=_weights,
)


@stage_task
def rank_descriptors(context: RunContext, fingerprint: str, work: FileRef, label: str = "rank_descriptors") -> PartSummary:
    """Rank the descriptors for the images of one shard."""
    from cefm_core.descriptors import availability, skipped_row

    config, device = context.config.descriptors, context.device()
    reason = availability(config)
    if reason is not None:
        return run_shard(STAGE, context, fingerprint, work, lambda items: [Output(skipped_row(reason, config)) for _ in items])
    from cefm_core.descriptors.ranker import DescriptorRanker

    ranker = once_per_thread(f"clip:{fingerprint}:{device}", lambda: DescriptorRanker.load(config, device))
    pictures = Pictures(context)
    return run_shard(
        STAGE, context, fingerprint, work, lambda items: [Output(row) for row in ranker.rank([pictures.image(item) for item in items])]
    )
