"""Groups of images that belong together, and the split that keeps each group on one side.

Stable by construction: a group's place follows from the digest of its key, so that adding images moves no other group
(but for strata of a few groups, where a minimum is kept).
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cefm_core.errors import GateFailedError

# From the most held-out to the least; where the table's own split lets a group cross, the first of these stands.
HELD_OUT_ORDER = ("external", "test", "val", "tune", "train")
# Strongest first: a patient's key names the group before a lesion's, so that a new lesion does not rename it.
_KEY_KINDS = ("patient", "lesion", "dup_group", "image")

Token = tuple[str, str]


def group_images(tokens: Sequence[Iterable[Token]], pairs: Iterable[tuple[int, int]]) -> list[Token]:
    """Unite images that share a token or are a pair.

    Args:
        tokens: Per image its ``(kind, value)`` tokens; kinds ``patient``, ``lesion``, ``dup_group``, ``image`` can name a group,
            others (``bytes``) only unite. A missing id must be left out, never given as an empty text.
        pairs: Indices of images that look the same.

    Returns:
        Per image the key of its group: the strongest, then smallest, of its tokens that can name one.
    """
    parent = list(range(len(tokens)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first_with: dict[Token, int] = {}
    for index, own in enumerate(tokens):
        for token in own:
            parent[find(index)] = find(first_with.setdefault(token, index))
    for one, two in pairs:
        parent[find(one)] = find(two)
    best: dict[int, tuple[int, str]] = {}
    for index, own in enumerate(tokens):
        root = find(index)
        ranked = [(_KEY_KINDS.index(kind), value) for kind, value in own if kind in _KEY_KINDS]
        best[root] = min([*ranked, best[root]] if root in best else ranked)
    return [(_KEY_KINDS[best[find(i)][0]], best[find(i)][1]) for i in range(len(tokens))]


def group_id(key: Token) -> str:
    """Return the digest that names a group in the tables; patient and lesion ids cannot be read from it."""
    return "g" + hashlib.sha256("\0".join(("group", *key)).encode()).hexdigest()[:16]


def assign_splits(
    groups: Sequence[str], official: Sequence[str | None], strata: Sequence[str], *, val_share: float, tune_share: float, seed: int
) -> tuple[list[str], list[bool], list[str]]:
    """Give every image a split such that no group crosses.

    A group of which the table states a split follows it, the most held-out one where it states several. The others are drawn
    into train and val, and, unless the table names a ``tune`` split itself, a share of train becomes tune.

    Args:
        groups: Group id per image.
        official: Split that the table states per image, or None.
        strata: ``melanoma``, ``nevus`` or ``unlabelled`` per image; a group belongs to the first of these that it holds.
        val_share: Share of the drawn groups that become val, 0..1.
        tune_share: Share of the train groups that become tune, 0..1.
        seed: Seed of the draw.

    Returns:
        Splits, whether each image was moved out of the table's own split, and notes on classes too small to be in every split.
    """
    stated: dict[str, set[str]] = defaultdict(set)
    stratum: dict[str, str] = {}
    for group, own, label in zip(groups, official, strata, strict=True):
        if own is not None:
            stated[group].add(own)
        # `melanoma` < `nevus` < `unlabelled` in the alphabet, which is the order wanted.
        stratum[group] = min(stratum.get(group, label), label)
    split = {group: min(own, key=HELD_OUT_ORDER.index) for group, own in stated.items()}
    notes: list[str] = []
    drawn = {group: label for group, label in stratum.items() if group not in split}
    val = _draw(drawn, val_share, seed, "val", notes)
    split.update({group: "val" if group in val else "train" for group in drawn})
    if "tune" not in {own for own in official if own is not None}:
        train = {group: stratum[group] for group, name in split.items() if name == "train"}
        split.update(dict.fromkeys(_draw(train, tune_share, seed, "tune", notes), "tune"))
    moved = [
        own is not None and own != split[group] and not (own == "train" and split[group] == "tune")
        for group, own in zip(groups, official, strict=True)
    ]
    return [split[group] for group in groups], moved, notes


def check_leaks(rows: Iterable[Mapping[str, Any]]) -> None:
    """Check that no group, lesion or file stands in two splits.

    Args:
        rows: Rows of the manifest.

    Raises:
        GateFailedError: Something crosses; the first offenders are named.
    """
    seen: dict[Token, dict[str, str]] = defaultdict(dict)
    for row in rows:
        for name in ("group_id", "lesion_id", "image_sha256"):
            if row.get(name):
                seen[name, row[name]].setdefault(row["split"], row["image_id"])
    crossing = [
        f"{name} {value}: " + ", ".join(f"{i} in {s}" for s, i in sorted(by.items()))
        for (name, value), by in sorted(seen.items())
        if len(by) > 1
    ]
    if crossing:
        raise GateFailedError(f"{len(crossing)} groups cross the splits: " + "; ".join(crossing[:10]))


def _draw(strata: Mapping[str, str], share: float, seed: int, purpose: str, notes: list[str]) -> set[str]:
    """Draw ``share`` of each stratum's groups by their digests, held to half and one and a half times the share in small strata."""
    by_stratum: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for group, label in strata.items():
        by_stratum[label].append((_uniform(group, seed, purpose), group))
    chosen: set[str] = set()
    for label, members in sorted(by_stratum.items()):
        count = sum(value < share for value, _ in members)
        if len(members) < 2:
            count = 0
            if label != "unlabelled":
                notes.append(f"{label}: only one group, which stays in train; {purpose} has none drawn")
        else:
            least, most = max(1, math.floor(share * len(members) / 2)), min(len(members) - 1, math.ceil(share * len(members) * 1.5))
            count = min(max(count, least), most)
        chosen.update(group for _, group in sorted(members)[:count])
    return chosen


def _uniform(group: str, seed: int, purpose: str) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{purpose}\0{group}".encode()).digest()[:8], "big") / 2**64
