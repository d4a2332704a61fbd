"""The words of a language: headings, names, level words, reasons in words and sentence patterns, all of it data.

A language is one TOML file in ``data/``; adding one needs no code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cefm_core.errors import ConfigurationError

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Language:
    """The words of one language.

    Attributes:
        code: Language code.
        decimal_mark: ``.`` or ``,``.
        notice: Research notice that closes every report.
        headings: Heading by section name.
        levels: Five level words by criterion.
        names: Name by fact id, used in prose.
        reasons: Reason codes in words; ``{code}`` in the entry ``unknown`` stands for an unlisted one.
        words: Values in words, by ``<fact id>=<value>`` or ``<group>=<value>``.
        phrases: Sentence patterns for ``str.format``, by key.
        page: Labels of the page of an image.
    """

    code: str
    decimal_mark: str
    notice: str
    headings: Mapping[str, str]
    levels: Mapping[str, list[str]]
    names: Mapping[str, str]
    reasons: Mapping[str, str]
    words: Mapping[str, str]
    phrases: Mapping[str, str]
    page: Mapping[str, str]

    def level_word(self, criterion: str, level: int) -> str:
        """Return the word of level 1-5 for a criterion."""
        return self.levels.get(criterion, self.levels["other"])[level - 1]

    def reason(self, code: str) -> str:
        """Return a reason code in words that finish the sentence ``not measured because ...``."""
        return self.reasons.get(code) or self.reasons["unknown"].format(code=code.replace("_", " "))

    def word(self, group: str, value: str) -> str:
        """Return a value in words, or the value with its underscores as spaces."""
        return self.words.get(f"{group}={value}", value.replace("_", " "))

    def number(self, text: str) -> str:
        """Return a number written with ``.`` in this language's way."""
        return text.replace(".", self.decimal_mark)


def languages() -> tuple[str, ...]:
    """Return the codes of the languages that are shipped."""
    return tuple(sorted(path.stem.removeprefix("language_") for path in DATA.glob("language_*.toml")))


@cache
def load_language(code: str) -> Language:
    """Read one language.

    Raises:
        ConfigurationError: There is no such language.
    """
    path = DATA / f"language_{code}.toml"
    if code not in languages():
        raise ConfigurationError(f"reports.language: {code!r} is not one of {', '.join(languages())}")
    return Language(**tomllib.loads(path.read_text(encoding="utf-8")))
