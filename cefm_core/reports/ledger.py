"""The ledger: every value that a report may state, with its unit, interval, level, source and stated rounding.

What is not in the ledger cannot be said. How a fact is worded belongs to ``language``; free text, file names and patient
ids never enter: the metadata facts come from closed lists (``metadata``).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

VERSION = 1
SOURCES = ("measurement", "model", "descriptor", "quality", "metadata", "clinician")
Value = float | int | bool | str | tuple[str, ...] | None


@dataclass(frozen=True)
class Fact:
    """One value of one image.

    Attributes:
        id: Stable identifier, e.g. ``abc.asymmetry_score``.
        name: What it is, in English.
        value: The value; a share is 0..1; None where it was not measured.
        unit: Unit in words; ``%...`` means that the value is stated in percent.
        decimals: Decimals at which the value is stated (in percent for a share).
        source: One of ``SOURCES``.
        criterion: A, B, C, D, TDS, P (probability), M (mask), Q (quality), or X (anything else).
        low: Lower end of the interval, or None.
        high: Upper end of the interval, or None.
        level: Severity level 1-5, or None.
        level_word: The level in an English word, or None.
        scale_max: Largest value of the scale (``of 8``), or None.
        reason: Reason code where the value is None, else None.
        direction: Of a descriptor: ``benign``, ``melanoma`` or ``either``.
        relation: Of a descriptor against the measurement of its criterion: ``agree``, ``differ`` or ``contradict``; None
            where there is no such measurement.
        score: Of a descriptor: its stored score.
        anchors: Fixed numbers of the scale that may be stated beside the value, e.g. the bounds of a band.
    """

    id: str
    name: str
    value: Value
    unit: str = ""
    decimals: int = 0
    source: str = "measurement"
    criterion: str = "X"
    low: float | None = None
    high: float | None = None
    level: int | None = None
    level_word: str | None = None
    scale_max: float | None = None
    reason: str | None = None
    direction: str | None = None
    relation: str | None = None
    score: float | None = None
    anchors: tuple[float, ...] = ()

    @property
    def is_share(self) -> bool:
        """Whether the value is a share 0..1 that is stated in percent."""
        return self.unit.startswith("%")

    def stated(self, value: float | None = None) -> str:
        """Return a number of this fact at its stated rounding, without its unit.

        Args:
            value: The number, e.g. an end of the interval; None means the fact's own value.
        """
        number = self.value if value is None else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"fact {self.id} holds no number")
        if not self.is_share:
            return f"{number:.{self.decimals}f}"
        percent = 100.0 * number
        decimals = max(self.decimals, 1) if 0 < percent < 1 or 99 < percent < 100 else self.decimals
        return f"{percent:.{decimals}f}"

    def without_value(self, reason: str) -> Fact:
        """Return the fact without its value and all that goes with it; one without a value keeps its own reason."""
        if self.value is None:
            return self
        return replace(self, value=None, low=None, high=None, level=None, level_word=None, relation=None, score=None, reason=reason)

    @property
    def text(self) -> str:
        """The value as a plain text at its stated rounding, without its unit; a dash and the reason where there is none."""
        if self.value is None:
            return f"— ({self.reason})"
        if isinstance(self.value, tuple):
            return ", ".join(self.value) or "none"
        if isinstance(self.value, bool):
            return "yes" if self.value else "no"
        return self.stated() if self.is_number else str(self.value)

    @property
    def number(self) -> float:
        """The value as a number; 0.0 where it is none (ask :attr:`is_number` first)."""
        return float(self.value) if isinstance(self.value, int | float) else 0.0

    @property
    def is_number(self) -> bool:
        """Whether the value is a number."""
        return isinstance(self.value, int | float) and not isinstance(self.value, bool)


@dataclass(frozen=True)
class Facts:
    """The ledger of one image.

    Attributes:
        image_id: Identifier of the image; stands on its page, never in a prompt.
        facts: Every fact, in order.
    """

    image_id: str
    facts: tuple[Fact, ...]
    _by_id: dict[str, Fact] = field(init=False, repr=False, compare=False, hash=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_id.update({fact.id: fact for fact in self.facts})
        if len(self._by_id) != len(self.facts):
            raise ValueError("a fact id stands twice")

    def __getitem__(self, fact_id: str) -> Fact:
        return self._by_id[fact_id]

    def __iter__(self) -> Iterator[Fact]:
        return iter(self.facts)

    def __contains__(self, fact_id: object) -> bool:
        return fact_id in self._by_id

    def get(self, fact_id: str) -> Fact | None:
        """Return the fact, or None where the ledger does not have it."""
        return self._by_id.get(fact_id)

    def measured(self, fact_id: str) -> Fact | None:
        """Return the fact if it is there and has a value."""
        fact = self._by_id.get(fact_id)
        return fact if fact is not None and fact.value is not None else None

    def descriptors(self) -> tuple[Fact, ...]:
        """Return the facts of the ranked descriptors, in order; a corrected one is still among them."""
        return tuple(fact for fact in self.facts if fact.id.startswith("descriptor."))

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the ledger as JSON; :meth:`from_json` is its inverse."""
        data = {"version": VERSION, "image_id": self.image_id, "facts": [asdict(fact) for fact in self.facts]}
        return json.dumps(data, ensure_ascii=False, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Facts:
        """Read a ledger written by :meth:`to_json`.

        Raises:
            ValueError: The text is not such a ledger.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("version") != VERSION or not isinstance(data.get("image_id"), str):
            raise ValueError(f"not a ledger of facts, version {VERSION}")
        try:
            return cls(data["image_id"], tuple(_from_dict(entry) for entry in data["facts"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a ledger of facts: {error}") from error


def _from_dict(entry: Mapping[str, Any]) -> Fact:
    values = dict(entry)
    if isinstance(values.get("value"), list):
        values["value"] = tuple(values["value"])
    values["anchors"] = tuple(values.get("anchors", ()))
    return Fact(**values)


@dataclass(frozen=True)
class FactDefinition:
    """One line of ``data/facts.csv``: where a fact comes from and how it is stated; ``stem`` leads to its level, interval and reason."""

    id: str
    table: str
    column: str
    name: str
    criterion: str
    source: str
    kind: str
    unit: str
    decimals: int
    scale_max: float | None
    always: bool
    anchors: tuple[float, ...]
    stem: str


@cache
def definitions() -> tuple[FactDefinition, ...]:
    """Return the table of fact definitions that is shipped with the package."""
    path = Path(__file__).parent / "data" / "facts.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(_definition(row) for row in rows)


def _definition(row: Mapping[str, Any]) -> FactDefinition:
    scale_max = float(row["scale_max"]) if row["scale_max"] else None
    anchors = tuple(float(part) for part in row["anchors"].split(";") if part)
    typed = {"decimals": int(row["decimals"]), "scale_max": scale_max, "always": row["always"] == "1", "anchors": anchors}
    return FactDefinition(**{**row, **typed})
