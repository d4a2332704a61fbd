"""The table of refined masks: which mask was kept for each image, and why."""

from cefm_core.tables.schema import Column, Table

REFINERS = ("sam2", "medsam-lite", "classical", "none")
REASONS = (
    "better_evidence",
    "empty_mask",
    "no_refiner",
    "empty_proposal",
    "identical",
    "low_agreement",
    "area_ratio",
    "components",
    "border_contact",
    "edge_contrast",
    "predicted_iou",
)

TABLE = Table(
    name="refined_masks",
    stage="refine_masks",
    description="One row an image: the mask that later stages measure, either the refined one or the coarse one that was kept",
    columns=(
        Column("image_id", "string", "Image identifier"),
        Column("mask_key", "string", "Where the mask lies in the store, a PNG of 0 and 255"),
        Column("mask_sha256", "string", "SHA-256 of that PNG"),
        Column("refiner", "string", "Backend that was used", allowed=REFINERS),
        Column("refiner_reason", "string", "Why this backend"),
        Column("device", "string", "Device type on which the backend ran"),
        Column("precision", "string", "Number format of the backend", allowed=("float32", "bfloat16", "none")),
        Column("decision", "string", "Whether the refined mask was accepted or the coarse one kept", allowed=("accepted", "kept")),
        Column("decision_reason", "string", "The reason, or the gravest of the failed checks", allowed=REASONS),
        Column("failed_checks", "strings", "Every check of the gate that spoke against the refined mask, the gravest first"),
        Column("agreement_dice", "float", "Dice of refined and coarse mask", "", 0, 1, True, None, "decision_reason"),
        Column("area_ratio", "float", "Refined area over coarse area", "", 0, None, True, None, "decision_reason"),
        Column("components", "int", "Connected components of the proposal before clean-up", "", 0, None, True, None, "decision_reason"),
        Column(
            "border_contact_before_share",
            "float",
            "Share of the coarse contour on the image's edge",
            "",
            0,
            1,
            True,
            None,
            "decision_reason",
        ),
        Column(
            "border_contact_after_share",
            "float",
            "Share of the refined contour on the image's edge",
            "",
            0,
            1,
            True,
            None,
            "decision_reason",
        ),
        Column(
            "edge_contrast_before", "float", "Colour difference across the coarse contour", "CIE76", 0, None, True, None, "decision_reason"
        ),
        Column(
            "edge_contrast_after", "float", "Colour difference across the refined contour", "CIE76", 0, None, True, None, "decision_reason"
        ),
        Column(
            "predicted_iou",
            "float",
            "The model's own estimate of its overlap with the truth",
            "",
            None,
            None,
            True,
            None,
            "predicted_iou_reason",
        ),
        Column("predicted_iou_reason", "string", "Why no estimate stands", nullable=True, allowed=("not_run", "backend_gives_none")),
        Column("candidates", "int", "Masks among which the one of highest predicted IoU was taken", "", 0, None),
        Column("prompt_kinds", "strings", "Prompts that the backend was given: points, box, mask"),
        Column("positive_points", "floats", "Points inside the lesion, x0, y0, x1, y1, ...", "px", 0, None, True, None, "decision_reason"),
        Column("negative_points", "floats", "Points outside the lesion, x0, y0, x1, y1, ...", "px", 0, None, True, None, "decision_reason"),
        Column(
            "box",
            "floats",
            "First and last column and row of the coarse mask: x0, y0, x1, y1",
            "px",
            0,
            None,
            True,
            None,
            "decision_reason",
        ),
        Column("area_px", "int", "Area of the mask", "px", 0, None),
        Column("area_share", "float", "Area of the mask over that of the image", "", 0, 1),
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
