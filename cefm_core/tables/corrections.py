"""What clinicians corrected: one row an image, so that reports are written from it like from any other table."""

from __future__ import annotations

from cefm_core.tables.schema import Column, Table

TABLE = Table(
    name="corrections",
    stage="write_reports",
    description="One row an image: the corrections of clinicians that stand for it",
    columns=(
        Column("image_id", "string", "Identifier of the image"),
        Column("correction_count", "int", "How many corrections stand", minimum=0),
        Column("corrections_json", "string", "The corrections as JSON: fact, kind, level, what was seen, and the reviewer's code"),
    ),
)
