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
        self._vectors: dict[str, np.ndarray] = {}
        self._fingerprint = STAGE.fingerprint(context.config).digest
        if table is not None and encoder_digest(context.config.embed) == encoder_digest(settings):
            store = context.open_store()
            self._vectors = once_per_process(f"embeddings:{table.sha256}", lambda: _read(store, table))

    def find(self, item: Row) -> np.ndarray | None:
        """Return the vector of a work item that has the inputs of ``embed_images``, float32 (d,); None where none is stored."""
        if not self._vectors:
            return None
        inputs = {name: value for name, value in item.items() if name != "row_key"}
        return self._vectors.get(row_key(self._fingerprint, inputs))


def _read(store: Store, table: FileRef) -> dict[str, np.ndarray]:
    """Return the vectors of a table by row key; they share one block of memory."""
    found = read_arrow(store, table)
    keys = found.column("row_key").to_pylist()
    flat = found.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return dict(zip(keys, flat.reshape(len(keys), -1), strict=True)) if keys else {}
