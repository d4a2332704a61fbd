"""Which images belong together, for whatever reason: the same bytes, a curated list, the same picture, the same lesion.

How a pair is told lies in ``duplicates`` and ``same_lesion``; what becomes of it in a manifest's rows lies here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from cefm_core.config import ManifestConfig
from cefm_core.errors import ConfigurationError
from cefm_core.manifest.duplicates import near_duplicate_pairs
from cefm_core.manifest.same_lesion import same_lesion_pairs

Row = dict[str, Any]


def link_copies(rows: Sequence[Row]) -> int:
    """Link byte-identical images to the one that stands for them; return how many were linked."""
    by_bytes: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_bytes[row["image_sha256"]].append(row)
    linked = 0
    for copies in by_bytes.values():
        if len(copies) < 2:
            continue
        canonical, *others = sorted(copies, key=lambda row: (row["diagnosis"] == "unknown", row["image_id"]))
        conflict = len({row["diagnosis"] for row in copies} - {"unknown"}) > 1
        for row in others:
            _make_duplicate(row, canonical["image_id"])
        for row in copies if conflict else ():
            row["flags"].append("duplicate_label_conflict")
            row |= {"target": None, "target_reason": "duplicate_label_conflict"}
        linked += len(others)
    return linked


def link_listed(rows: Sequence[Row], ids: set[str], pairs: Sequence[tuple[str, str]] | None) -> int:
    """Link the second image of each listed pair to the first, where both are here."""
    if not pairs:
        return 0
    if ids and not any(one in ids or two in ids for one, two in pairs):
        raise ConfigurationError(
            f"duplicates list: none of {len(pairs)} pairs names an image of this source; give the list of this data set"
        )
    by_id = {row["image_id"]: row for row in rows}
    linked = 0
    for one, two in pairs:
        if one in by_id and two in by_id and by_id[two]["duplicate_of"] is None and by_id[one]["duplicate_of"] != two:
            _make_duplicate(by_id[two], by_id[one]["duplicate_of"] or one)
            linked += 1
    return linked


def _make_duplicate(row: Row, canonical: str) -> None:
    row |= {"duplicate_of": canonical, "target": None, "target_reason": "duplicate"}


def near_pairs(rows: Sequence[Row], config: ManifestConfig) -> list[tuple[int, int]]:
    """Find near duplicates among the images that stand for themselves, and flag them."""
    own = [i for i, row in enumerate(rows) if row["duplicate_of"] is None]
    pairs = near_duplicate_pairs(
        [rows[i]["dhash"] for i in own],
        [rows[i]["thumbprint"] for i in own],
        max_bits=config.near_duplicate_bits,
        min_correlation=config.near_duplicate_correlation,
    )
    for index in {index for pair in pairs for index in pair}:
        rows[own[index]]["flags"].append("near_duplicate")
    return [(own[a], own[b]) for a, b in pairs]


def same_lesions(rows: Sequence[Row], features: Sequence[str], config: ManifestConfig) -> list[tuple[int, int]]:
    """Find the images that show one lesion, among those that stand for themselves, and flag them."""
    own = [i for i, row in enumerate(rows) if row["duplicate_of"] is None] if config.least_matches else []
    pairs = [(own[a], own[b]) for a, b in same_lesion_pairs([features[i] for i in own], config.least_matches)]
    for index in {index for pair in pairs for index in pair}:
        rows[index]["flags"].append("same_lesion")
    return pairs
