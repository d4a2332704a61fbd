"""The chain for one new image, with the latest published model of a store."""

from __future__ import annotations

from typing import Any

import numpy as np

from cefm_core.config import CefmConfig
from cefm_core.tables import predictions
from cefm_core.tables.schema import Table
from storage.store import Store
from storage.versions import read_outputs

Row = dict[str, Any]


def table() -> Table:
    """Return the declaration of what is written: the predictions table; a new image has no split and no target."""
    return predictions.TABLE


class Predictor:
    """Models and checkpoint, loaded once."""

    def __init__(self, config: CefmConfig, checkpoint: Any, segmenter: Any, refiner: Any, encoder: Any) -> None:
        self._config = config
        self._checkpoint = checkpoint
        self._segmenter = segmenter
        self._refiner = refiner
        self._encoder = encoder

    @classmethod
    def load(cls, store: str, config: CefmConfig) -> Predictor:
        """Load the latest published checkpoint and the networks before it.

        Raises:
            ConfigurationError: Nothing is published, or the encoder configured is not the one the checkpoint was trained with.
        """
        from cefm_core.alignment.checkpoint import checkpoint_from_bytes
        from cefm_core.alignment.encoder import Encoder
        from cefm_core.device import resolve_device
        from cefm_core.segmentation.coarse import CoarseSegmenter
        from cefm_core.segmentation.refine import MaskRefiner
        from flows.upstream import needed_from

        opened = Store.open(store)
        checkpoint = checkpoint_from_bytes(opened.get(needed_from(opened.uri, read_outputs(opened), "checkpoint")["checkpoint"]))
        device = resolve_device(config.runtime.device)
        encoder = Encoder.load(config.embed, device)
        return cls(config, checkpoint, CoarseSegmenter.load(config.coarse, device), MaskRefiner.load(config.refine, device), encoder)

    def row(self, image_id: str, rgb: np.ndarray) -> Row:
        """Return the prediction of one image, uint8 (H, W, 3) RGB, as a row without lineage."""
        from cefm_core.abc_features.measure import measure_abc
        from cefm_core.alignment.data import AlignmentData
        from cefm_core.alignment.predict import predict

        coarse = self._segmenter.segment([rgb])[0]
        refined = self._refiner.refine(rgb, coarse.mask, coarse.row["confidence"])
        mask = refined.mask
        known = {"image_id": image_id}
        abc = measure_abc(rgb, mask, self._config.abc, mask_confidence=refined.row["mask_confidence"]) | known
        embedding = self._encoder.rows([rgb], [mask])[0] | known
        data = AlignmentData.from_rows([known], [embedding], [abc], self._checkpoint.facts["profile"])
        return predict(self._checkpoint, data)[0]
