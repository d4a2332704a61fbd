"""The data path: every stage, what it reads, what it writes, and where its lines live.

ARCHITECTURE.md opens with this table, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage of the data path.

    Attributes:
        name: Stem shared by the task module and its test.
        reads: What enters.
        writes: What leaves; the first is the stage's main table.
        core: Folder of ``cefm_core`` that does the work.
        flow: The flow that runs it.
        config: Field of :class:`cefm_core.config.CefmConfig` with its settings.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    core: str
    flow: str
    config: str


STAGES: tuple[Stage, ...] = (
    Stage("build_manifest", ("source images", "source metadata"), ("manifest", "rejects"), "manifest", "prepare_dataset", "manifest"),
    Stage("assess_images", ("manifest", "images"), ("image_quality",), "imaging", "prepare_dataset", "quality"),
    Stage("segment_coarse", ("manifest", "images"), ("coarse_masks", "coarse masks"), "segmentation", "prepare_dataset", "coarse"),
    Stage("refine_masks", ("coarse masks", "images"), ("refined_masks", "refined masks"), "segmentation", "prepare_dataset", "refine"),
    Stage("measure_abc", ("masks", "images"), ("abc_features",), "abc_features", "prepare_dataset", "abc"),
    Stage("embed_images", ("manifest", "images", "masks"), ("embeddings",), "alignment", "train_alignment", "embed"),
    Stage(
        "train_alignment",
        ("embeddings", "abc_features", "manifest"),
        ("training_log", "checkpoint"),
        "alignment",
        "train_alignment",
        "alignment",
    ),
    Stage(
        "evaluate_alignment",
        ("checkpoint", "embeddings", "abc_features", "manifest"),
        ("predictions", "metrics", "figures"),
        "evaluation",
        "evaluate_alignment",
        "evaluation",
    ),
    Stage("rank_descriptors", ("manifest", "images", "masks"), ("descriptors",), "descriptors", "write_reports", "descriptors"),
    Stage(
        "write_reports",
        ("predictions", "abc_features", "descriptors", "image_quality", "corrections"),
        ("reports", "report pages"),
        "reports",
        "write_reports",
        "reports",
    ),
)

BY_NAME: dict[str, Stage] = {stage.name: stage for stage in STAGES}
