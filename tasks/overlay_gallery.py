"""overlay_gallery: a few masks of a run drawn on their images, so that an operator sees while the run goes on whether they are sound."""

from __future__ import annotations

import base64
from typing import Any

from cefm_core.errors import BadItemError, IntegrityError
from storage.parquet import read_arrow
from storage.refs import FileRef, digest_of
from tasks.context import RunContext
from tasks.images import Pictures
from tasks.stage_task import stage_task

Row = dict[str, Any]

LEAST_SURE, MOST_CHANGED, BY_CHANCE = 6, 3, 3
_SIDE_PX = 240
_COLUMNS = {
    "manifest": ["image_id", "uri", "image_sha256"],
    "coarse_masks": ["image_id", "mask_key", "mask_sha256"],
    "refined_masks": ["image_id", "mask_key", "mask_sha256", "mask_confidence", "agreement_dice", "decision", "row_key"],
}


@stage_task
def overlay_gallery(context: RunContext, tables: dict[str, FileRef], label: str = "overlay_gallery") -> list[Row]:
    """Draw the masks that are least sure, those that refining changed most, and some by chance.

    Args:
        context: The run.
        tables: ``manifest``, ``coarse_masks`` and ``refined_masks``.
        label: Name of the task run.

    Returns:
        At most twelve of: ``image_id``, ``why``, and ``jpeg``, base64; coarse outline yellow, refined one red.
    """
    store = context.open_store()
    rows = {
        name: {row["image_id"]: row for row in read_arrow(store, tables[name]).select(columns).to_pylist()}
        for name, columns in _COLUMNS.items()
    }
    pictures = Pictures(context)
    shown = []
    for image_id, why in choose(list(rows["refined_masks"].values())):
        try:
            jpeg = _draw(pictures, {name: table[image_id] for name, table in rows.items()})
        except (BadItemError, IntegrityError):  # an image that is gone is some stage's reject, never this gallery's failure
            continue
        shown.append({"image_id": image_id, "why": why, "jpeg": base64.b64encode(jpeg).decode("ascii")})
    return shown


def choose(refined: list[Row]) -> list[tuple[str, str]]:
    """Choose the images to show; the same rows give the same choice.

    Args:
        refined: Rows of ``refined_masks``.

    Returns:
        Image id and why it is shown.
    """
    sure = sorted((row for row in refined if row["mask_confidence"] is not None), key=lambda row: (row["mask_confidence"], row["image_id"]))
    chosen = {row["image_id"]: f"Dice to be expected {row['mask_confidence']:.2f}" for row in sure[:LEAST_SURE]}
    accepted = [row for row in refined if row["decision"] == "accepted" and row["image_id"] not in chosen]
    for row in sorted(accepted, key=lambda row: (row["agreement_dice"], row["image_id"]))[:MOST_CHANGED]:
        chosen[row["image_id"]] = f"refined: Dice {row['agreement_dice']:.2f} with the coarse mask"
    others = [row["image_id"] for row in refined if row["image_id"] not in chosen]
    for image_id in sorted(others, key=lambda name: digest_of(name))[:BY_CHANCE]:
        chosen[image_id] = "by chance"
    return list(chosen.items())


def _draw(pictures: Pictures, rows: dict[str, Row]) -> bytes:
    from cefm_core.imaging.decode import encode_jpeg
    from cefm_core.imaging.outlines import BEFORE_COLOUR, FOUND_COLOUR, outlined

    rgb = pictures.image(rows["manifest"])
    coarse, refined = (pictures.mask(rows[name], rgb.shape[:2]) for name in ("coarse_masks", "refined_masks"))
    return encode_jpeg(outlined(rgb, (coarse, BEFORE_COLOUR), (refined, FOUND_COLOUR), side_px=_SIDE_PX), 80)
