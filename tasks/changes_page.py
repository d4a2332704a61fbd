"""changes_page: what a newly published version changed against the one before, as a page beside the run's own."""

from __future__ import annotations

from storage import keys
from storage.comparison import compare_stored, comparison_page
from tasks.context import RunContext
from tasks.stage_task import stage_task


@stage_task
def changes_page(context: RunContext, before: int, after: int, label: str = "changes page") -> str:
    """Compare two published versions and write the page; return its key."""
    store = context.open_store()
    found = compare_stored(store, str(before), str(after))
    key = keys.run_key(context.run_id, "changes.html")
    store.put(key, comparison_page(store, found, str(before), str(after)).encode())
    return key
