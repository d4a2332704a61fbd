"""What build_manifest found in the source before opening anything: names and digests."""

from cefm_core.tables.schema import Column, Table

TABLE = Table(
    name="source_listing",
    stage="build_manifest",
    description="One row an image candidate of the source",
    columns=(
        Column("image_id", "string", "Identifier of the image, from its name"),
        Column("uri", "string", "Name of the image relative to the source"),
        Column("size_bytes", "int", "Size of the file", unit="bytes", minimum=0),
        Column(
            "reference_mask_uri", "string", "Name of the reference mask relative to the source, null where there is none", nullable=True
        ),
        Column("reference_mask_sha256", "string", "SHA-256 of the reference mask", nullable=True),
    ),
)
