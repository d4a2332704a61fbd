"""The closed list of reasons for a reject, and the page that explains them; a code that is not listed here may not be raised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RejectCode:
    """One reason for a reject: what it means, and what mends it."""

    code: str
    meaning: str
    remedy: str


REJECT_CODES: tuple[RejectCode, ...] = (
    RejectCode(
        "bad_id",
        "The name leaves no usable image id: `..`, a root, a backslash, control characters, or too long",
        "Rename the file, or mend the metadata row",
    ),
    RejectCode("duplicate_id", "Another file of the source already has this image id", "Rename one of the two, or take one away"),
    RejectCode(
        "unicode_collision",
        "Two file names differ only in how the same characters are encoded",
        "Take one away; they would be one name on other systems",
    ),
    RejectCode("empty_file", "The file has 0 bytes", "Fetch it again"),
    RejectCode(
        "not_an_image",
        "The bytes are no image of a known format, whatever the extension says",
        "Open the file with a text viewer: often it is an error page; fetch it again",
    ),
    RejectCode("truncated", "The image ends before its last row", "Fetch it again"),
    RejectCode("too_large", "The header promises more pixels than `manifest.max_pixels`", "Raise the setting, or shrink the image"),
    RejectCode("too_small", "A side is shorter than `manifest.min_side_px`", "Use the full-size image, or lower the setting"),
    RejectCode("unsupported_mode", "The pixel format cannot be turned into RGB without inventing something", "Save it as 8-bit RGB"),
    RejectCode(
        "dicom_not_photograph",
        "The DICOM object is no visible-light or dermoscopic photograph",
        "Give the photograph itself; the message names what the file holds",
    ),
    RejectCode("dicom_multiframe", "The DICOM object holds several frames", "Save the frame to be judged as a file of its own"),
    RejectCode(
        "dicom_burned_in_text",
        "The DICOM header says that text is burned into the pixels, which may name a patient",
        "Remove the text from the pixels and the statement from the header",
    ),
    RejectCode(
        "dicom_unsupported",
        "The photometric interpretation, sample type or compression of the DICOM object is not read",
        "Save it as RGB, uncompressed or JPEG baseline",
    ),
    RejectCode("label_conflict", "The label columns contradict each other", "Correct the metadata; the message holds every value"),
    RejectCode(
        "label_one_hot", "The class columns of a one-hot table are all 0, more than one is 1, or one is neither", "Correct the metadata row"
    ),
    RejectCode("metadata_conflict", "Repeated rows of the same image disagree", "Keep one of the rows"),
    RejectCode("metadata_row_broken", "The row has another number of cells than the header", "Quote the cell that holds a separator"),
    RejectCode("mask_size_mismatch", "The mask does not have the shape of its image", "Take the mask that was drawn on this very file"),
    RejectCode(
        "mask_inverted",
        "Nearly the whole mask is lesion, along the whole frame: black and white are exchanged",
        "Invert the mask, or leave it out",
    ),
    RejectCode(
        "mask_unclear",
        "The mask holds grey levels over most of the picture",
        "Save the mask with two values and without loss",
    ),
    RejectCode("no_mask", "No mask lies beside this image, and the command needs one", "Add `<image id>.png` to the folder of masks"),
    RejectCode("shape_mismatch", "Image and mask given to the refiner differ in size", "Run the stage before on the same image again"),
    RejectCode("unreadable", "The source object cannot be read", "Check that it still exists and may be read"),
    RejectCode("source_changed", "The object's bytes changed while the run went on", "Run again once the source stands still"),
    RejectCode(
        "out_of_memory",
        "This image alone does not fit into the memory of the device or the machine",
        "Run again with fewer workers or on a larger device, or reduce the image",
    ),
    RejectCode("processing_failed", "A stage failed on this image in a way nobody foresaw", "Report it with the message and the image"),
)

BY_CODE: dict[str, RejectCode] = {entry.code: entry for entry in REJECT_CODES}


def reject_codes_markdown() -> str:
    """Return the docs page of the reject codes, in the order of the declaration."""
    lines = [
        "# Reject codes",
        "",
        "A bad item never stops a run: it becomes a row of the `rejects` table with one of these codes and a message of its own.",
        "Mend the items and run again; everything else is already there and is not made again.",
        "",
        "| code | meaning | remedy |",
        "| --- | --- | --- |",
        *(f"| `{e.code}` | {e.meaning} | {e.remedy} |" for e in REJECT_CODES),
    ]
    return "\n".join(lines) + "\n"
