"""The descriptors that an image can be given: a versioned table shipped as data.

A new phrase is a new line in a new version of the file, never a change of an old one: stored rows name their version.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VERSION = "v2"
PROMPTS = "v1"
DATA = Path(__file__).parent / "data"
CRITERIA = ("A", "B", "C", "D")
DIRECTIONS = ("benign", "melanoma", "either")
SCORERS = ("clip", "probes")


@dataclass(frozen=True)
class Descriptor:
    """One phrase of the vocabulary.

    Attributes:
        phrase: The phrase as it stands in prompts and reports.
        criterion: Which of A, B, C, D it speaks of; D means structures, never a diameter.
        direction: ``benign`` or ``melanoma``: for which of the two it speaks; ``either`` where it speaks for none.
        contradicts: Phrases that cannot hold at the same time.
        against: Id of the fact that measures the same thing, or "".
        reportable: Whether a report may state it; a size may not be stated without a scale.
        scorer: Who scores it: ``clip``, or ``probes`` for what is learned from labels.
    """

    phrase: str
    criterion: str
    direction: str
    contradicts: tuple[str, ...]
    against: str
    reportable: bool
    scorer: str


@cache
def load_vocabulary() -> tuple[Descriptor, ...]:
    """Return the vocabulary of the current version, of all scorers.

    Raises:
        ValueError: The file names an unknown criterion, direction, scorer or phrase.
    """
    with (DATA / f"vocabulary_{VERSION}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    phrases = {row["phrase"] for row in rows}
    entries = []
    for row in rows:
        contradicts = tuple(part for part in row["contradicts"].split(";") if part)
        closed = row["criterion"] in CRITERIA and row["direction"] in DIRECTIONS and row["scorer"] in SCORERS
        if not closed or not phrases.issuperset(contradicts):
            raise ValueError(f"descriptor vocabulary {VERSION}: bad line for {row['phrase']!r}")
        reportable = row["reportable"] == "yes"
        entries.append(
            Descriptor(row["phrase"], row["criterion"], row["direction"], contradicts, row["against"], reportable, row["scorer"])
        )
    return tuple(entries)


def scored_by(scorer: str) -> tuple[Descriptor, ...]:
    """Return the entries that a scorer gives scores to, in the order in which it stores them."""
    return tuple(entry for entry in load_vocabulary() if entry.scorer == scorer)


@cache
def load_prompts() -> tuple[str, ...]:
    """Return the prompt templates whose embeddings are averaged; each holds ``{phrase}`` once."""
    with (DATA / f"prompts_{PROMPTS}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(row["prompt"] for row in csv.DictReader(file))


def find_descriptor(phrase: str) -> Descriptor | None:
    """Return the entry of a phrase, or None where the vocabulary does not have it."""
    return next((entry for entry in load_vocabulary() if entry.phrase == phrase), None)
