"""``cefm diff``: what changed between two runs or versions; read-only credentials suffice."""

from __future__ import annotations

import json
from pathlib import Path

from flows.console import say
from storage.store import Store


def diff(before: str, after: str, store: str, page: Path | None, table: Path | None, as_json: bool) -> None:
    """Print what changed; write a page that needs no other file, and a Parquet file with one row for each change, where asked for."""
    from cefm_core.releases import listing
    from storage.comparison import compare_stored, comparison_page
    from storage.files import write_whole
    from storage.parquet import table_bytes

    opened = Store.open(store)
    found = compare_stored(opened, before, after)
    if as_json:
        print(json.dumps({"before": before, "after": after} | listing.as_json(found)))
    else:
        print("\n".join(listing.as_lines(found)))
    if page is not None:
        write_whole(page, comparison_page(opened, found, before, after).encode())
        say(f"page: {page}")
    if table is not None:
        write_whole(table, table_bytes(listing.changes_table(found)))
        say(f"table: {table}")
