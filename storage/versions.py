"""Run records and published versions.

A version is an immutable list of references. It is published by one conditional write of the next number, so of two runs that
publish at once exactly one wins and the other stops without having changed anything.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cefm_core.errors import ConfigurationError, ConflictError, IntegrityError
from storage import keys
from storage.refs import FileRef, canonical_json
from storage.store import Store

logger = logging.getLogger(__name__)


def new_run_id() -> str:
    """Return an identifier that sorts by time: ``20260102T030405-1a2b3c``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def latest_number(store: Store) -> int:
    """Return the number of the latest version, 0 where none is published."""
    found = store.keys_below("published")
    return int(found[-1].rsplit("/", 1)[1].removesuffix(".json")) if found else 0


def read_version(store: Store, number: int | None = None) -> dict[str, Any]:
    """Return a published version.

    Args:
        store: The store.
        number: Version number; None means the latest.

    Raises:
        ConfigurationError: No version is published yet.
    """
    number = number or latest_number(store)
    if not number:
        raise ConfigurationError(f"store {store.uri}: nothing is published yet; do `cefm run` on it first")
    return store.read_json(keys.version_key(number))


def whole_versions(store: Store, most: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the published versions whose record is whole, latest first; a damaged one is passed over, since the next run publishes anew.

    Args:
        store: The store.
        most: How many numbers to look at; None looks at all.
    """
    latest = latest_number(store)
    for number in range(latest, 0 if most is None else max(latest - most, 0), -1):
        try:
            yield read_version(store, number)
        except IntegrityError:
            logger.warning("store %s: the record of version %d is damaged and passed over", store.uri, number)


def latest_outputs(store: Store) -> dict[str, FileRef]:
    """Return the references of the latest version whose record is whole, by output name; empty where there is none."""
    latest: dict[str, Any] = next(whole_versions(store), {"outputs": {}})
    return {name: FileRef(**ref) for name, ref in latest["outputs"].items()}


def read_outputs(store: Store, number: int | None = None) -> dict[str, FileRef]:
    """Return the references of a published version, by output name."""
    return {name: FileRef(**ref) for name, ref in read_version(store, number)["outputs"].items()}


def record_run(store: Store, run_id: str, record: dict[str, Any]) -> None:
    """Write the record of a finished run: counts, outputs, settings, commit."""
    store.put_json(keys.run_key(run_id, "run.json"), record)


def outputs_of(store: Store, name: str) -> dict[str, FileRef]:
    """Return the references of a version (by number) or of a run (by its id).

    Raises:
        ConfigurationError: There is no such version or run.
    """
    key = keys.version_key(int(name)) if name.isdigit() else keys.run_key(name, "run.json")
    try:
        return {output: FileRef(**ref) for output, ref in store.read_json(key)["outputs"].items()}
    except IntegrityError as error:
        raise ConfigurationError(f"store {store.uri}: no version or run {name}") from error


def publish(store: Store, base: int, run_id: str, outputs: dict[str, FileRef], source: str) -> int:
    """Publish outputs as the version after ``base``; equal outputs publish nothing.

    Args:
        store: The store.
        base: The latest version number when the run began.
        run_id: The run that publishes.
        outputs: References by output name.
        source: URI of the source images that the manifest's relative names belong to.

    Returns:
        The number of the version that now holds these outputs.

    Raises:
        ConflictError: Another run published in the meantime.
    """
    plain = {name: ref.model_dump() for name, ref in sorted(outputs.items())}
    latest = latest_number(store)
    if latest and _published(store, latest) == plain:
        return latest
    body = canonical_json({"number": base + 1, "run_id": run_id, "source": source, "outputs": plain})
    if latest != base or not store.put_new(keys.version_key(base + 1), body):
        raise ConflictError(f"store {store.uri}: another run published version {base + 1} first; run again to publish on top of it")
    return base + 1


def _published(store: Store, number: int) -> Any:
    """Return the outputs of a version, or None where its record is damaged: the next one is published then."""
    try:
        return read_version(store, number)["outputs"]
    except IntegrityError:
        return None
