"""Embeddings that an earlier stage of the run stored, for a stage that would otherwise compute the same ones again."""

from __future__ import annotations

from typing import Any

import numpy as np

from cefm_core.alignment.encoder_source import encoder_digest
from cefm_core.config import EmbedConfig
from storage.parquet import read_arrow
from storage.refs import FileRef
from storage.store import Store
from tasks.caching import row_key
from tasks.context import RunContext, once_per_process
from tasks.embed_images import STAGE

Row = dict[str, Any]


class StoredEmbeddings:
    """Vectors by image, each only for exactly the image, mask, weights, settings and code that it was made with."""

    def __init__(self, context: RunContext, table: FileRef | None, settings: EmbedConfig) -> None:
        """Open a table of embeddings.

        Args:
            context: The run.
            table: The table ``embeddings``; without one nothing is found.
            settings: The encoder whose embeddings are wanted; where the run's differ, nothing is found.
        """
        self._rows: dict[str, int] = {}
        if table is None or encoder_digest(context.config.embed) != encoder_digest(settings):
            return
        self._fingerprint = STAGE.fingerprint(context.config).digest
        store = context.open_store()
        self._rows, self._vectors = once_per_process(f"embeddings:{table.sha256}", lambda: _read(store, table))

    def find(self, item: Row) -> np.ndarray | None:
        """Return the vector of a work item that has the inputs of ``embed_images``, float32 (d,); None where none is stored."""
        if not self._rows:
            return None
        inputs = {name: value for name, value in item.items() if name != "row_key"}
        index = self._rows.get(row_key(self._fingerprint, inputs))
        return None if index is None else self._vectors[index]


def _read(store: Store, table: FileRef) -> tuple[dict[str, int], np.ndarray]:
    found = read_arrow(store, table)
    keys = found.column("row_key").to_pylist()
    column = found.column("vector").combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(keys), -1) if keys else np.zeros((0, 0), np.float32)
    return {key: index for index, key in enumerate(keys)}, vectors
