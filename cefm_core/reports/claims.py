"""A report is a list of claims, each naming the facts it rests on; here is how such a list is stored and rendered.

Writing claims belongs to ``template_writer`` and ``prompt``; judging them to ``checker``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from cefm_core.reports.language import Language, load_language

SECTIONS = ("quantitative", "visual", "risk", "quality")


@dataclass(frozen=True)
class Claim:
    """One sentence or two that belong together, and what they rest on.

    Attributes:
        section: One of ``SECTIONS``.
        text: The sentence, plain text.
        facts: Ids of the facts it rests on; never empty in a publishable report.
    """

    section: str
    text: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """A report in one language.

    Attributes:
        claims: Every claim, in order.
        language: Language code, ``en`` or ``de``.
    """

    claims: tuple[Claim, ...]
    language: str = "en"

    def section(self, name: str) -> tuple[Claim, ...]:
        """Return the claims of one section, in order."""
        return tuple(claim for claim in self.claims if claim.section == name)

    def words(self) -> Language:
        """Return the language data: headings, notice, phrases."""
        return load_language(self.language)

    def to_json(self) -> str:
        """Return the report as JSON; :meth:`from_json` is its inverse."""
        claims = [{"section": c.section, "text": c.text, "facts": list(c.facts)} for c in self.claims]
        return json.dumps({"language": self.language, "claims": claims}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report written by :meth:`to_json`.

        Raises:
            ValueError: The text is not such a report.
        """
        try:
            data = json.loads(text)
            claims = tuple(Claim(str(c["section"]), str(c["text"]), tuple(map(str, c["facts"]))) for c in data["claims"])
            return cls(claims, str(data["language"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a report: {error}") from error


def render_text(report: Report) -> str:
    """Return the report as plain text: heading, one claim a line, and the research notice at the end."""
    words = report.words()
    blocks = [_block(words.headings[name], [claim.text for claim in report.section(name)]) for name in SECTIONS]
    return "\n\n".join([*blocks, words.notice]) + "\n"


def render_markdown(report: Report) -> str:
    """Return the report as Markdown, the facts of each claim in a trailing comment."""
    words = report.words()
    lines: list[str] = []
    for name in SECTIONS:
        lines += [f"## {words.headings[name]}", ""]
        lines += [f"- {_markdown(c.text)} <!-- {' '.join(c.facts)} -->" for c in report.section(name)]
        lines.append("")
    return "\n".join([*lines, f"*{_markdown(words.notice)}*"]) + "\n"


def _block(heading: str, sentences: Iterable[str]) -> str:
    return "\n".join([heading, *sentences])


def _markdown(text: str) -> str:
    for character in "\\`*_[]<>":
        text = text.replace(character, "\\" + character)
    return text
