"""How an image's page is drawn: picture, contours, ledger and lineage put together. Which words stand on it is the writer's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from storage.keys import object_key
from storage.refs import sha256_of
from tasks.images import Pictures
from tasks.row_stage import Output, Row, Rows

if TYPE_CHECKING:
    from cefm_core.reports.claims import Report
    from cefm_core.reports.corrections import Corrected

# From a page (objects/page/<aa>/<sha256>.html) to the root of the store.
_ROOT = "../../../"
_PICTURE_SIDE_PX = 900
_THUMB_SIDE_PX = 160


@dataclass(frozen=True)
class Written:
    """A report and how it came about.

    Attributes:
        report: The claims to publish.
        writer: Who wrote them: ``template`` or ``openai``.
        status: ``published``, or ``fallback`` where the template stands in.
        reasons: What was objected to in answers that were not published.
        llm_model: The model that was asked, or None.
    """

    report: Report
    writer: str = "template"
    status: str = "published"
    reasons: tuple[str, ...] = ()
    llm_model: str | None = None


def draw_page(pictures: Pictures, item: Row, ledger: Corrected, written: Written) -> Output:
    """Draw the page of one image and make its row."""
    from cefm_core.reports.claims import render_text
    from cefm_core.reports.pages import image_page

    rgb = pictures.image(item)
    picture, thumb = _reduced(rgb, _PICTURE_SIDE_PX), _reduced(rgb, _THUMB_SIDE_PX)
    context = _page_context(pictures, item, ledger, written, rgb.shape[:2], sha256_of(picture))
    report = written.report
    row = {
        "writer": written.writer,
        "status": written.status,
        "language": report.language,
        "text": render_text(report),
        "claims_json": report.to_json(),
        "facts_json": ledger.facts.to_json(),
        "correction_count": len(ledger.corrections),
        "corrections_json": ledger.to_json(),
        "claim_count": len(report.claims),
        "reasons": list(written.reasons),
        "llm_model": written.llm_model,
    }
    return Output(row, {"page": (image_page(context).encode(), "html"), "picture": (picture, "jpg"), "thumb": (thumb, "jpg")})


def _page_context(pictures: Pictures, item: Row, ledger: Corrected, written: Written, shape: tuple[int, int], picture: str) -> Any:
    from cefm_core.reports.contexts import ImagePageContext
    from cefm_core.reports.contours import svg_path

    rows = item["rows"]
    refined = rows["refined_masks"]
    height, width = shape
    return ImagePageContext(
        ledger=ledger,
        report=written.report,
        image_href=_ROOT + object_key("picture", picture, "jpg"),
        width_px=width,
        height_px=height,
        coarse_path=svg_path(pictures.mask(rows["coarse_masks"], shape)),
        refined_path=svg_path(pictures.mask(refined, shape)),
        positive_points=tuple(refined["positive_points"] or ()),
        negative_points=tuple(refined["negative_points"] or ()),
        nearest=_nearest(rows["predictions"]),
        lineage=_lineage(rows),
        writer=written.writer,
        status=written.status,
        reasons=tuple(written.reasons),
        run_href=_ROOT + "index.html",
    )


def _nearest(prediction: Row) -> tuple[tuple[str, float, str], ...]:
    """Return the nearest cases; the run page, which knows where each image's page lies, leads on to it."""
    cases, cosines = prediction.get("nearest_cases") or (), prediction.get("nearest_cosines") or ()
    return tuple((name, cosine, f"{_ROOT}index.html#image={quote(name)}") for name, cosine in zip(cases, cosines, strict=True))


def _lineage(rows: Rows) -> tuple[tuple[str, str], ...]:
    manifest = rows["manifest"]
    origin = [(name, manifest[column]) for name, column in (("from", "source"), ("licence", "licence"), ("credit", "attribution"))]
    digests = [(name, value or "not stated") for name, value in origin] + [("source image", manifest["image_sha256"])]
    digests += [("coarse mask", rows["coarse_masks"]["mask_sha256"]), ("refined mask", rows["refined_masks"]["mask_sha256"])]
    return tuple(digests + [(f"{name} row", row["row_key"]) for name, row in rows.items()])


def _reduced(rgb: np.ndarray, side: int) -> bytes:
    """Return a JPEG without metadata whose long side is at most ``side`` pixels."""
    import cv2

    from cefm_core.imaging.decode import encode_jpeg

    scale = side / max(rgb.shape[:2])
    if scale < 1:
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(rgb, 88)
