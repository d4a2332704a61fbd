"""What build_manifest learned by decoding each image once."""

from cefm_core.tables.schema import Column, Table

TABLE = Table(
    name="image_facts",
    stage="build_manifest",
    description="One row an image that decodes completely",
    columns=(
        Column("image_id", "string", "Identifier of the image"),
        Column("width_px", "int", "Width after the orientation policy", unit="pixels", minimum=1),
        Column("height_px", "int", "Height after the orientation policy", unit="pixels", minimum=1),
        Column("dhash", "string", "Of the centre square: difference hash (16 hex digits), colon, 8 x 8 grey image (128 digits)"),
        Column("local_features", "string", "Base64 of local features, 18 bytes each; empty where none were wanted or found"),
        Column("flags", "strings", "Repairs applied while decoding"),
    ),
)
