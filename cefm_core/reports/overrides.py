"""What a clinician corrects: stored as data, laid over the ledger, and the report written again from it.

Free text has no place here: a correction names a fact and a level, or says that a fact is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from cefm_core.descriptors.vocabulary import find_descriptor
from cefm_core.reports.facts import relation
from cefm_core.reports.language import load_language
from cefm_core.reports.ledger import Fact, Facts

KINDS = ("level", "wrong")


@dataclass(frozen=True)
class Override:
    """One correction.

    Attributes:
        fact: Id of the fact.
        kind: ``level`` sets its severity level; ``wrong`` takes the fact out as not to be relied on.
        level: The level 1-5, for kind ``level``.
    """

    fact: str
    kind: str
    level: int | None = None


def overrides_to_json(overrides: Iterable[Override]) -> str:
    """Return corrections as JSON; :func:`overrides_from_json` is its inverse."""
    return json.dumps([asdict(override) for override in overrides])


def overrides_from_json(text: str) -> tuple[Override, ...]:
    """Read corrections.

    Raises:
        ValueError: The text holds anything else.
    """
    data = json.loads(text)
    if not isinstance(data, list):
        raise ValueError("corrections are a list")
    return tuple(_override(entry) for entry in data)


def _override(entry: Any) -> Override:
    if not isinstance(entry, Mapping) or set(entry) - {"fact", "kind", "level"} or not isinstance(entry.get("fact"), str):
        raise ValueError(f"not a correction: {entry!r}")
    override = Override(entry["fact"], str(entry.get("kind")), entry.get("level"))
    right_level = override.level in range(1, 6) if override.kind == "level" else override.level is None
    if override.kind not in KINDS or isinstance(override.level, bool) or not right_level:
        raise ValueError(f"not a correction: {entry!r}")
    return override


def apply_overrides(facts: Facts, overrides: Iterable[Override]) -> Facts:
    """Lay corrections over a ledger.

    Args:
        facts: The ledger.
        overrides: Corrections; of several of one fact the last counts.

    Returns:
        The ledger with the corrected facts, their source ``clinician``; descriptors are compared again with the new levels.

    Raises:
        ValueError: A correction names a fact that the ledger does not have, or a level for one that has none.
    """
    corrected = {fact.id: fact for fact in facts}
    for override in overrides:
        fact = corrected.get(override.fact)
        if fact is None or (override.kind == "level" and fact.level is None):
            raise ValueError(f"correction of {override.fact}: the ledger has no such {override.kind}")
        corrected[override.fact] = _corrected(fact, override)
    return Facts(facts.image_id, tuple(_compared(fact, corrected) for fact in corrected.values()))


def _corrected(fact: Fact, override: Override) -> Fact:
    if override.kind == "wrong":
        return replace(
            fact, value=None, low=None, high=None, level=None, level_word=None, relation=None, reason="marked_wrong", source="clinician"
        )
    level = override.level or 1
    return replace(fact, level=level, level_word=load_language("en").level_word(fact.criterion, level), source="clinician")


def _compared(fact: Fact, corrected: Mapping[str, Fact]) -> Fact:
    """Compare a descriptor again where the level that it was compared with was corrected."""
    entry = find_descriptor(str(fact.value)) if fact.source == "descriptor" and fact.value is not None else None
    return fact if entry is None else replace(fact, relation=relation(entry, corrected))
