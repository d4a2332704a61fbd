import pytest

from storage.gates import read_baseline, read_decision, read_history, record_decision, write_gates
from storage.store import Store
from storage.versions import publish


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path))


def gate(store, table="manifest", **changes):
    said = {"observed": None, "limit": None, "offending": 0, "examples": [], "message": "m"}
    checks = [
        said | {"rule": "drift", "column": "age", "severity": "ask", "passed": False, "observed": 0.5, "limit": 0.25, "examples": ["a"]},
        said | {"rule": "rows", "column": "", "severity": "stop", "passed": True},
    ]
    ref = store.put_json("objects/gates/00/x.json", {"checks": checks})
    said = {"failures": [], "warnings": [], "asks": ["m"], "gate": ref.model_dump()}
    return {"table": table, "rows": 9, "rejected": 1, "expectations": 2} | said | changes


def test_a_store_without_versions_has_nothing_to_compare_with(store):
    assert read_baseline(store, "manifest") is None
    assert read_history(store) == []


def test_the_baseline_is_the_latest_version_with_its_counts(store):
    write_gates(store, "run-1", [gate(store)])
    table = store.put("tables/manifest/1.parquet", b"1")
    publish(store, 0, "run-1", {"manifest": table}, "s")
    baseline = read_baseline(store, "manifest")
    assert (baseline.version, baseline.table, baseline.items, baseline.rejected) == (1, table, 10, 1)
    assert read_baseline(store, "reports") is None


def test_every_check_is_kept_with_the_decision_on_those_that_asked(store):
    import pyarrow.parquet as pq

    ref = write_gates(store, "run-1", [gate(store, decision="go_on", reason="known camera")])
    rows = {row["rule"]: row for row in pq.read_table(store.uri.removeprefix("file://") + "/" + ref.key).to_pylist()}
    assert (rows["drift"]["decision"], rows["drift"]["reason"]) == ("go_on", "known camera")
    assert rows["rows"]["decision"] is None and rows["rows"]["passed"]


def test_the_first_of_two_decisions_stands(store):
    assert read_decision(store, "k") is None
    first = record_decision(store, "k", "run-1", "manifest", ["m"], "go_on", "known")
    assert record_decision(store, "k", "run-2", "manifest", ["m"], "stop", "late") == first
    assert read_decision(store, "k")["reason"] == "known"


def test_history_is_latest_first_and_survives_a_run_without_a_record(store):
    for number in range(3):
        if number != 1:
            write_gates(store, f"run-{number}", [gate(store)])
        publish(store, number, f"run-{number}", {"manifest": store.put(f"t/{number}", str(number).encode())}, "s")
    history = read_history(store, most=2)
    assert [(entry["version"], len(entry["gates"])) for entry in history] == [(3, 1), (2, 0)]
