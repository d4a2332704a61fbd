"""Contract of the table ``image_quality``: what stands between the camera and the skin, one row an image."""

from __future__ import annotations

from cefm_core.tables.schema import Column, Table

FLAGS: tuple[str, ...] = (
    "blurred",
    "too_dark",
    "too_bright",
    "low_contrast",
    "hair",
    "vignette",
    "ink_or_ruler",
    "glare",
    "greyscale_source",
    "unusual_colour",
)

TABLE = Table(
    name="image_quality",
    stage="assess_images",
    description="One row an image: sharpness, exposure and the artefacts found on it, with flags by which results are stratified.",
    columns=(
        Column("image_id", "string", "The image"),
        Column("sharpness", "float", "Variance of the Laplacian of L (0-100) at working size, outside dark corners", minimum=0),
        Column("exposure", "float", "Mean of CIELAB L outside dark corners", minimum=0, maximum=100),
        Column("contrast", "float", "95th minus 5th percentile of CIELAB L outside dark corners", minimum=0, maximum=100),
        Column("hair_share", "float", "Share of pixels under hair", minimum=0, maximum=1),
        Column("vignette_share", "float", "Share of pixels in a dark frame or dark corners", minimum=0, maximum=1),
        Column("glare_share", "float", "Share of pixels with specular reflection or blown-out light", minimum=0, maximum=1),
        Column("ink_share", "float", "Share of pixels under marker ink, stickers or a printed scale", minimum=0, maximum=1),
        Column("skin_hue_share", "float", "Share of pixels outside artefacts whose hue occurs in skin and lesions", minimum=0, maximum=1),
        Column("flags", "strings", f"What is remarkable, sorted; any of {', '.join(FLAGS)}"),
    ),
)
