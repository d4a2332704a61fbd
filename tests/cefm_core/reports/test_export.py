"""A report as a document: every form says the same, carries the notice, and is the same each time."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from pypdf import PdfReader

from cefm_core.imaging.decode import encode_jpeg
from cefm_core.reports.claims import Claim, Report
from cefm_core.reports.contours import CONTOUR_RGB, outlined
from cefm_core.reports.corrections import Corrected, Correction, apply_corrections
from cefm_core.reports.export import FORMATS, Sheet, export
from cefm_core.reports.template_writer import write_report

PICTURE = encode_jpeg(np.full((90, 120, 3), (190, 140, 120), np.uint8), 88)


def sheet_of(facts, language="en", corrections=()):
    ledger = apply_corrections(facts, corrections)
    return Sheet(write_report(ledger.facts, language), ledger, PICTURE)


def test_every_form_holds_every_claim_and_the_notice(facts):
    sheet = sheet_of(facts)
    for form in ("text", "markdown", "html"):
        said = export(sheet, form).decode()
        plain = re.sub(r"\\(.)", r"\1", said).replace("&#34;", '"').replace("&#39;", "'")
        assert all(claim.text in plain for claim in sheet.report.claims), form
        assert sheet.report.words().notice in plain


def test_a_document_is_the_same_each_time(facts):
    for form in FORMATS:
        assert export(sheet_of(facts), form) == export(sheet_of(facts), form)


def test_html_is_one_file_that_fetches_nothing(facts):
    hostile = replace(sheet_of(facts), report=Report((Claim("risk", "<script>alert(1)</script>", ("x",)),)))
    page = export(hostile, "html").decode()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert re.findall(r'src="([^"]{22})', page) == ["data:image/jpeg;base64"] and not re.search(r"https?://|<link|url\(", page)


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_pdf_has_the_notice_on_every_page(facts, language):
    corrections = [Correction(facts.image_id, fact.id, "wrong", reviewer="R1") for fact in facts if fact.value is not None]
    for sheet in (sheet_of(facts, language), sheet_of(facts, language, corrections)):
        reader = PdfReader(io.BytesIO(export(sheet, "pdf")))
        texts = [" ".join(page.extract_text().split()) for page in reader.pages]
        notice = sheet.report.words().notice
        assert all(notice in text and f"{number} / {len(texts)}" in text for number, text in enumerate(texts, start=1))
        whole = " ".join(texts).replace(f" {notice}", "")
        assert facts.image_id in whole
        missing = [claim.text for claim in sheet.report.claims if claim.text.split(" (")[0][:40] not in whole]
        assert not missing
        assert "R1" in whole or not sheet.ledger.corrections
        assert len(reader.pages[0].images) == 1 and reader.metadata.author is None
    assert len(texts) > 1


def test_the_contour_is_drawn_where_the_mask_ends():
    rgb, mask = np.full((60, 80, 3), 200, np.uint8), np.zeros((120, 160), np.bool_)
    mask[40:80, 60:120] = True
    drawn = outlined(rgb, mask)
    assert np.abs(drawn[20, 45].astype(int) - CONTOUR_RGB).max() < 50  # the line is smoothed
    assert tuple(drawn[30, 45]) == (200, 200, 200) == tuple(drawn[5, 5])
    assert (rgb == 200).all()


def test_a_ledger_without_corrections_says_nothing_of_them(facts):
    assert "Corrections" not in export(Sheet(write_report(facts), Corrected(facts, facts), PICTURE), "html").decode()
