"""The table of coarse masks: what the network marked as lesion in each image, and what the clean-up changed."""

from cefm_core.tables.schema import Column, Table

FLAGS = (
    "constant_image",  # one colour throughout; the mask is empty
    "empty_mask",  # nothing marked, or only specks
    "holes_filled",
    "low_confidence",  # confidence below 0.8
    "mask_on_vignette",  # the network had marked more than 1 % of its lesion on dark corners; they were taken out
    "multiple_lesions",  # a second component of at least a quarter of the largest one's area
    "nearly_full_frame",  # more than 90 % of the image is marked
    "specks_removed",
)

NETWORKS = ("ultralight_vmunet", "ultralight_vmunet+litemedsam_decoder")

TABLE = Table(
    name="coarse_masks",
    stage="segment_coarse",
    description="One row an image: the coarse lesion mask at the image's own size",
    columns=(
        Column("image_id", "string", "Image identifier"),
        Column("mask_key", "string", "Where the mask lies in the store, a PNG of 0 and 255"),
        Column("mask_sha256", "string", "SHA-256 of that PNG"),
        Column("networks", "string", "Whose mask it is: the second network is asked where the first is unsure", allowed=NETWORKS),
        Column("area_px", "int", "Area of the mask after clean-up", "px", 0),
        Column("area_share", "float", "Area of the mask over that of the image", "", 0, 1),
        Column("touches_border", "bool", "Whether the mask reaches the image's edge: the lesion may go on outside"),
        Column("components", "int", "8-connected components of the mask after clean-up", "", 0),
        Column(
            "components_removed",
            "int",
            "Components removed for being smaller than the declared shares of the image and of the largest one",
            "",
            0,
        ),
        Column("removed_px", "int", "Their area", "px", 0),
        Column("filled_px", "int", "Area of the holes that were filled", "px", 0),
        Column("vignette_removed_px", "int", "Pixels on dark corners or a dark frame that were taken out of the mask", "px", 0),
        Column("probability_mean", "float", "Mean lesion probability over the image", "", 0, 1),
        Column(
            "confidence",
            "float",
            "Soft Dice between the probabilities and the mask made of them, at the network's size: 1 where every pixel is decided",
            "",
            0,
            1,
            True,
            None,
            "confidence_reason",
        ),
        Column("confidence_reason", "string", "Why no confidence stands", nullable=True, allowed=("empty_mask",)),
        Column("flags", "strings", "What is peculiar about this mask: " + ", ".join(FLAGS)),
        Column("reference_dice", "float", "Dice with the reference mask", "", 0, 1, True, reason_column="reference_reason"),
        Column("reference_jaccard", "float", "Jaccard index with the reference mask", "", 0, 1, True, reason_column="reference_reason"),
        Column(
            "reference_reason",
            "string",
            "Why there is no score: no_reference_mask, both_masks_empty, or why the mask is unusable",
            nullable=True,
        ),
    ),
)
