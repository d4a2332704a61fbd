"""How well copies are found: the pairs of perceptual hash and thumbnail against what a data set itself calls duplicates.

``python -m cefm_core.manifest.duplicate_study IMAGES --metadata TABLE.csv [--duplicates LIST.csv] [--by-sight LIST.csv]
[--out PAGE.md]``. Two kinds of truth are told apart, because they are found by different means: *copies* (a duplicates list, or a
duplicate group without a common lesion id) and *other photographs of the same lesion* (a common lesion id). Groups that a source made by a
hash may hold different lesions; ``--by-sight`` names the pairs that a person who looked at them all called copies, and only those count.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from pathlib import Path
from typing import Any

from cefm_core.config import ManifestConfig
from cefm_core.errors import BadItemError
from cefm_core.manifest.duplicates import near_duplicate_pairs, read_duplicate_list
from cefm_core.manifest.inspect import inspect_image
from cefm_core.manifest.metadata import read_metadata
from cefm_core.manifest.names import classify_names

Pair = tuple[str, str]
# Thresholds that are compared: most differing bits, least correlation of the thumbnails.
GRID: tuple[tuple[int, float], ...] = ((4, 0.99), (8, 0.99), (8, 0.985), (8, 0.97), (8, 0.95), (8, 0.9))


@dataclass(frozen=True)
class Found:
    """What one pair of thresholds finds.

    Attributes:
        bits: Most differing bits of 64.
        correlation: Least correlation of the thumbnails.
        pairs: Pairs found.
        copies: How many of them are listed copies.
        lesions: How many are other photographs of the same lesion.
    """

    bits: int
    correlation: float
    pairs: int
    copies: int
    lesions: int

    @property
    def right(self) -> int:
        """Pairs that belong in one group for either reason."""
        return self.copies + self.lesions


def same_pairs(groups: Mapping[str, str]) -> set[Pair]:
    """Return every pair of ids that share a group, each pair sorted."""
    members: dict[str, list[str]] = defaultdict(list)
    for image_id, group in groups.items():
        members[group].append(image_id)
    return {pair for ids in members.values() for pair in combinations(sorted(ids), 2)}


def truth_of(rows: Mapping[str, Mapping[str, Any]], listed: Iterable[Pair]) -> tuple[set[Pair], set[Pair]]:
    """Return copies and other photographs of the same lesion.

    Args:
        rows: Image id to its fields ``lesion_id`` and ``dup_group``, where stated.
        listed: Pairs of a curated list.
    """
    lesions = same_pairs({i: row["lesion_id"] for i, row in rows.items() if row.get("lesion_id")})
    copies = same_pairs({i: row["dup_group"] for i, row in rows.items() if row.get("dup_group")})
    copies |= {(min(a, b), max(a, b)) for a, b in listed if a in rows and b in rows}
    return copies - lesions, lesions


def score(facts: Sequence[Mapping[str, Any]], copies: set[Pair], lesions: set[Pair]) -> list[Found]:
    """Compare what every pair of thresholds finds with the truth; ``facts`` as :func:`inspect_image` gives them, with ``image_id``."""
    hashes, thumbs = zip(*(row["dhash"].split(":") for row in facts), strict=True)
    found = []
    for bits, correlation in GRID:
        indices = near_duplicate_pairs(hashes, thumbs, max_bits=bits, min_correlation=correlation)
        pairs = {tuple(sorted((facts[a]["image_id"], facts[b]["image_id"]))) for a, b in indices}
        found.append(Found(bits, correlation, len(pairs), len(pairs & copies), len(pairs & lesions)))
    return found


def study_markdown(found: Sequence[Found], images: int, copies: int, lesions: int, name: str, named: int) -> str:
    """Return the page.

    Args:
        found: What each pair of thresholds finds.
        images: Images looked at.
        copies: Pairs that are copies.
        lesions: Pairs that are other photographs of the same lesion.
        name: Name of the data set.
        named: Pairs that the data set calls copies; more than ``copies`` where a person who looked at them disagreed.
    """
    default = ManifestConfig()
    seen = f"To the eye {copies} of the {named} show the same picture and the others different lesions; only the {copies} count as copies."
    lines = [
        "# How well copies are found",
        "",
        f"Made by `python -m cefm_core.manifest.duplicate_study`, on {images} images of `{name}`, whose table names {named} pairs of",
        f"copies and {lesions} pairs of other photographs of the same lesion. A pair that is found and not named is counted as wrong,",
        "although it may be a copy that nobody listed. Intervals: 95 %, Wilson.",
        *([seen] if named > copies else []),
        "",
        "| bits of 64 | correlation | pairs found | right (precision) | copies found (recall) | same lesion found (recall) |",
        "| ---: | ---: | ---: | --- | --- | --- |",
    ]
    for row in found:
        here = " (default)" if (row.bits, row.correlation) == (default.near_duplicate_bits, default.near_duplicate_correlation) else ""
        shares = (share(row.right, row.pairs), share(row.copies, copies), share(row.lesions, lesions))
        lines.append(f"| {row.bits} | {row.correlation}{here} | {row.pairs} | " + " | ".join(shares) + " |")
    lines += [
        "",
        "The hash is made for copies that were re-compressed, resized, brightened or cut to their centre square; those it finds. A second",
        "photograph of a lesion is another picture to it, and many groups of a source are such, so lesion, patient and duplicate groups of",
        "the source, and a list given with `--duplicates`, matter more: they always group, whatever the hash says. The default spares",
        "precision, because a wrong pair joins two patients' images into one group.",
        "",
    ]
    return "\n".join(lines)


def share(part: int, whole: int) -> str:
    """Return ``part of whole`` with its share and Wilson's interval (Wilson, 1927)."""
    if not whole:
        return "none"
    z, p = 1.96, part / whole
    middle, half = p + z * z / (2 * whole), z * sqrt(p * (1 - p) / whole + z * z / (4 * whole * whole))
    low, high = ((middle + sign * half) / (1 + z * z / whole) for sign in (-1, 1))
    return f"{part} of {whole}: {p:.2f} ({max(low, 0):.2f} to {min(high, 1):.2f})"


def read_facts(folder: Path) -> list[dict[str, Any]]:
    """Inspect every usable image below a folder."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    facts = []
    for image in classify_names(names).images:
        try:
            facts.append(inspect_image((folder / image.name).read_bytes(), ManifestConfig()) | {"image_id": image.image_id})
        except BadItemError:
            continue
    return facts


def main() -> None:
    """Write the page, or print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--duplicates", type=Path)
    parser.add_argument("--by-sight", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    facts = read_facts(asked.images)
    table = read_metadata(asked.metadata.read_bytes(), asked.metadata.name)
    rows = {row["image_id"]: table.rows[row["image_id"]].fields for row in facts if row["image_id"] in table.rows}
    listed = read_duplicate_list(asked.duplicates.read_bytes(), asked.duplicates.name) if asked.duplicates else []
    copies, lesions = truth_of(rows, listed)
    named = len(copies)
    if asked.by_sight:
        copies &= {(min(a, b), max(a, b)) for a, b in read_duplicate_list(asked.by_sight.read_bytes(), asked.by_sight.name)}
    name = asked.images.resolve().parent.name
    page = study_markdown(score(facts, copies, lesions), len(facts), len(copies), len(lesions), name, named)
    if asked.out is None:
        print(page)
    else:
        asked.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
