"""The log of clinicians' corrections in a store: batches that are only ever added, each by one conditional write.

What a correction means belongs to ``cefm_core/reports/corrections.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from cefm_core.errors import ConflictError
from cefm_core.reports.corrections import Correction
from storage import keys
from storage.refs import canonical_json
from storage.store import Store

_TRIES = 100


def add_corrections(store: Store, corrections: Iterable[Correction]) -> int:
    """Add a batch after all that are there; of two callers at once both are kept, one after the other.

    Returns:
        The number of the batch.

    Raises:
        ConflictError: Others were faster a hundred times over.
    """
    body = canonical_json([asdict(correction) for correction in corrections])
    for _ in range(_TRIES):
        found = store.keys_below(keys.CORRECTIONS)
        number = int(found[-1].rsplit("/", 1)[1].removesuffix(".json")) + 1 if found else 1
        if store.put_new(keys.corrections_key(number), body):
            return number
    raise ConflictError(f"store {store.uri}: corrections are being added faster than this one could be; do it again")


def read_log(store: Store) -> list[Correction]:
    """Return every correction ever made, oldest first."""
    return [Correction(**entry) for key in store.keys_below(keys.CORRECTIONS) for entry in store.read_json(key)]
