"""How well copies and second photographs are found: by perceptual hash and by local features, against what a data set says of itself.

``python -m cefm_core.manifest.duplicate_study IMAGES --metadata TABLE.csv [--duplicates LIST.csv] [--by-sight LIST.csv]
[--lesions-by-sight LIST.csv] [--out PAGE.md]``. Two kinds of truth are told apart, because they are found by different means: *copies* (a
duplicates list, or a duplicate group without a common lesion id) and *other photographs of the same lesion* (a common lesion id). Groups
that a source made by a hash may hold different lesions; ``--by-sight`` names the pairs that a person who looked at them all called copies,
and only those count. ``--lesions-by-sight`` names pairs that nobody listed and that show one lesion to whoever looks at them.
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
from cefm_core.manifest.same_lesion import same_lesion_pairs

Pair = tuple[str, str]
# Thresholds that are compared: most differing bits, least correlation of the thumbnails.
GRID: tuple[tuple[int, float], ...] = ((4, 0.99), (8, 0.99), (8, 0.985), (8, 0.97), (8, 0.95), (8, 0.9))
_UNNAMED = "nobody had named"
MATCHES: tuple[int, ...] = (8, 12, 16, 24)


@dataclass(frozen=True)
class Found:
    """What one choice of thresholds finds.

    Attributes:
        rule: The thresholds, as cells of a table.
        default: Whether they are the configured ones.
        pairs: Pairs found.
        copies: How many of them are listed copies.
        lesions: How many are other photographs of the same lesion.
        seen: How many nobody listed, and show one lesion to the eye.
    """

    rule: str
    default: bool
    pairs: int
    copies: int
    lesions: int
    seen: int = 0

    @property
    def right(self) -> int:
        """Pairs that belong in one group for any reason."""
        return self.copies + self.lesions + self.seen


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


def score_hashes(facts: Sequence[Mapping[str, Any]], copies: set[Pair], lesions: set[Pair]) -> list[Found]:
    """Compare what every pair of thresholds finds with the truth; ``facts`` as :func:`inspect_image` gives them, with ``image_id``."""
    hashes, thumbs = zip(*(row["dhash"].split(":") for row in facts), strict=True)
    config = ManifestConfig()
    default = (config.near_duplicate_bits, config.near_duplicate_correlation)
    found = []
    for bits, correlation in GRID:
        indices = near_duplicate_pairs(hashes, thumbs, max_bits=bits, min_correlation=correlation)
        pairs = _named(facts, indices)
        rule = f"{bits} | {correlation}"
        found.append(Found(rule, (bits, correlation) == default, len(pairs), len(pairs & copies), len(pairs & lesions)))
    return found


def score_features(facts: Sequence[Mapping[str, Any]], copies: set[Pair], lesions: set[Pair], seen: set[Pair]) -> list[Found]:
    """Compare what every least number of matching local features finds with the truth, and with the pairs that a person saw."""
    found = []
    for least in MATCHES:
        pairs = _named(facts, same_lesion_pairs([row["local_features"] for row in facts], least))
        counts = [len(pairs & copies), len(pairs & lesions), len(pairs & (seen - copies - lesions))]
        found.append(Found(f"{least}", least == ManifestConfig().least_matches, len(pairs), *counts))
    return found


def _named(facts: Sequence[Mapping[str, Any]], indices: Iterable[tuple[int, int]]) -> set[Pair]:
    ids = [row["image_id"] for row in facts]
    return {(min(ids[a], ids[b]), max(ids[a], ids[b])) for a, b in indices}


def study_markdown(
    hashes: Sequence[Found], features: Sequence[Found], images: int, copies: int, lesions: int, name: str, named: int
) -> str:
    """Return the page.

    Args:
        hashes: What each pair of thresholds of hash and thumbnail finds.
        features: What each least number of matching local features finds.
        images: Images looked at.
        copies: Pairs that are copies.
        lesions: Pairs that are other photographs of the same lesion.
        name: Name of the data set.
        named: Pairs that the data set calls copies; more than ``copies`` where a person who looked at them disagreed.
    """
    seen = f"To the eye {copies} of the {named} show the same picture and the others different lesions; only the {copies} count as copies."
    ends = ("pairs found", "right (precision)", "copies found (recall)", "same lesion found (recall)")
    lines = [
        "# How well copies and second photographs are found",
        "",
        f"Made by `python -m cefm_core.manifest.duplicate_study`, on {images} images of `{name}`, whose table names {named} pairs of",
        f"copies and {lesions} pairs of other photographs of the same lesion. Intervals: 95 %, Wilson.",
        *([seen] if named > copies else []),
        "",
        "## Copies, by hash and thumbnail",
        "",
        "A pair that is found and not named is counted as wrong, although it may be a copy that nobody listed.",
        "",
        *_table(("bits of 64", "correlation", *ends), hashes, copies, lesions),
        "",
        "The hash is made for copies that were re-compressed, resized, brightened or cut to their centre square; those it finds. The",
        "default spares precision, because a wrong pair joins two patients' images into one group.",
        "",
        "## Second photographs, by local features",
        "",
        "A second photograph of a lesion is another picture: turned, shifted, nearer, in other light. Two images that share enough local",
        "features in one arrangement show the same skin. Printed scales are alike on many images: features along one line do not count.",
        "Pairs that nobody named were looked at; those that show one lesion to the eye count as right.",
        "",
        *_table(
            ("least features in one arrangement", "pairs found", "right (precision)", "nobody had named", *ends[2:]),
            features,
            copies,
            lesions,
        ),
        "",
        "What is missed is out of focus, lies under hair, or was photographed at another time. Lesion, patient and duplicate groups of the",
        "source, and a list given with `--duplicates`, always group, whatever the pictures say. The embedding does not help: its nearest",
        "pairs are look-alikes (`tests/benchmarks/look_alikes.py`).",
        "",
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], found: Sequence[Found], copies: int, lesions: int) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in found:
        rule = row.rule + (" (default)" if row.default else "")
        cells = [rule, str(row.pairs), share(row.right, row.pairs)]
        cells += [str(row.seen)] if _UNNAMED in head else []
        lines.append("| " + " | ".join([*cells, share(row.copies, copies), share(row.lesions, lesions)]) + " |")
    return lines


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


def _listed(path: Path) -> set[Pair]:
    return {(min(a, b), max(a, b)) for a, b in read_duplicate_list(path.read_bytes(), path.name)}


def main() -> None:
    """Write the page, or print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--duplicates", type=Path)
    parser.add_argument("--by-sight", type=Path)
    parser.add_argument("--lesions-by-sight", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    facts = read_facts(asked.images)
    table = read_metadata(asked.metadata.read_bytes(), asked.metadata.name)
    rows = {row["image_id"]: table.rows[row["image_id"]].fields for row in facts if row["image_id"] in table.rows}
    listed = read_duplicate_list(asked.duplicates.read_bytes(), asked.duplicates.name) if asked.duplicates else []
    copies, lesions = truth_of(rows, listed)
    named = len(copies)
    if asked.by_sight:
        copies &= _listed(asked.by_sight)
    seen = _listed(asked.lesions_by_sight) if asked.lesions_by_sight else set()
    found = score_hashes(facts, copies, lesions), score_features(facts, copies, lesions, seen)
    page = study_markdown(*found, len(facts), len(copies), len(lesions), asked.images.resolve().parent.name, named)
    if asked.out is None:
        print(page)
    else:
        asked.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
