"""The store on a real S3 server: races, verified reads, listing, wrong credentials, and the same bytes as on disk."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cefm_core.errors import ConfigurationError, IntegrityError
from flows.full_run import full_run
from storage.source import Source
from storage.store import Store
from tasks.context import RunContext
from tests.flows.services import free_port, s3_environment

SETTINGS = {
    "refine": {"refiner": "none"},
    "alignment": {"seeds": [1], "epochs": 2, "classifier_epochs": 2},
    "evaluation": {"bootstrap_samples": 100},
    "runtime": {"shard_size": 8},
}


@pytest.fixture(scope="module")
def s3_server():
    """Variables of a real S3 server, once it takes objects."""
    environment = s3_environment()
    deadline = time.monotonic() + 60
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        while True:
            try:
                Store.open("s3://derm/start").preflight()
                break
            except ConfigurationError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
    return environment


@pytest.fixture
def s3(s3_server, monkeypatch):
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return s3_server


def test_objects_come_back_verified_and_listed(s3):
    store = Store.open("s3://derm/objects")
    refs = [store.put_object("mask", str(n).encode(), "png") for n in range(30)]
    assert store.get(refs[3]) == b"3"
    assert store.holds_all(refs) == [True] * 30
    assert store.keys_below("objects/mask") == sorted(ref.key for ref in refs)
    assert store.keys_below("nothing") == []
    store.put("objects/лезия ü 01.png", b"x")
    assert "objects/лезия ü 01.png" in store.keys_below("objects")
    assert store.read("objects/лезия ü 01.png") == b"x"


@pytest.mark.parametrize("damage", ["other bytes", "empty", "deleted"])
def test_damaged_object_is_never_returned(s3, damage):
    store = Store.open("s3://derm/damage")
    ref = store.put_object("mask", damage.encode(), "png")
    if damage == "deleted":
        store._backend.delete(ref.key)
    else:
        store.put(ref.key, b"" if damage == "empty" else b"x")
    assert not store.holds(ref)
    with pytest.raises(IntegrityError, match="run again"):
        store.get(ref)


def test_of_many_writers_exactly_one_wins(s3):
    stores = [Store.open("s3://derm/race") for _ in range(8)]
    for round_ in range(10):
        key = f"published/{round_}"
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda n, key=key: stores[n].put_new(key, str(n).encode()), range(8)))
        assert sum(won) == 1
        assert stores[0].read(key) == str(won.index(True)).encode()


def test_preflight_leaves_nothing_behind(s3):
    store = Store.open("s3://derm/preflight-test")
    store.preflight()
    assert store.keys_below("preflight") == []


@pytest.mark.parametrize(
    "wrong", [{"AWS_ACCESS_KEY_ID": "nobody"}, {"AWS_SECRET_ACCESS_KEY": "wrong"}], ids=["unknown key", "wrong secret"]
)
def test_a_wrong_key_is_one_message_at_once(s3, monkeypatch, wrong):
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    with pytest.raises(ConfigurationError, match="store s3://derm/x: an object cannot be written") as fault:
        Store.open("s3://derm/x").preflight()
    with pytest.raises(ConfigurationError, match="source s3://derm/x: cannot be listed"):
        Source("s3://derm/x").names()
    assert time.monotonic() - start < 10
    assert "\n" not in str(fault.value)
    assert "not-a-secret" not in str(fault.value)


def test_no_key_is_one_message_without_asking_anybody(s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigurationError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Store.open("s3://derm/x")


def test_a_server_that_is_not_there_is_given_up(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    start = time.monotonic()
    with pytest.raises(ConfigurationError, match="an object cannot be written"):
        Store.open("s3://derm/x").preflight()
    assert time.monotonic() - start < 60


def test_an_endpoint_with_encryption_is_never_spoken_to_without(s3, monkeypatch):
    """The server speaks plain HTTP; asked for HTTPS, nothing may fall back."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["AWS_ENDPOINT_URL"].replace("http://", "https://"))
    with pytest.raises(ConfigurationError, match="an object cannot be written"):
        Store.open("s3://derm/x").preflight()


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    from cefm_core.phantoms.dataset import write_phantom_dataset

    folder = tmp_path_factory.mktemp("few")
    write_phantom_dataset(folder, 16, 7)
    return folder


@pytest.mark.flow
def test_the_chain_leaves_the_same_bytes_as_on_disk(s3, prefect, few, tmp_path):
    source = Store.open("s3://derm/source")
    for file in few.rglob("*"):
        if file.is_file():
            source.put(file.relative_to(few).as_posix(), file.read_bytes())
    common = {"config": SETTINGS, "run_id": "20260101T000000-abcdef"}
    local = full_run(RunContext(store=str(tmp_path / "local"), source=str(few), metadata=str(few / "metadata.csv"), **common))
    remote = full_run(RunContext(store="s3://derm/chain", source="s3://derm/source", metadata="s3://derm/source/metadata.csv", **common))
    assert remote.outputs == local.outputs
    ours, theirs = Store.open(str(tmp_path / "local")), Store.open("s3://derm/chain")
    for prefix in ("objects", "tables"):
        names = ours.keys_below(prefix)
        assert names and theirs.keys_below(prefix) == names
    assert all(theirs.read(key) == ours.read(key) for key in ours.keys_below("tables"))
    again = full_run(
        RunContext(store="s3://derm/chain", source="s3://derm/source", metadata="s3://derm/source/metadata.csv", config=SETTINGS)
    )
    assert all(stage["cached"] for stage in again.stages)
