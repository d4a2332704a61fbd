"""What a store remembers of answers and of batches under way, so that no run asks twice for what is paid for."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cefm_core.errors import IntegrityError
from storage import keys
from storage.refs import digest_of
from storage.store import Store
from tasks.llm_writer import ANSWERS

logger = logging.getLogger(__name__)
_OPEN, _DONE = "llm_batch", "llm_batch_done"


class Batch(BaseModel):
    """One batch of requests; stored before it is asked for, and again as soon as it has an id.

    Attributes:
        base_url: The provider's address.
        file: The provider's id of the file of requests.
        batch: The provider's id of the batch; None where it is not known whether it was started.
        asked: Estimated tokens of each request, by the digest that it is asked under.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str
    file: str
    batch: str | None
    asked: dict[str, int]

    @property
    def digest(self) -> str:
        """What the record is called."""
        return digest_of([self.base_url, self.file])


def remember(store: Store, batch: Batch) -> None:
    """Store a batch that is under way."""
    store.put_json(keys.cache_key(_OPEN, batch.digest), batch.model_dump())


def mark_done(store: Store, batch: Batch, outcome: dict[str, Any]) -> None:
    """Store that nothing more is to be had from a batch."""
    store.put_json(keys.cache_key(_DONE, batch.digest), outcome)


def under_way(store: Store, base_url: str) -> list[Batch]:
    """Return the batches of a provider that are not marked as done; a record that cannot be read counts as never written."""
    done = _names(store, _DONE)
    found = []
    for name in sorted(_names(store, _OPEN) - done):
        try:
            batch = Batch.model_validate(store.read_json(keys.cache_key(_OPEN, name)))
        except (IntegrityError, ValidationError) as error:
            logger.warning("the record of batch %s is not believed (%s)", name, type(error).__name__)
            continue
        if batch.base_url == base_url:
            found.append(batch)
    return found


def stored_answers(store: Store) -> set[str]:
    """Return the digests of all answers that the store has."""
    return _names(store, ANSWERS)


def _names(store: Store, kind: str) -> set[str]:
    return {key.rsplit("/", 1)[-1].removesuffix(".json") for key in store.keys_below(keys.cache_folder(kind))}
