"""One report as a document of its own: text, Markdown, a single HTML file, PDF. Each carries the research notice.

The page of an image with everything measured belongs to ``pages``; here is what is handed on or printed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cefm_core.reports.claims import SECTIONS, Report, render_markdown, render_text
from cefm_core.reports.corrections import Corrected
from cefm_core.reports.pages import sheet_page


@dataclass(frozen=True)
class Sheet:
    """What a document is made of.

    Attributes:
        report: The published report.
        ledger: The ledger it rests on, and what clinicians corrected in it.
        picture: JPEG with the contour drawn in.
    """

    report: Report
    ledger: Corrected
    picture: bytes

    @property
    def image_id(self) -> str:
        """Identifier of the image."""
        return self.ledger.facts.image_id


def export(sheet: Sheet, form: str) -> bytes:
    """Return a report as a document; the same sheet gives the same bytes.

    Args:
        sheet: The report with its picture.
        form: One of ``FORMATS``.
    """
    return FORMATS[form](sheet)


def sheet_view(sheet: Sheet) -> dict[str, Any]:
    """Return what every drawn form shows: sections of claims with the sources of their facts, the criteria, the corrections."""
    words, facts = sheet.report.words(), sheet.ledger.facts
    sections = []
    for name in SECTIONS:
        claims = [(claim.text, _sources(claim.facts, sheet)) for claim in sheet.report.section(name)]
        sections.append((words.headings[name], claims))
    corrections = [
        (applied.name, applied.before, applied.after, applied.correction.reviewer, words.page[f"state_{applied.state}"])
        for applied in sheet.ledger.corrections
    ]
    return {"words": words, "page": words.page, "image_id": facts.image_id, "sections": sections, "corrections": corrections}


def _sources(fact_ids: tuple[str, ...], sheet: Sheet) -> list[str]:
    words = sheet.report.words()
    known = [fact for fact_id in fact_ids if (fact := sheet.ledger.facts.get(fact_id)) is not None]
    return [words.page[f"source_{source}"] for source in dict.fromkeys(fact.source for fact in known)]


def _html(sheet: Sheet) -> bytes:
    picture = "data:image/jpeg;base64," + base64.b64encode(sheet.picture).decode()
    return sheet_page(sheet_view(sheet) | {"picture": picture}).encode()


def _pdf(sheet: Sheet) -> bytes:
    from cefm_core.reports.pdf import draw_pdf

    return draw_pdf(sheet_view(sheet), sheet.picture)


FORMATS: dict[str, Callable[[Sheet], bytes]] = {
    "text": lambda sheet: render_text(sheet.report).encode(),
    "markdown": lambda sheet: render_markdown(sheet.report).encode(),
    "html": _html,
    "pdf": _pdf,
}
"""The forms a report can have, by name."""
