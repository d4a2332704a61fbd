"""What rank_descriptors writes: the descriptors that fit each image best, or why there are none."""

from __future__ import annotations

from cefm_core.tables.schema import Column, Table

TABLE = Table(
    name="descriptors",
    stage="rank_descriptors",
    description="One row an image: the best-fitting phrases of the descriptor vocabulary, best first",
    columns=(
        Column("image_id", "string", "Identifier of the image"),
        Column("phrases", "strings", "Phrases of the vocabulary, best first", nullable=True, reason_column="reason"),
        Column(
            "scores",
            "floats",
            "Cosine of image and phrase less the image's mean over the vocabulary, in the order of `phrases`",
            minimum=-2,
            maximum=2,
            nullable=True,
            reason_column="reason",
        ),
        Column(
            "vocabulary_scores",
            "floats",
            "Cosine of image and phrase for the whole vocabulary, in its order",
            minimum=-1,
            maximum=1,
            nullable=True,
            reason_column="reason",
        ),
        Column("vocabulary_version", "string", "Version of the descriptor vocabulary"),
        Column("model", "string", "open_clip model name, activation included"),
        Column("weights_sha256", "string", "SHA-256 of the checkpoint file", nullable=True, reason_column="reason"),
        Column("reason", "string", "Why there are no descriptors; null where there are", nullable=True),
    ),
)
