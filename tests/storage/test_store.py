from concurrent.futures import ThreadPoolExecutor

import pytest

from cefm_core.errors import ConfigurationError, IntegrityError
from storage.refs import FileRef, canonical_json, digest_of
from storage.store import Store


def test_object_lies_under_its_digest_and_reads_back(tmp_path):
    store = Store.open(str(tmp_path))
    ref = store.put_object("mask", b"bytes", "png")
    assert ref.sha256 in ref.key
    assert store.get(ref) == b"bytes"
    assert store.put_object("mask", b"bytes", "png") == ref


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "delete"])
def test_damaged_object_is_never_returned(tmp_path, damage):
    store = Store.open(str(tmp_path))
    ref = store.put_object("mask", b"some bytes", "png")
    file = tmp_path / ref.key
    data = file.read_bytes()
    if damage == "delete":
        file.unlink()
    else:
        file.write_bytes({"flip": bytes([data[0] ^ 1]) + data[1:], "cut": data[:-1], "empty": b""}[damage])
    assert not store.holds(ref)
    with pytest.raises(IntegrityError, match="run again"):
        store.get(ref)


def test_of_many_writers_exactly_one_wins(tmp_path):
    store = Store.open(str(tmp_path))
    for round_ in range(20):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda n, key=f"published/{round_}": store.put_new(key, str(n).encode()), range(8)))
        assert sum(won) == 1
        assert store.read(f"published/{round_}") == str(won.index(True)).encode()


def test_non_ascii_keys_round_trip(tmp_path):
    store = Store.open(str(tmp_path))
    store.put("objects/лезия ü 01.png", b"x")
    assert store.keys_below("objects") == ["objects/лезия ü 01.png"]
    assert store.read("objects/лезия ü 01.png") == b"x"


def test_store_that_cannot_be_written_is_one_clear_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        Store.open(str(blocked / "store"))


def test_preflight_leaves_nothing_behind(tmp_path):
    store = Store.open(str(tmp_path))
    store.preflight()
    assert store.keys_below("preflight") == []


def test_canonical_json_refuses_what_is_not_stable():
    for value in ({1, 2}, float("nan"), b"bytes"):
        with pytest.raises((TypeError, ValueError)):
            canonical_json({"value": value})
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 1.0}) != digest_of({"a": True})


def test_reference_is_plain():
    assert FileRef(key="k", sha256="s").model_dump() == {"key": "k", "sha256": "s"}
