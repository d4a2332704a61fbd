"""changes_page: what a newly published version changed against the one before, as a page beside the run's own."""

from __future__ import annotations

import logging

from cefm_core.errors import IntegrityError
from storage import keys
from storage.comparison import compare_stored, comparison_page
from tasks.context import RunContext
from tasks.stage_task import stage_task

logger = logging.getLogger(__name__)


@stage_task
def changes_page(context: RunContext, before: int, after: int, label: str = "changes page") -> str:
    """Compare two published versions and write the page; return its key, or "" where what the earlier one names is damaged or gone."""
    store = context.open_store()
    try:
        found = compare_stored(store, str(before), str(after))
    except IntegrityError as error:
        logger.warning("no page of changes since version %d: %s", before, error)
        return ""
    key = keys.run_key(context.run_id, "changes.html")
    store.put(key, comparison_page(store, found, str(before), str(after)).encode())
    return key
