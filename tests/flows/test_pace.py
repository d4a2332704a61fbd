import pytest

from flows.pace import Pace
from storage.store import Store
from storage.versions import publish


def stage(name, worked, reused, seconds):
    return {"name": name, "in": worked + reused, "reused": reused, "seconds": seconds}


@pytest.fixture
def pace(tmp_path):
    store = Store.open(str(tmp_path))
    runs = {
        "run-1": [stage("embed_images", 100, 0, 50.0), stage("train_alignment", 100, 0, 7.0)],
        "run-2": [stage("embed_images", 1, 100, 9.0), stage("train_alignment", 0, 101, 0.1)],
    }
    for number, (run_id, stages) in enumerate(runs.items()):
        store.put_json(f"runs/{run_id}/run.json", {"stages": stages})
        publish(store, number, run_id, {"manifest": store.put(f"tables/{number}", run_id.encode())}, "source")
    return Pace(store)


def test_the_run_that_worked_on_most_sets_the_pace(pace):
    assert pace.rows("embed_images", 10) == 5.0
    assert pace.rows("embed_images", 0) == 0.0
    assert pace.rows("measure_abc", 10) is None


def test_a_cached_stage_says_nothing_of_its_time(pace):
    assert pace.tables("train_alignment") == 7.0
    assert pace.tables("evaluate_alignment") is None


def test_a_new_store_has_no_pace(tmp_path):
    assert Pace(Store.open(str(tmp_path))).rows("embed_images", 3) is None
