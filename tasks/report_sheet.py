"""One published report with its picture, read from a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cefm_core.errors import ConfigurationError
from storage.parquet import read_rows
from storage.refs import FileRef
from storage.store import Store
from tasks.ledgers import read_items
from tasks.row_stage import Row
from tasks.write_reports import ledger_of

if TYPE_CHECKING:
    from cefm_core.reports.export import Sheet


def read_sheet(store: Store, outputs: dict[str, FileRef], image_id: str) -> Sheet:
    """Return the published report of an image with its picture, the contour in use drawn in.

    Raises:
        ConfigurationError: The version has no report on such an image.
    """
    from cefm_core.reports.claims import Report
    from cefm_core.reports.export import Sheet

    reports = [row for row in read_rows(store, outputs["reports"]) if row["image_id"] == image_id] if "reports" in outputs else []
    items = read_items(store, outputs, [image_id]) if reports else {}
    if image_id not in items:
        raise ConfigurationError(f"image {image_id}: no report in the latest version of {store.uri}; `cefm report` writes it")
    item = items[image_id]
    return Sheet(Report.from_json(reports[0]["claims_json"]), ledger_of(item), outlined_picture(store, item, reports[0]))


def outlined_picture(store: Store, item: Row, report: Row) -> bytes:
    """Return the reduced picture of an image as JPEG, with the contour in use drawn in."""
    from cefm_core.imaging.decode import decode_image, decode_own_mask, encode_jpeg
    from cefm_core.reports.contours import outlined

    manifest, refined = item["rows"]["manifest"], item["rows"]["refined_masks"]
    picture = store.get(FileRef(key=report["picture_key"], sha256=report["picture_sha256"]))
    rgb = decode_image(picture, max_pixels=manifest["width_px"] * manifest["height_px"]).rgb
    shape = (manifest["height_px"], manifest["width_px"])
    mask = decode_own_mask(store.get(FileRef(key=refined["mask_key"], sha256=refined["mask_sha256"])), shape)
    return encode_jpeg(outlined(rgb, mask), 88)
