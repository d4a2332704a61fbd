"""Reading pictures for the stages: always verified against the digest that the tables hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from cefm_core.errors import BadItemError
from cefm_core.imaging.decode import decode_image, decode_mask, decode_own_mask
from storage.refs import FileRef
from tasks.context import RunContext

Row = dict[str, Any]


def lesion_inputs(rows: dict[str, Row]) -> Row:
    """Return what decides an image's row where a stage looks at the image and its lesion's refined mask."""
    manifest = {name: rows["manifest"][name] for name in ("image_id", "uri", "image_sha256")}
    return manifest | {name: rows["refined_masks"][name] for name in ("mask_key", "mask_sha256")}


class Pictures:
    """The images and masks of one run."""

    def __init__(self, context: RunContext) -> None:
        self._source = context.open_source()
        self._store = context.open_store()
        self._max_pixels = context.config.manifest.max_pixels

    def image(self, item: Row) -> np.ndarray:
        """Return the image of a work item, uint8 (H, W, 3) RGB."""
        data = self._source.read_verified(item["uri"], item["image_sha256"])
        return decode_image(data, max_pixels=self._max_pixels).rgb

    def mask(self, item: Row, shape: tuple[int, int]) -> np.ndarray:
        """Return the stage mask of a work item (``mask_key``, ``mask_sha256``), bool (H, W)."""
        data = self._store.get(FileRef(key=item["mask_key"], sha256=item["mask_sha256"]))
        return decode_own_mask(data, shape)

    def reference_scores(self, item: Row, mask: np.ndarray) -> Row:
        """Compare a mask, bool (H, W), with the reference mask that came with the image.

        A reference mask that cannot be used costs the score, never the image.

        Returns:
            ``reference_dice``, ``reference_jaccard``, and ``reference_reason`` where they are null.
        """
        from cefm_core.segmentation.scores import reference_scores

        if item.get("reference_mask_uri") is None:
            return reference_scores(mask, None)
        data = self._source.read_verified(item["reference_mask_uri"], item["reference_mask_sha256"])
        try:
            return reference_scores(mask, decode_mask(data, mask.shape).mask)
        except BadItemError as error:
            return reference_scores(mask, None) | {"reference_reason": error.code}
