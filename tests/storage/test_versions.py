import pytest

from cefm_core.errors import ConfigurationError, ConflictError
from storage.keys import version_key
from storage.refs import FileRef
from storage.store import Store
from storage.versions import latest_number, publish, read_outputs, whole_versions

OUTPUTS = {"manifest": FileRef(key="tables/manifest/a.parquet", sha256="a")}
OTHER = {"manifest": FileRef(key="tables/manifest/b.parquet", sha256="b")}


def test_nothing_published_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigurationError, match="cefm run"):
        read_outputs(Store.open(str(tmp_path)))


def test_equal_outputs_publish_nothing_new(tmp_path):
    store = Store.open(str(tmp_path))
    assert publish(store, 0, "run-1", OUTPUTS, "file:///images") == 1
    assert publish(store, 1, "run-2", OUTPUTS, "file:///images") == 1
    assert publish(store, 1, "run-3", OTHER, "file:///images") == 2
    assert read_outputs(store) == OTHER
    assert read_outputs(store, 1) == OUTPUTS


def test_the_loser_of_a_race_changes_nothing(tmp_path):
    store = Store.open(str(tmp_path))
    publish(store, 0, "first", OUTPUTS, "file:///images")
    with pytest.raises(ConflictError, match="version 1 first"):
        publish(store, 0, "second", OTHER, "file:///images")
    assert latest_number(store) == 1
    assert read_outputs(store) == OUTPUTS


def test_a_damaged_record_is_passed_over(tmp_path):
    store = Store.open(str(tmp_path))
    for number, outputs in ((1, OUTPUTS), (2, OTHER), (3, OUTPUTS)):
        publish(store, number - 1, f"run-{number}", outputs, "file:///images")
    store.put(version_key(3), b'{"number": 3')
    assert [version["number"] for version in whole_versions(store)] == [2, 1]
    assert [version["number"] for version in whole_versions(store, most=2)] == [2]
