"""write_reports: a checked report and a page for every image. The only module that talks to a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cefm_core.config import CefmConfig
from cefm_core.tables import reports
from storage.keys import object_key
from storage.refs import FileRef, sha256_of
from tasks.context import RunContext
from tasks.images import Pictures
from tasks.row_stage import Output, PartSummary, Row, Rows, RowStage, run_shard
from tasks.stage_task import stage_task

if TYPE_CHECKING:
    from cefm_core.reports.facts import Facts

# From a page (objects/page/<aa>/<sha256>.html) to the root of the store.
_ROOT = "../../../"
_PICTURE_SIDE_PX = 900
_THUMB_SIDE_PX = 160
# The ledger's name of each table.
_LEDGER = {
    "manifest": "manifest",
    "image_quality": "quality",
    "coarse_masks": "coarse",
    "refined_masks": "refined",
    "abc_features": "abc",
    "predictions": "prediction",
    "descriptors": "descriptors",
}


def _inputs(rows: Rows) -> Row:
    return {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256")} | {"rows": rows}


def _settings(config: CefmConfig) -> dict[str, Any]:
    """The model, the prompt and the sampling decide a text; the endpoint's address and the key's name do not."""
    if config.reports.writer == "template":
        return config.reports.model_dump(mode="json", include={"writer", "language"})
    return config.reports.model_dump(mode="json", exclude={"base_url", "api_key_env"})


STAGE = RowStage(
    name="write_reports",
    table=reports.TABLE,
    upstream=tuple(_LEDGER),
    entries=("cefm_core.reports.template_writer", "cefm_core.reports.pages", "cefm_core.reports.facts", "cefm_core.tables.reports"),
    inputs=_inputs,
    settings=_settings,
    objects=("page", "picture", "thumb"),
)


@stage_task
def write_reports(context: RunContext, fingerprint: str, work: FileRef, label: str = "write_reports") -> PartSummary:
    """Write, check and draw the reports of one shard."""
    from cefm_core.reports.facts import collect_facts
    from cefm_core.reports.template_writer import write_report

    pictures = Pictures(context)

    def one(item: Row) -> Output:
        ledger = collect_facts(item["image_id"], **{_LEDGER[name]: row for name, row in item["rows"].items()})
        return _drawn(pictures, item, ledger, {"writer": "template", "status": "published", "reasons": [], "report": write_report(ledger)})

    return run_shard(STAGE, context, fingerprint, work, lambda items: [one(item) for item in items])


def _drawn(pictures: Pictures, item: Row, ledger: Facts, written: dict[str, Any]) -> Output:
    """Draw the page of one image and make its row."""
    from cefm_core.reports.claims import render_text
    from cefm_core.reports.pages import image_page

    rgb = pictures.image(item)
    picture, thumb = _reduced(rgb, _PICTURE_SIDE_PX), _reduced(rgb, _THUMB_SIDE_PX)
    context = _page_context(pictures, item, ledger, written, rgb.shape[:2], sha256_of(picture))
    report = written["report"]
    row = {
        "writer": written["writer"],
        "status": written["status"],
        "language": report.language,
        "text": render_text(report),
        "claims_json": report.to_json(),
        "facts_json": ledger.to_json(),
        "claim_count": len(report.claims),
        "reasons": written["reasons"],
        "llm_model": written.get("llm_model"),
    }
    return Output(row, {"page": (image_page(context).encode(), "html"), "picture": (picture, "jpg"), "thumb": (thumb, "jpg")})


def _page_context(pictures: Pictures, item: Row, ledger: Facts, written: dict[str, Any], shape: tuple[int, int], picture: str) -> Any:
    from cefm_core.reports.contexts import ImagePageContext
    from cefm_core.reports.contours import svg_path

    rows = item["rows"]
    refined = rows["refined_masks"]
    height, width = shape
    return ImagePageContext(
        facts=ledger,
        report=written["report"],
        image_href=_ROOT + object_key("picture", picture, "jpg"),
        width_px=width,
        height_px=height,
        coarse_path=svg_path(pictures.mask(rows["coarse_masks"], shape)),
        refined_path=svg_path(pictures.mask(refined, shape)),
        positive_points=tuple(refined["positive_points"] or ()),
        negative_points=tuple(refined["negative_points"] or ()),
        lineage=_lineage(rows),
        writer=written["writer"],
        status=written["status"],
        reasons=tuple(written["reasons"]),
        run_href=_ROOT + "index.html",
    )


def _lineage(rows: Rows) -> tuple[tuple[str, str], ...]:
    digests = [("source image", rows["manifest"]["image_sha256"])]
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
