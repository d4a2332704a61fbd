"""Gates in a store: what a table is compared with, what operators decided, and the outcomes of past runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cefm_core.errors import IntegrityError
from cefm_core.releases.checks import TABLE
from storage import keys
from storage.parquet import table_bytes
from storage.refs import FileRef, canonical_json
from storage.store import Store
from storage.versions import whole_versions


@dataclass(frozen=True)
class Baseline:
    """A table of the latest published version.

    Attributes:
        version: Number of the version.
        table: The table there.
        items: Items that entered its stage in the run that published it; 0 where that is not recorded.
        rejected: How many of them were rejected.
    """

    version: int
    table: FileRef
    items: int
    rejected: int


def read_baseline(store: Store, table: str) -> Baseline | None:
    """Return the table of the latest version that is whole, or None where there is none."""
    version = next(whole_versions(store), None)
    if version is None or table not in version["outputs"]:
        return None
    counts = next((row for row in _past(store, version["run_id"], "gates.json") if row["table"] == table), {"rows": 0, "rejected": 0})
    return Baseline(version["number"], FileRef(**version["outputs"][table]), counts["rows"] + counts["rejected"], counts["rejected"])


def write_gates(store: Store, run_id: str, gates: list[dict[str, Any]]) -> FileRef:
    """Write the outcomes of a run's gates: the counts as JSON, every check as a table.

    Args:
        store: The store.
        run_id: The run.
        gates: Summaries of ``check_table``, each with ``decision`` and ``reason`` where an operator was asked.
    """
    counts = [{name: gate[name] for name in ("table", "rows", "rejected", "expectations")} | _tally(gate) for gate in gates]
    store.put_json(keys.run_key(run_id, "gates.json"), counts)
    rows = [
        check | {"table": gate["table"]} | (_decided(gate) if check["severity"] == "ask" and not check["passed"] else {})
        for gate in gates
        for check in store.read_json(gate["gate"]["key"])["checks"]
    ]
    rows.sort(key=lambda row: (row["table"], row["rule"], row["column"]))
    return store.put(keys.run_key(run_id, "gates.parquet"), table_bytes(TABLE.to_arrow(rows)))


def read_history(store: Store, most: int = 12) -> list[dict[str, Any]]:
    """Return, latest first, each published version's number, run and gate counts; a version without recorded gates has none."""
    return [
        {"version": v["number"], "run_id": v["run_id"], "gates": _past(store, v["run_id"], "gates.json")}
        for v in whole_versions(store, most)
    ]


def read_decision(store: Store, key: str) -> dict[str, Any] | None:
    """Return what was decided about these very findings before, or None."""
    try:
        return store.read_json(keys.decision_key(key))
    except IntegrityError:
        return None


def record_decision(store: Store, key: str, run_id: str, table: str, findings: list[str], decision: str, reason: str) -> dict[str, Any]:
    """Keep an operator's decision and its reason for good; of two at once the first stands and is returned."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    body = {"table": table, "findings": findings, "decision": decision, "reason": reason, "run_id": run_id, "at": at}
    store.put_new(keys.decision_key(key), canonical_json(body))
    return store.read_json(keys.decision_key(key))


def _tally(gate: dict[str, Any]) -> dict[str, int]:
    return {name: len(gate[name]) for name in ("failures", "warnings", "asks")}


def _decided(gate: dict[str, Any]) -> dict[str, Any]:
    return {name: gate.get(name) for name in ("decision", "reason")}


def _past(store: Store, run_id: str, name: str) -> list[dict[str, Any]]:
    try:
        return store.read_json(keys.run_key(run_id, name))
    except IntegrityError:
        return []
