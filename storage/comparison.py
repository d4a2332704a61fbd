"""Two versions of a store, read for their comparison; what a change means belongs to ``cefm_core/releases``."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cefm_core.errors import ConfigurationError, IntegrityError
from cefm_core.releases.compare import PER_IMAGE, Comparison, compare_versions
from cefm_core.releases.diff_view import VersionFacts
from cefm_core.releases.pages import diff_page
from storage import keys
from storage.parquet import read_arrow
from storage.refs import FileRef
from storage.store import Store
from storage.versions import outputs_of

_TABLES = (*PER_IMAGE, "rejects", "metrics")


def compare_stored(store: Store, before: str, after: str) -> Comparison:
    """Compare two versions (by number) or runs (by id).

    Raises:
        ConfigurationError: There is no such version or run.
    """
    old, new = outputs_of(store, before), outputs_of(store, after)
    read: dict[str, pa.Table] = {}

    def tables(outputs: dict[str, FileRef]) -> dict[str, pa.Table]:
        # A table that both versions share is read once.
        for name in _TABLES:
            if name in outputs and outputs[name].sha256 not in read:
                read[outputs[name].sha256] = read_arrow(store, outputs[name])
        return {name: read[outputs[name].sha256] for name in _TABLES if name in outputs}

    return compare_versions(tables(old), tables(new))


def comparison_page(store: Store, found: Comparison, before: str, after: str) -> str:
    """Return the page of two compared versions; it needs no other file."""
    thumbs = thumbnails(store, [outputs_of(store, name) for name in (after, before)])
    return diff_page(found, version_facts(store, before), version_facts(store, after), thumbs)


def version_facts(store: Store, name: str) -> VersionFacts:
    """Return what names a version or run on a page."""
    if name.isdigit():
        record = store.read_json(keys.version_key(int(name)))
        return VersionFacts(f"version {int(name)}", record["run_id"], record["source"])
    record = store.read_json(keys.run_key(name, "run.json"))
    return VersionFacts(f"run {name}", name, record["context"]["source"])


def thumbnails(store: Store, versions: list[dict[str, FileRef]]) -> Callable[[str], str | None]:
    """Return a function from an image's id to its thumbnail as a ``data:`` URI, from the first of ``versions`` that has one whole."""
    tables = [outputs["reports"] for outputs in versions if "reports" in outputs]
    reports = [_light_reports(store, table) for table, whole in zip(tables, store.holds_all(tables), strict=True) if whole]
    known: dict[str, str | None] = {}

    def find(image_id: str) -> str | None:
        if image_id not in known:
            known[image_id] = next((uri for table in reports if (uri := _thumbnail(store, table, image_id))), None)
        return known[image_id]

    return find


def _light_reports(store: Store, ref: FileRef) -> pa.Table:
    return read_arrow(store, ref).select(["image_id", "thumb_key", "thumb_sha256"])


def _thumbnail(store: Store, reports: pa.Table, image_id: str) -> str | None:
    rows: list[dict[str, Any]] = reports.filter(pc.equal(reports["image_id"], image_id)).to_pylist()
    if not rows:
        return None
    try:
        data = store.get(FileRef(key=rows[0]["thumb_key"], sha256=rows[0]["thumb_sha256"]))
    except (IntegrityError, ConfigurationError):  # a page without one picture is better than none
        return None
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
