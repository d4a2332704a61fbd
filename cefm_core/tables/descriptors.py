"""What rank_descriptors writes: the descriptors that fit each image best, or why there are none."""

from __future__ import annotations

from cefm_core.tables.schema import Column, Table

TABLE = Table(
    name="descriptors",
    stage="rank_descriptors",
    description="One row an image: the best-fitting phrases of the descriptor vocabulary, best first",
    columns=(
        Column("image_id", "string", "Identifier of the image"),
        Column(
            "phrases",
            "strings",
            "Phrases of the vocabulary, best first; empty where no probe scores above its cut",
            nullable=True,
            reason_column="reason",
        ),
        Column(
            "scores",
            "floats",
            "Of each phrase, in their order. clip: cosine of image and phrase less the image's mean over the vocabulary; "
            "probes: probability that the finding is labelled present",
            minimum=-2,
            maximum=2,
            nullable=True,
            reason_column="reason",
        ),
        Column(
            "vocabulary_scores",
            "floats",
            "clip: cosine of image and phrase for all its phrases of the vocabulary; probes: probability by every probe in use",
            minimum=-1,
            maximum=1,
            nullable=True,
            reason_column="reason",
        ),
        Column("vocabulary_version", "string", "Version of the descriptor vocabulary"),
        Column("scorer", "string", "Who scored", allowed=("clip", "probes", "none")),
        Column("model", "string", "clip: open_clip model name, activation included; probes: their version and their encoder"),
        Column("weights_sha256", "string", "SHA-256 of the checkpoint, or of the probes' weights", nullable=True, reason_column="reason"),
        Column("reason", "string", "Why there are no descriptors; null where there are", nullable=True),
    ),
)
