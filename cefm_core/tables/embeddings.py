"""Table `embeddings`: what the frozen vision transformer makes of every image."""

from cefm_core.tables.schema import Column, Table

TABLE = Table(
    name="embeddings",
    stage="embed_images",
    description="One row per image: the frozen encoder's embedding of the chosen view or views.",
    columns=(
        Column("image_id", "string", "Image"),
        Column("vector", "vector", "Embedding; with two views the frame's part comes first, then the lesion crop's"),
        Column("encoder", "string", "Architecture of the encoder"),
        Column("encoder_sha256", "string", "Digest of the encoder's weights and of every setting that decides the vector"),
        Column("random_weights", "bool", "Whether the encoder had random weights: such embeddings mean nothing"),
        Column("notes", "strings", "`lesion_view_is_frame` where an empty mask made the frame stand in for the lesion crop"),
    ),
)
