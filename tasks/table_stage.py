"""How a stage runs over whole tables: look its outputs up by key, or make them and record them.

The record is written last, so a killed stage leaves nothing that could be taken for a result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from cefm_core.errors import IntegrityError
from storage import keys
from storage.refs import FileRef, digest_of
from storage.store import Store
from tasks.caching import Fingerprint, write_down
from tasks.context import RunContext

logger = logging.getLogger(__name__)


class Outputs(BaseModel):
    """What a whole-table stage made.

    Attributes:
        files: Reference by output name.
        summary: Small facts for people and for the run record.
        cached: Whether nothing had to be computed.
    """

    files: dict[str, FileRef]
    summary: dict[str, Any] = {}
    cached: bool = False


def remember(context: RunContext, print_: Fingerprint, inputs: dict[str, Any], make: Callable[[Store], Outputs], name: str = "") -> Outputs:
    """Return the recorded outputs of a stage for these inputs, or make and record them.

    Args:
        context: The run.
        print_: The stage's fingerprint.
        inputs: Digests and values that, with the fingerprint, decide the outputs; plain JSON.
        make: Computes the outputs.
        name: Name under which the record is kept, where a stage keeps several kinds.
    """
    store = context.open_store()
    key = record_key(print_, inputs, name)
    write_down(store, print_)
    found = None if context.computes_anew(print_.stage) else recorded(store, key)
    if found is not None:
        return found.model_copy(update={"cached": True})
    outputs = make(store)
    record(store, key, outputs)
    return outputs


def record_key(print_: Fingerprint, inputs: dict[str, Any], name: str = "") -> str:
    """Key of the record of a stage's outputs for these inputs; arguments as for :func:`remember`."""
    return keys.cache_key(name or print_.stage, digest_of([print_.digest, inputs]))


def record(store: Store, key: str, outputs: Outputs) -> None:
    """Write down under ``key`` what a stage made."""
    plain = outputs.model_dump(exclude={"cached"})
    store.put_json(key, {"outputs": plain, "sha256": digest_of(plain)})


def recorded(store: Store, key: str) -> Outputs | None:
    """Return what a stage made, where it is written down and every output is there as it was; else None."""
    try:
        held = store.read_json(key)
        if held["sha256"] != digest_of(held["outputs"]):
            raise IntegrityError(f"{key} is altered")
        outputs = Outputs(**held["outputs"])
    except (IntegrityError, ValueError, KeyError, TypeError):
        return None
    if not all(store.holds_all(list(outputs.files.values()))):
        logger.warning("%s: an output is missing or altered and will be re-made", key)
        return None
    return outputs
