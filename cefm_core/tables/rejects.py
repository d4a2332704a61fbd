"""The rejects: every item that a stage could not process; the reason codes stand in ``cefm_core.manifest.reject_codes``."""

from __future__ import annotations

from cefm_core.tables.schema import Column, Table

TABLE = Table(
    name="rejects",
    stage="build_manifest",
    description="One item that a stage could not process, and why; items in = rows out + rejects, at every stage.",
    columns=(
        Column("item", "string", "Image id; or the file or metadata row where there is no id"),
        Column("stage", "string", "Stage that rejected it"),
        Column("code", "string", "Reason code; docs/reject_codes.md says what to do about each"),
        Column("message", "string", "What is wrong with this item"),
    ),
    primary_key=("item", "stage", "code"),
    per_image=False,
)
