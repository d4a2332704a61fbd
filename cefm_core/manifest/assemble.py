"""From inspected images and a metadata table to the manifest: labels joined, duplicates linked, groups kept in one split.

Images in = rows + rejects of images. A row of the metadata table that no image can belong to (a broken row, an unusable id)
is a reject of its own; a row whose image is simply not in the source is only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cefm_core.config import ManifestConfig
from cefm_core.errors import ConfigurationError
from cefm_core.manifest.links import link_copies, link_listed, near_pairs, same_lesions
from cefm_core.manifest.metadata import ImageMetadata, Metadata, unmapped_notes
from cefm_core.manifest.names import printable
from cefm_core.manifest.splits import Token, assign_splits, check_leaks, group_id, group_images

Row = dict[str, Any]

_STAGE = "build_manifest"
_MOST_NOTES = 40
# Fields that a row takes from the metadata as they are.
_TAKEN = ("lesion_id", "source", "licence", "attribution", "site")


@dataclass(frozen=True)
class Assembled:
    """A manifest and what its reader should know about it.

    Attributes:
        rows: Rows of the manifest, in the order of their ids, without ``row_key``.
        rejects: Rows of the rejects table.
        counts: Numbers by name; ``images`` = ``rows`` + ``image_rejects``, and ``rejects`` = ``image_rejects`` + ``metadata_rejects``.
        notes: Lines for the run summary.
    """

    rows: list[Row]
    rejects: list[Row]
    counts: dict[str, int]
    notes: list[str]


def assemble_manifest(
    inspected: Sequence[Mapping[str, Any]],
    metadata: Metadata | None,
    config: ManifestConfig,
    duplicate_list: Sequence[tuple[str, str]] | None = None,
) -> Assembled:
    """Make the manifest.

    Of byte-identical images the first by id that has a diagnosis stands; the others keep their rows, with ``duplicate_of`` set
    and no target, so that they are processed but never trained or scored on. The same holds for the second image of each pair
    of a curated duplicates list.

    Args:
        inspected: Per image ``image_id``, ``uri``, ``size_bytes``, ``image_sha256``, ``width_px``, ``height_px``, ``dhash``, ``flags``;
            where there are any ``local_features``; and ``reference_mask_uri`` and ``reference_mask_sha256`` where there is a mask. Ids
            are unique.
        metadata: The table, or None where the images have none.
        config: Shares, seed and thresholds.
        duplicate_list: Pairs of ids that a curator calls duplicates.

    Raises:
        ConfigurationError: The metadata, or the duplicates list, has not one id in common with the images.
        GateFailedError: A group would cross the splits.
    """
    images = sorted(inspected, key=lambda image: image["image_id"])
    ids = {image["image_id"] for image in images}
    _check_overlap(ids, metadata)
    rejects, refused, counts = _metadata_rejects(ids, metadata)
    images = [image for image in images if image["image_id"] not in refused]
    known = metadata.rows if metadata is not None else {}
    rows = [_row(image, known.get(image["image_id"]), config) for image in images]
    exact = link_copies(rows)
    exact += link_listed(rows, ids, duplicate_list)
    near = near_pairs(rows, config)
    same = same_lesions(rows, [image.get("local_features") or "" for image in images], config)
    notes: list[str] = []
    _group_and_split(rows, [known.get(row["image_id"]) for row in rows], [*near, *same], duplicate_list or (), config, notes)
    check_leaks(rows)
    for row in rows:
        row["flags"] = sorted(set(row["flags"]))
    counts |= {
        "images": len(ids),
        "rows": len(rows),
        "rejects": len(rejects),
        "exact_duplicates": exact,
        "near_duplicate_pairs": len(near),
        "same_lesion_pairs": len(same),
    }
    counts |= _tally(rows)
    return Assembled(rows, rejects, dict(sorted(counts.items())), _notes(counts, metadata, notes, rows))


def _check_overlap(ids: set[str], metadata: Metadata | None) -> None:
    if metadata is None or not ids:
        return
    named = metadata.rows.keys() | {problem.item for problem in metadata.problems}
    if not ids & named:
        column = metadata.recognised.get("image_id", "")
        raise ConfigurationError(
            f"metadata {metadata.name}: not one of {len(ids)} images has a row; images are called like {', '.join(sorted(ids)[:3])}, "
            f"column {column!r} holds {', '.join(sorted(metadata.rows)[:3]) or 'no usable id'}; give the table that belongs to these images"
        )


def _metadata_rejects(ids: set[str], metadata: Metadata | None) -> tuple[list[Row], set[str], dict[str, int]]:
    """Return reject rows, the images among them, and counts of the table's rows."""
    rejects: list[Row] = []
    counts = {"image_rejects": 0, "metadata_rejects": 0, "metadata_only": 0, "metadata_only_problems": 0}
    if metadata is None:
        return rejects, set(), counts
    refused = set()
    for problem in metadata.problems:
        if problem.item in ids:
            refused.add(problem.item)
            counts["image_rejects"] += 1
        elif problem.code in ("bad_id", "metadata_row_broken"):
            counts["metadata_rejects"] += 1
        else:
            counts["metadata_only_problems"] += 1
            continue
        rejects.append({"item": printable(problem.item), "stage": _STAGE, "code": problem.code, "message": printable(problem.message)})
    counts["metadata_only"] = len(metadata.rows.keys() - ids)
    return sorted(rejects, key=lambda row: (row["item"], row["code"])), refused, counts


