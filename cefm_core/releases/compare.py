"""What changed between two versions, in the reader's terms: images, labels, quality, results, rejects and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cefm_core.releases.results import ResultChange, result_changes
from cefm_core.releases.rows import Row, TableChange, compare_rows

PER_IMAGE: tuple[str, ...] = (
    "manifest", "image_quality", "coarse_masks", "refined_masks", "abc_features", "embeddings", "predictions", "descriptors", "reports",
)  # fmt: skip
# Columns of the manifest by what a change of them means.
_LABELS = ("diagnosis", "target", "target_reason")
_USES = ("split", "group_id", "duplicate_of")
_CONTEXT = ("lesion_id", "source", "licence", "attribution", "age_years", "sex", "site")
_SCORED = ("value", "low", "high", "n")


@dataclass(frozen=True)
class ValueChange:
    """One value of one image that is another now."""

    image_id: str
    column: str
    before: Any
    after: Any


@dataclass(frozen=True)
class FlagChange:
    """How many images gained and lost a flag, with the first of each."""

    flag: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class ScoreChange:
    """One held-out score in both versions; each is ``value, low, high, n`` or None where a version lacks it."""

    model: str
    split: str
    metric: str
    before: Row | None
    after: Row | None


@dataclass(frozen=True)
class Comparison:
    """Everything that differs between two versions.

    Attributes:
        tables: Row counts and changes of every table with a row an image.
        bytes_changed: Images whose source bytes are others.
        labels: Changed diagnoses and targets.
        uses: Changed splits, groups and duplicates.
        context: Changed age, sex, site, lesion, source, licence and attribution.
        flags: Gained and lost flags of manifest and image quality.
        quality: Numbers of image quality that changed.
        results: Masks, measurements, levels and probabilities that changed.
        rejects_added: Reject rows that only the later version has.
        rejects_removed: Reject rows that only the earlier version has.
        scores: Held-out scores that differ.
    """

    tables: tuple[TableChange, ...]
    bytes_changed: tuple[str, ...]
    labels: tuple[ValueChange, ...]
    uses: tuple[ValueChange, ...]
    context: tuple[ValueChange, ...]
    flags: tuple[FlagChange, ...]
    quality: tuple[ResultChange, ...]
    results: tuple[ResultChange, ...]
    rejects_added: tuple[Row, ...]
    rejects_removed: tuple[Row, ...]
    scores: tuple[ScoreChange, ...]

    @property
    def images(self) -> TableChange:
        """The manifests."""
        return self.tables[0]

    @property
    def nothing(self) -> bool:
        """Whether the versions say the same."""
        moved = any(t.added or t.removed or t.changed for t in self.tables)
        return not (moved or self.rejects_added or self.rejects_removed or self.scores)


def compare_versions(before: Mapping[str, pa.Table], after: Mapping[str, pa.Table]) -> Comparison:
    """Compare two versions.

    Args:
        before: Tables of the earlier version by name; a table may be absent.
        after: Tables of the later version.
    """
    tables = {name: compare_rows(name, before.get(name), after.get(name)) for name in PER_IMAGE}
    manifest = tables["manifest"]
    gone, come = _rejects(before.get("rejects"), after.get("rejects"))
    return Comparison(
        tables=tuple(tables.values()),
        bytes_changed=tuple(i for i, old, new in manifest.pairs() if old["image_sha256"] != new["image_sha256"]),
        labels=_values(manifest, _LABELS),
        uses=_values(manifest, _USES),
        context=_values(manifest, _CONTEXT),
        flags=_flags([manifest, tables["image_quality"]]),
        quality=result_changes(tables, "quality"),
        results=result_changes(tables, "result"),
        rejects_added=come,
        rejects_removed=gone,
        scores=_scores(before.get("metrics"), after.get("metrics")),
    )


def _values(change: TableChange, columns: Sequence[str]) -> tuple[ValueChange, ...]:
    return tuple(
        ValueChange(image_id, column, old.get(column), new.get(column))
        for image_id, old, new in change.pairs()
        for column in columns
        if old.get(column) != new.get(column)
    )


def _flags(changes: Sequence[TableChange]) -> tuple[FlagChange, ...]:
    gained: dict[str, list[str]] = {}
    lost: dict[str, list[str]] = {}
    for image_id, old, new in (pair for change in changes for pair in change.pairs()):
        for flag in set(new["flags"]) - set(old["flags"]):
            gained.setdefault(flag, []).append(image_id)
        for flag in set(old["flags"]) - set(new["flags"]):
            lost.setdefault(flag, []).append(image_id)
    return tuple(FlagChange(f, tuple(gained.get(f, ())), tuple(lost.get(f, ()))) for f in sorted(gained.keys() | lost.keys()))


def _rejects(before: pa.Table | None, after: pa.Table | None) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    old, new = ([] if table is None else table.to_pylist() for table in (before, after))
    return _missing_from(new, old), _missing_from(old, new)


def _missing_from(others: list[Row], rows: list[Row]) -> tuple[Row, ...]:
    """Return the rows that ``others`` lack, repeated ones counted."""
    held = Counter(tuple(row.values()) for row in others)
    found = []
    for row in rows:
        held[tuple(row.values())] -= 1
        if held[tuple(row.values())] < 0:
            found.append(row)
    return tuple(found)


def _scores(before: pa.Table | None, after: pa.Table | None) -> tuple[ScoreChange, ...]:
    old, new = _held_out(before), _held_out(after)
    return tuple(ScoreChange(*key, old.get(key), new.get(key)) for key in sorted({**old, **new}) if old.get(key) != new.get(key))


def _held_out(table: pa.Table | None) -> dict[tuple[str, str, str], Row]:
    rows = [] if table is None else table.to_pylist()
    return {
        (row["model"], row["split"], row["metric"]): {name: row[name] for name in _SCORED}
        for row in rows
        if row["stratum"] == "all" and row["role"] == "held_out"
    }
