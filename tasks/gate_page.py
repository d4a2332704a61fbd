"""gate_page: the outcomes of a run's gates as a table and a page, with pictures of the images that break a rule."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from cefm_core.errors import BadItemError
from storage import keys
from storage.comparison import thumbnails
from storage.gates import read_history, write_gates
from storage.versions import latest_outputs
from tasks.context import RunContext
from tasks.source_names import classified_names
from tasks.stage_task import stage_task

_THUMB_SIDE_PX = 224
_MOST_DECODED = 48


@stage_task
def gate_page(context: RunContext, gates: list[dict[str, Any]], label: str = "gate page") -> str:
    """Write the table and the page of the gates so far; return the page's key."""
    from cefm_core.releases.pages import gate_page as page
    from cefm_core.tables.docs import declared_tables

    store = context.open_store()
    write_gates(store, context.run_id, gates)
    per_image = frozenset(table.name for table in declared_tables() if table.per_image)
    html = page(context.run_id, gates, read_history(store), _pictures(context), per_image)
    key = keys.run_key(context.run_id, "gates.html")
    store.put(key, html.encode())
    return key


def _pictures(context: RunContext) -> Callable[[str], str | None]:
    """Return a function from an image's id to a picture of it: the published thumbnail, or a reduced copy of the source image."""
    store = context.open_store()
    published = thumbnails(store, [latest_outputs(store)])
    names: dict[str, str] = {}
    made: dict[str, str | None] = {}

    def find(image_id: str) -> str | None:
        if (known := published(image_id)) is not None:
            return known
        if not names:
            names.update({image.image_id: image.name for image in classified_names(context.open_source()).images})
        if image_id not in made and image_id in names and len(made) < _MOST_DECODED:
            made[image_id] = _reduced(context, names[image_id])
        return made.get(image_id)

    return find


def _reduced(context: RunContext, name: str) -> str | None:
    import cv2

    from cefm_core.imaging.decode import decode_image, encode_jpeg

    try:
        rgb = decode_image(context.open_source().read(name), max_pixels=context.config.manifest.max_pixels).rgb
    except BadItemError:
        return None
    scale = min(1.0, _THUMB_SIDE_PX / max(rgb.shape[:2]))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(small, 85)).decode()
