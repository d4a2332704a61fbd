"""How fast the stages of a store's past runs were, for the estimate of a dry run."""

from __future__ import annotations

from typing import Any

from cefm_core.errors import IntegrityError
from storage import keys
from storage.store import Store
from storage.versions import latest_number, read_version

_VERSIONS = 5


class Pace:
    """Seconds an item of each stage, as the runs behind the last published versions needed them."""

    def __init__(self, store: Store) -> None:
        self._past = list(_past_stages(store))

    def rows(self, stage: str, missing: int) -> float | None:
        """Return how long ``missing`` images would take, at the pace of the past run that worked on most; None where there is none."""
        if not missing:
            return 0.0
        worked, seconds = max(((run["in"] - run["reused"], run["seconds"]) for run in self._of(stage)), default=(0, 0.0))
        return round(seconds / worked * missing, 1) if worked else None

    def tables(self, stage: str) -> float | None:
        """Return the longest that a stage over whole tables took; None where it never ran."""
        return max((run["seconds"] for run in self._of(stage)), default=None)

    def _of(self, stage: str) -> list[dict[str, Any]]:
        return [run for run in self._past if run["name"] == stage and run["in"] > run["reused"]]


def _past_stages(store: Store) -> list[dict[str, Any]]:
    """Return what the stages of past runs did; a run without a full record tells nothing."""
    latest = latest_number(store)
    found: list[dict[str, Any]] = []
    for number in range(latest, max(latest - _VERSIONS, 0), -1):
        try:
            found += store.read_json(keys.run_key(read_version(store, number)["run_id"], "run.json")).get("stages", [])
        except IntegrityError:
            continue
    return found
