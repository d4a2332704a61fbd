"""The manifest: one row per image of a data set, with its label, group and split."""

from __future__ import annotations

from cefm_core.tables.schema import Column, Table

DIAGNOSES = ("melanoma", "nevus", "other", "unknown")
SPLITS = ("train", "tune", "val", "test", "external")
SEXES = ("female", "male", "unknown")
SITES = (
    "anterior torso",
    "posterior torso",
    "lateral torso",
    "torso",
    "head/neck",
    "upper extremity",
    "lower extremity",
    "palms/soles",
    "oral/genital",
    "other",
)
TARGET_REASONS = (
    "no_metadata",
    "no_label",
    "label_unmapped",
    "not_specific",
    "other_diagnosis",
    "duplicate",
    "duplicate_label_conflict",
)
AGE_REASONS = ("no_metadata", "not_stated", "not_a_number", "out_of_range")

# What a flag on a manifest row says; the docs page is made from this.
FLAGS: dict[str, str] = {
    "no_metadata": "The metadata table has no row for this image, or no table was given",
    "label_unmapped": "A label value is not in the mapping; the diagnosis is unknown",
    "diagnosis_not_specific": "The labels say only `benign`, `malignant` or `target = 0`; see `manifest.unspecific_benign`",
    "unspecific_benign_as_nevus": "The labels say only `benign` or `target = 0`, and the setting counts that as nevus",
    "duplicate_label_conflict": "Byte-identical images carry different diagnoses; none of them is trained or scored on",
    "split_moved": "The table's own split would let this image's group cross; the most held-out split of the group stands",
    "split_unmapped": "The table's split value is not in the mapping; the split was drawn",
    "checksum_differs": "The bytes are not those whose SHA-256 the metadata states",
    "age_implausible": "The age is stated as 0",
    "age_not_a_number": "The age is stated as text",
    "age_out_of_range": "The age is below 0 or above 120",
    "sex_unmapped": "The sex value is not in the mapping and reads as unknown",
    "site_unmapped": "The site value is not in the mapping and reads as other",
    "not_dermoscopic": "The metadata says that this is not a dermoscopic image",
    "near_duplicate": "Looks the same as another image of its group",
    "same_lesion": "Shows the same lesion as another image of its group, by local features in the same arrangement",
    "exif_orientation_*_applied": "The orientation tag (2 to 8) was applied; width and height are those of the upright image",
    "first_frame_taken": "The file holds several pictures; the first is used",
    "16_bit_scaled": "16 bits a sample were scaled, not clipped, to 8",
    "dicom_photograph": "The file is DICOM; only its pixels were read",
    "*_bit_scaled": "So many bits a sample were scaled, not clipped, to 8",
    "palette_converted": "Palette colours were turned into RGB",
    "*_converted": "The named sample type (e.g. `cmyk`) was turned into RGB",
    "greyscale_source": "The picture has no colour; colour features mean nothing on it",
    "opaque_alpha_dropped": "An alpha channel that hides nothing was dropped",
    "alpha_composited_on_white": "Transparent parts were laid over white",
}

TABLE = Table(
    name="manifest",
    stage="build_manifest",
    description="One image of the data set: where it lies, what it shows, and what it may be used for.",
    columns=(
        Column("image_id", "string", "Name of the image, unique in the data set"),
        Column("uri", "string", "Where the source bytes lie"),
        Column("size_bytes", "int", "Size of the source file", unit="bytes", minimum=1),
        Column("width_px", "int", "Width after the orientation tag is applied", unit="pixels", minimum=1),
        Column("height_px", "int", "Height after the orientation tag is applied", unit="pixels", minimum=1),
        Column("dhash", "string", "Difference hash of the centre square, 64 bits in hex; close hashes are candidates for near duplicates"),
        Column("thumbprint", "string", "Centre square in grey at 8 x 8, 64 bytes in hex; confirms near duplicates", nullable=True),
        Column("diagnosis", "string", "What the labels together say", allowed=DIAGNOSES),
        Column("target", "int", "1 melanoma, 0 nevus", minimum=0, maximum=1, nullable=True, reason_column="target_reason"),
        Column(
            "target_reason",
            "string",
            "Why there is no target; such an image is processed, never trained or scored on",
            nullable=True,
            allowed=TARGET_REASONS,
        ),
        Column("lesion_id", "string", "The source's name of the lesion", nullable=True),
        Column(
            "group_id", "string", "Digest that images of one patient, lesion or near-identical picture share; a group never crosses splits"
        ),
        Column("source", "string", "Data set or collection, as the metadata states it", nullable=True),
        Column("licence", "string", "Licence, as the metadata states it", nullable=True),
        Column("attribution", "string", "Whom to credit, as the metadata states it", nullable=True),
        Column("age_years", "float", "Age of the patient", unit="years", minimum=0, maximum=120, nullable=True, reason_column="age_reason"),
        Column("age_reason", "string", "Why there is no age", nullable=True, allowed=AGE_REASONS),
        Column("sex", "string", "Sex of the patient", allowed=SEXES),
        Column("site", "string", "Place on the body; null = not stated", nullable=True, allowed=SITES),
        Column(
            "split",
            "string",
            "What the image may be used for; `tune` is the part of train that chooses epochs and temperatures",
            allowed=SPLITS,
        ),
        Column("reference_mask_uri", "string", "Where an expert's mask lies, if there is one", nullable=True),
        Column("reference_mask_sha256", "string", "SHA-256 of the bytes of that mask", nullable=True),
        Column("duplicate_of", "string", "The image with the same bytes that stands for this one", nullable=True),
        Column("flags", "strings", "Repairs and doubts; the docs page says what each means"),
    ),
)
