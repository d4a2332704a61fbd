"""The rejects: every item that a stage could not process, and the closed list of reasons."""

from __future__ import annotations

from dataclasses import dataclass

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
    RejectCode("label_conflict", "The label columns contradict each other", "Correct the metadata; the message holds every value"),
    RejectCode(
        "label_one_hot", "The class columns of a one-hot table are all 0, more than one is 1, or one is neither", "Correct the metadata row"
    ),
    RejectCode("metadata_conflict", "Repeated rows of the same image disagree", "Keep one of the rows"),
    RejectCode("metadata_row_broken", "The row has another number of cells than the header", "Quote the cell that holds a separator"),
    RejectCode("mask_size_mismatch", "The mask does not have the shape of its image", "Take the mask that was drawn on this very file"),
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