def _row(image: Mapping[str, Any], meta: ImageMetadata | None, config: ManifestConfig) -> Row:
    fields = meta.fields if meta else {}
    diagnosis, target, reason, label_flags = _label(meta, config)
    dhash, _, thumbprint = image["dhash"].partition(":")
    flags = [*image.get("flags", ()), *(meta.flags if meta else ("no_metadata",)), *label_flags]
    if fields.get("image_sha256", image["image_sha256"]) != image["image_sha256"]:
        flags.append("checksum_differs")
    row = {name: image[name] for name in ("image_id", "uri", "size_bytes", "width_px", "height_px", "image_sha256")}
    row |= {"dhash": dhash, "thumbprint": thumbprint or None}
    row |= {"diagnosis": diagnosis, "target": target, "target_reason": reason}
    row |= {name: fields.get(name) for name in _TAKEN}
    row |= {"age_years": fields.get("age_years"), "age_reason": _age_reason(meta), "sex": fields.get("sex", "unknown")}
    row |= {name: image.get(name) for name in ("reference_mask_uri", "reference_mask_sha256")}
    return row | {"duplicate_of": None, "flags": flags}


def _age_reason(meta: ImageMetadata | None) -> str | None:
    if meta is None:
        return "no_metadata"
    return None if "age_years" in meta.fields else meta.fields.get("age_reason", "not_stated")


def _label(meta: ImageMetadata | None, config: ManifestConfig) -> tuple[str, int | None, str | None, list[str]]:
    """Return diagnosis, target, why there is no target, and flags."""
    if meta is None:
        return "unknown", None, "no_metadata", []
    found = meta.resolution
    if found.diagnosis in ("melanoma", "nevus"):
        return found.diagnosis, int(found.diagnosis == "melanoma"), None, []
    if found.diagnosis == "other":
        return "other", None, "other_diagnosis", []
    if found.unmapped:
        return "unknown", None, "label_unmapped", ["label_unmapped"]
    if found.not_melanoma and config.unspecific_benign == "nevus":
        return "nevus", 0, None, ["unspecific_benign_as_nevus"]
    if found.unspecific:
        return "unknown", None, "not_specific", ["diagnosis_not_specific"]
    return "unknown", None, "no_label", []


