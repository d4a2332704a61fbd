"""A plain-text or Markdown report read back into unbound claims, one a sentence line."""

from __future__ import annotations

import re

from cefm_core.reports.claims import SECTIONS, Claim
from cefm_core.reports.language import languages, load_language
from cefm_core.reports.lexicon import Lexicon, load_lexicon
from cefm_core.reports.verdict import Reason

_MARKS = re.compile(r"\A\s*(?:[-*•]\s+|\d+[.)]\s+|#{1,6}\s*)|<!--.*?-->")


def read_report_text(text: str, language: str) -> tuple[list[Claim], list[Reason]]:
    """Read a text.

    Args:
        text: The four headings, each on a line of its own or before a colon, claims below them, the research notice anywhere.
        language: Language of the text.

    Returns:
        Claims without fact ids, and the objection that reading alone brings: a missing notice.
    """
    lexicon, notice = load_lexicon(language), _plain(load_language(language).notice)
    claims: list[Claim] = []
    section, found_notice = SECTIONS[0], False
    for line in _paragraphs(text, lexicon):
        named = _heading(line, lexicon)
        if named is not None:
            section, line = named
        if line == notice or lexicon.notice.search(line):
            found_notice = True
        elif line:
            claims.append(Claim(section, line, ()))
    return claims, [] if found_notice else [Reason("notice_missing")]


def guess_language(text: str) -> str:
    """Return the language with the most headings in a text, English on a tie."""

    def headings(language: str) -> int:
        lexicon = load_lexicon(language)
        return sum(_heading(line, lexicon) is not None for line in _paragraphs(text, lexicon))

    return max(languages(), key=lambda language: (headings(language), language == "en"))


def _heading(line: str, lexicon: Lexicon) -> tuple[str, str] | None:
    """Return the section that a line opens and what follows the colon, or None where it is no heading."""
    for name, pattern in lexicon.headings.items():
        match = pattern.match(line)
        if match is not None:
            return name, line[match.end() :].strip()
    return None


def _paragraphs(text: str, lexicon: Lexicon) -> list[str]:
    """Return the lines, those that were wrapped joined again: a line goes on unless it ends, or the next begins, a sentence."""
    joined: list[str] = []
    goes_on = False
    for line in text.splitlines():
        plain = _plain(_MARKS.sub("", line))
        heading = _heading(plain, lexicon)
        if plain and goes_on and heading is None and not _MARKS.match(line):
            joined[-1] = f"{joined[-1]} {plain}"
        elif plain:
            joined.append(plain)
        stands_alone = heading is not None and not heading[1]
        goes_on = bool(plain) and not stands_alone and not plain.endswith((".", "!", "?"))
    return joined


def _plain(line: str) -> str:
    """Return a line without Markdown emphasis, escapes and doubled spaces."""
    return " ".join(re.sub(r"\\([\\`*_\[\]<>])", r"\1", line.strip().strip("*").strip()).split())
