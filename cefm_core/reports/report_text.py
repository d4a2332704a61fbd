"""A plain-text or Markdown report read back into unbound claims, one a sentence line."""

from __future__ import annotations

import re

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
    for line in text.splitlines():
        plain = _plain(_MARKS.sub("", line))
        if not plain:
            continue
        name = headings.get(plain.rstrip(":").lower())
        if name is not None:
            section = name
        elif plain == notice:
            found_notice = True
        else:
            claims.append(Claim(section or SECTIONS[0], plain, ()))
    return claims, [] if found_notice else [Reason("notice_missing")]


def _plain(line: str) -> str:
    """Return a line without Markdown emphasis, escapes and doubled spaces."""
    return " ".join(re.sub(r"\\([\\`*_\[\]<>])", r"\1", line.strip().strip("*").strip()).split())
