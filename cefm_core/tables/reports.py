"""What write_reports writes: one checked report an image, with the claims and the facts it rests on."""

from __future__ import annotations

from cefm_core.tables.schema import Column, Table

TABLE = Table(
    name="reports",
    stage="write_reports",
    description="One row an image: the published report, its claims, its facts and how it came about",
    columns=(
        Column("image_id", "string", "Identifier of the image"),
        Column("writer", "string", "Who wrote the published text", allowed=("template", "openai")),
        Column("status", "string", "`published` as asked for, or `fallback` to the template text", allowed=("published", "fallback")),
        Column("language", "string", "Language of the text", allowed=("en", "de")),
        Column("text", "string", "The report as plain text"),
        Column("claims_json", "string", "The claims as JSON, each with the ids of the facts it rests on"),
        Column("facts_json", "string", "The ledger of facts as JSON"),
        Column("correction_count", "int", "Corrections of clinicians that stand for the image", minimum=0),
        Column("corrections_json", "string", "What became of each: fact, value before and after, reviewer's code, whether it was applied"),
        Column("claim_count", "int", "Claims in the report", minimum=1),
        Column("reasons", "strings", "What the checker or the endpoint objected to in answers that were not published: `code: sentence`"),
        Column("llm_model", "string", "Model at the endpoint that was asked, or null", nullable=True),
        Column("page_key", "string", "Key of the image's page in the store"),
        Column("page_sha256", "string", "SHA-256 of the page"),
        Column("picture_key", "string", "Key of the reduced picture on the page"),
        Column("picture_sha256", "string", "SHA-256 of the picture"),
        Column("thumb_key", "string", "Key of the thumbnail in the gallery"),
        Column("thumb_sha256", "string", "SHA-256 of the thumbnail"),
    ),
)
