"""The words the checker knows: topics, degrees, adjectives, findings, negations; one versioned file a language."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cefm_core.errors import ConfigurationError

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Topic:
    """Something that a sentence can speak of.

    Attributes:
        name: Name within the lexicon.
        pattern: What names it.
        facts: Ids of the facts that may stand behind it.
        narrows: Name of a general topic that it makes specific (``image alone`` narrows ``probability``), or "".
    """

    name: str
    pattern: re.Pattern[str]
    facts: tuple[str, ...]
    narrows: str = ""


@dataclass(frozen=True)
class Term:
    """A word that means levels.

    Attributes:
        pattern: The word.
        levels: Levels with which it agrees.
        topic: Name of its topic, or "" where it takes the topic of its clause.
        soft: Whether a degree word beside it replaces its own levels (``severe asymmetry``).
    """

    pattern: re.Pattern[str]
    levels: frozenset[int]
    topic: str = ""
    soft: bool = False


@dataclass(frozen=True)
class Lexicon:
    """The lexicon of one language; see the comments in its file."""

    version: str
    topics: tuple[Topic, ...]
    degrees: tuple[Term, ...]
    adjectives: tuple[Term, ...]
    patterns: Mapping[str, re.Pattern[str]]
    diagnosis: tuple[re.Pattern[str], ...]
    states: Mapping[str, re.Pattern[str]]
    quantity_words: Mapping[str, int]
    languages: Mapping[str, frozenset[str]]
    headings: Mapping[str, re.Pattern[str]]
    notice: re.Pattern[str]
    negation_follows: bool = False

    def topic(self, name: str) -> Topic:
        """Return the topic of a name."""
        return next(topic for topic in self.topics if topic.name == name)


@cache
def load_lexicon(language: str) -> Lexicon:
    """Read the lexicon of a language.

    Raises:
        ConfigurationError: There is none for it.
    """
    path = DATA / f"lexicon_{language}.toml"
    if not path.is_file():
        raise ConfigurationError(f"reports.language: there is no lexicon for {language!r}")
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    names = (
        *("splitters", "negation", "missing", "resolved", "between", "beside", "length_units", "diameter", "one_before", "findings"),
        *("disease", "disease_context"),
    )
    free = ("instruction", "reasoning", "diagnosis_stems")
    return Lexicon(
        version=data["version"],
        topics=tuple(Topic(t["name"], _word(t["pattern"]), tuple(t["facts"]), t.get("narrows", "")) for t in data["topics"]),
        degrees=tuple(_term(entry) for entry in data["degrees"]),
        adjectives=tuple(_term(entry) for entry in data["adjectives"]),
        patterns={name: _word(data[name]) for name in names} | {name: re.compile(data[name], re.IGNORECASE) for name in free},
        diagnosis=tuple(_word(pattern) for pattern in data["diagnosis"]),
        states={name: _word(pattern) for name, pattern in data["states"].items()},
        quantity_words=data["quantity_words"],
        languages={code: frozenset(words.split()) for code, words in data["languages"].items()},
        headings={name: re.compile(rf"(?:{pattern})(?:\s*:|\s*\Z)", re.IGNORECASE) for name, pattern in data["headings"].items()},
        notice=re.compile(data["notice"], re.IGNORECASE),
        negation_follows=data.get("negation_follows", False),
    )


def _word(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])(?:{pattern})(?!\w)", re.IGNORECASE)


def _term(entry: Mapping[str, Any]) -> Term:
    return Term(_word(entry["pattern"]), frozenset(entry["levels"]), entry.get("topic", ""), entry.get("soft", False))
