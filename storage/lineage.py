"""Where a digest is used: from a mask, a page, a model or source bytes back to the images and versions that rest on it."""

from __future__ import annotations

import re
from typing import Any

import pyarrow.compute as pc

from storage.parquet import read_arrow
from storage.store import Store
from storage.versions import latest_number, read_outputs, read_version

_DIGEST_COLUMN = re.compile(r"(_sha256|_key)$")
_SHOWN = 50


def is_digest(text: str) -> bool:
    """Return whether the text is a whole SHA-256, or a key of the store that ends in one."""
    return re.search(r"(^|/)[0-9a-f]{64}(\.[a-z0-9]+)?$", text) is not None


def uses_of(store: Store, text: str) -> dict[str, Any]:
    """Find everything that names a digest.

    Args:
        store: The store.
        text: A digest, or a key that ends in one.

    Returns:
        ``digest``; ``outputs``: names of the outputs that are this object, with the versions; ``rows``: for each table and
        column of the latest version the images whose row names it (the first 50) and how many there are.
    """
    match = re.search(r"[0-9a-f]{64}", text)
    digest = match.group(0) if match else text
    outputs: dict[str, list[int]] = {}
    for number in range(1, latest_number(store) + 1):
        for name, ref in read_version(store, number)["outputs"].items():
            if ref["sha256"] == digest:
                outputs.setdefault(name, []).append(number)
    return {"digest": digest, "outputs": outputs, "rows": _rows(store, digest)}


def _rows(store: Store, digest: str) -> dict[str, dict[str, Any]]:
    found = {}
    for name, ref in read_outputs(store).items():
        if not ref.key.endswith(".parquet"):
            continue
        table = read_arrow(store, ref)
        for column in [c for c in table.column_names if "image_id" in table.column_names and _DIGEST_COLUMN.search(c)]:
            named = pc.fill_null(pc.match_substring(table[column], digest), False)
            ids = table.filter(named)["image_id"].to_pylist()
            if ids:
                found[f"{name}.{column}"] = {"count": len(ids), "images": ids[:_SHOWN]}
    return found
