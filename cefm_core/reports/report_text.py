"""A plain-text or Markdown report read back into unbound claims, one a sentence line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cefm_core.reports.claims import SECTIONS, Claim
from cefm_core.reports.language import Language
from cefm_core.reports.verdict import Reason

_MARKS = re.compile(r"\A\s*(?:[-*•]\s+|\d+[.)]\s+|#{1,6}\s*)|<!--.*?-->")


def read_report_text(text: str, words: Language) -> tuple[list[Claim], list[Reason]]:
    """Read a text.

    Args:
        text: Headings on lines of their own, claims below them, the research notice last.
        words: Language of the text.

    Returns:
        Claims without fact ids, and the objections that reading alone brings: a missing notice, text outside the sections.
    """
    headings = {heading.lower(): name for name, heading in words.headings.items()}
    notice = _plain(words.notice)
    claims: list[Claim] = []
    section, found_notice = "", False
    for plain in _paragraphs(text, headings):
        name = headings.get(plain.rstrip(":").lower())
        if name is not None:
            section = name
        elif plain == notice:
            found_notice = True
        else:
            claims.append(Claim(section or SECTIONS[0], plain, ()))
    return claims, [] if found_notice else [Reason("notice_missing")]


def _paragraphs(text: str, headings: Mapping[str, str]) -> list[str]:
    """Return the lines, those that were wrapped joined again: a line goes on unless it ends, or the next begins, a sentence."""
    joined: list[str] = []
    goes_on = False
    for line in text.splitlines():
        plain = _plain(_MARKS.sub("", line))
        own = bool(_MARKS.match(line)) or plain.rstrip(":").lower() in headings
        if plain and goes_on and not own:
            joined[-1] = f"{joined[-1]} {plain}"
        elif plain:
            joined.append(plain)
        heading = plain.rstrip(":").lower() in headings
        goes_on = bool(plain) and not heading and not plain.endswith((".", "!", "?"))
    return joined


def _plain(line: str) -> str:
    """Return a line without Markdown emphasis, escapes and doubled spaces."""
    return " ".join(re.sub(r"\\([\\`*_\[\]<>])", r"\1", line.strip().strip("*").strip()).split())