def _group_and_split(
    rows: Sequence[Row],
    metas: Sequence[ImageMetadata | None],
    pairs: Sequence[tuple[int, int]],
    listed: Sequence[tuple[str, str]],
    config: ManifestConfig,
    notes: list[str],
) -> None:
    index = {row["image_id"]: i for i, row in enumerate(rows)}
    linked = [(index[a], index[b]) for a, b in listed if a in index and b in index]
    keys = group_images([_tokens(row, meta) for row, meta in zip(rows, metas, strict=True)], [*pairs, *linked])
    groups = [group_id(key) for key in keys]
    official = [meta.fields.get("split") if meta else None for meta in metas]
    strata = [{1: "melanoma", 0: "nevus"}.get(row["target"], "unlabelled") for row in rows]
    splits, moved, found = assign_splits(
        groups, official, strata, val_share=config.val_share, tune_share=config.tune_share, seed=config.split_seed
    )
    notes.extend(found)
    for row, group, split, was_moved in zip(rows, groups, splits, moved, strict=True):
        row |= {"group_id": group, "split": split}
        if was_moved:
            row["flags"].append("split_moved")


def _tokens(row: Row, meta: ImageMetadata | None) -> list[Token]:
    """Return what unites this image with others; an id that is not stated unites nothing."""
    fields = meta.fields if meta else {}
    named = [("patient", "patient_key"), ("lesion", "lesion_id"), ("dup_group", "dup_group")]
    return [*((kind, fields[name]) for kind, name in named if name in fields), ("image", row["image_id"]), ("bytes", row["image_sha256"])]


def _tally(rows: Sequence[Row]) -> dict[str, int]:
    flags = Counter(flag for row in rows for flag in row["flags"])
    counts = {name: flags[name] for name in ("no_metadata", "label_unmapped", "diagnosis_not_specific", "split_moved", "checksum_differs")}
    counts["groups"] = len({row["group_id"] for row in rows})
    counts |= {f"split_{name}": number for name, number in Counter(row["split"] for row in rows).items()}
    return counts | {f"diagnosis_{name}": number for name, number in Counter(row["diagnosis"] for row in rows).items()}


_SAID: dict[str, str] = {
    "no_metadata": "images without a metadata row: processed, never trained or scored on",
    "metadata_only": "metadata rows without a usable image in the source",
    "metadata_only_problems": "metadata rows in error without a usable image in the source",
    "metadata_rejects": "metadata rows without a usable image id",
    "label_unmapped": "images whose label is not in the mapping: diagnosis unknown",
    "diagnosis_not_specific": "images labelled only `benign`, `malignant` or `target = 0`: unknown (manifest.unspecific_benign)",
    "exact_duplicates": "images that repeat another: linked, not trained or scored on",
    "near_duplicate_pairs": "pairs that look the same: kept in one split",
    "same_lesion_pairs": "pairs that show one lesion, by local features: kept in one split",
    "split_moved": "images moved so that no group crosses the table's own splits",
    "checksum_differs": "images whose bytes are not those that the metadata states",
}


def _notes(counts: Mapping[str, int], metadata: Metadata | None, gathered: Sequence[str], rows: Sequence[Row]) -> list[str]:
    lines = [f"{counts[name]} {text}" for name, text in _SAID.items() if counts[name]]
    lines += gathered
    ungrouped = sum(row["lesion_id"] is None for row in rows)
    if ungrouped:
        lines.append(f"{ungrouped} images without a lesion id: grouped by patient, file and what they show")
    if metadata is not None:
        lines.append(
            f"metadata columns read (mapping {metadata.mapping_version}): "
            + ", ".join(f"{c} as {f}" for f, c in metadata.recognised.items())
        )
        if metadata.ignored:
            more = f" and {len(metadata.ignored) - 12} more" if len(metadata.ignored) > 12 else ""
            lines.append(f"metadata columns not read: {', '.join(metadata.ignored[:12])}{more}")
        lines += unmapped_notes(metadata.unmapped.items())
    return [printable(line) for line in lines[:_MOST_NOTES]] + (
        [f"and {len(lines) - _MOST_NOTES} more"] if len(lines) > _MOST_NOTES else []
    )
