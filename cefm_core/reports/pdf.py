"""A report on A4: picture, claims with their sources, corrections, and the research notice at the foot of every page."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_INK, _SOFT, _DEEP, _LINE = (23, 33, 38), (94, 111, 119), (20, 60, 70), (210, 219, 223)
_LEFT, _WIDTH, _FOOT = 18.0, 174.0, 22.0
_PICTURE_WIDTH, _PICTURE_HEIGHT = 92.0, 69.0
_SOURCE_WIDTH = 26.0
# A document says the same each time it is made: no clock in it.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def draw_pdf(view: dict[str, Any], picture: bytes) -> bytes:
    """Return a report as PDF.

    Args:
        view: What it shows, from ``export.sheet_view``.
        picture: JPEG to show above it.
    """
    pdf = _document(view)
    pdf.add_page()
    _title(pdf, view)
    _picture(pdf, picture)
    for heading, claims in view["sections"]:
        _heading(pdf, heading)
        for text, sources in claims:
            _claim(pdf, text.replace(" %", "\u00a0%"), " · ".join(sources))
    if view["corrections"]:
        _heading(pdf, view["page"]["corrections"])
        for name, before, after, reviewer, state in view["corrections"]:
            _claim(pdf, f"{name}: {before} → {after} ({state})", reviewer)
    return bytes(pdf.output())


def _document(view: dict[str, Any]) -> Any:
    """Make an empty document with its fonts, and the notice with the page's number at every foot."""
    import matplotlib
    from fpdf import FPDF

    class Document(FPDF):
        def footer(self) -> None:
            self.set_y(-_FOOT + 3)
            self.set_draw_color(*_LINE)
            self.line(_LEFT, self.get_y(), _LEFT + _WIDTH, self.get_y())
            self.ln(2)
            _set(self, 7.5, _SOFT)
            self.multi_cell(_WIDTH - 22, 3.6, view["words"].notice, align="L", new_x="RIGHT", new_y="TOP")
            self.cell(22, 3.6, f"{self.page_no()} / {{nb}}", align="R")

    pdf = Document(format="A4")
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pdf.add_font("DejaVu", "", str(fonts / "DejaVuSans.ttf"))
    pdf.add_font("DejaVu", "B", str(fonts / "DejaVuSans-Bold.ttf"))
    pdf.set_creation_date(_EPOCH)
    pdf.set_title(f"CEFM: {view['image_id']}")
    pdf.set_lang(view["words"].code)
    pdf.set_margins(_LEFT, 16, _LEFT)
    pdf.c_margin = 0
    pdf.set_auto_page_break(True, _FOOT)
    return pdf


def _set(pdf: Any, size: float, colour: tuple[int, int, int], bold: bool = False) -> None:
    pdf.set_font("DejaVu", "B" if bold else "", size)
    pdf.set_text_color(*colour)


def _title(pdf: Any, view: dict[str, Any]) -> None:
    _set(pdf, 8, _SOFT)
    pdf.cell(_WIDTH, 4, f"CEFM · {view['page']['tagline']}", new_x="LMARGIN", new_y="NEXT")
    _set(pdf, 16, _DEEP, bold=True)
    pdf.cell(_WIDTH, 10, view["image_id"], new_x="LMARGIN", new_y="NEXT")
    pdf.ln(1)


def _picture(pdf: Any, picture: bytes) -> None:
    top = pdf.get_y()
    drawn = pdf.image(io.BytesIO(picture), x=_LEFT, y=top, w=_PICTURE_WIDTH, h=_PICTURE_HEIGHT, keep_aspect_ratio=True)
    pdf.set_y(top + max(drawn.rendered_height, 1.0) + 2)


def _heading(pdf: Any, text: str) -> None:
    if pdf.will_page_break(20):
        pdf.add_page()
    pdf.ln(2)
    _set(pdf, 10, _DEEP, bold=True)
    pdf.cell(_WIDTH, 6, text, new_x="LMARGIN", new_y="NEXT")


def _claim(pdf: Any, text: str, origin: str) -> None:
    """Write a claim with its origin beside it; a claim is not torn over two pages."""
    _set(pdf, 9, _INK)
    width = _WIDTH - _SOURCE_WIDTH
    height = pdf.multi_cell(width, 4.6, text, align="L", dry_run=True, output="HEIGHT")
    if pdf.will_page_break(height):
        pdf.add_page()
    top = pdf.get_y()
    pdf.multi_cell(width, 4.6, text, align="L", new_x="LMARGIN", new_y="NEXT")
    end = pdf.get_y()
    pdf.set_xy(_LEFT + width, top)
    _set(pdf, 7, _SOFT)
    pdf.multi_cell(_SOURCE_WIDTH, 4.6, origin, align="R", new_x="LMARGIN", new_y="NEXT")
    pdf.set_y(max(end, pdf.get_y()) + 0.8)
