"""The log of corrections: nothing is lost when several write at once, and the order stays."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cefm_core.errors import ConflictError
from cefm_core.reports.corrections import Correction
from storage.corrections import add_corrections, read_log
from storage.store import Store


def made(number):
    return [Correction(f"image-{number}", "abc.border_score", "level", 2, "4; level 3", "R1"), Correction("x", "quality.flags", "wrong")]


def test_an_empty_store_has_no_corrections(tmp_path):
    assert read_log(Store.open(str(tmp_path))) == []


def test_batches_are_read_in_the_order_they_were_added(tmp_path):
    store = Store.open(str(tmp_path))
    assert [add_corrections(store, made(n)) for n in range(12)] == list(range(1, 13))
    assert read_log(store) == [each for n in range(12) for each in made(n)]


def test_of_many_writers_at_once_none_loses_its_batch(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: add_corrections(Store.open(str(tmp_path)), made(n)), range(24)))
    assert sorted(numbers) == list(range(1, 25))
    log = read_log(Store.open(str(tmp_path)))
    assert sorted(each.image_id for each in log if each.image_id != "x") == sorted(f"image-{n}" for n in range(24))


def test_a_writer_that_never_wins_says_so(tmp_path, monkeypatch):
    store = Store.open(str(tmp_path))
    monkeypatch.setattr(store, "put_new", lambda key, data: False)
    with pytest.raises(ConflictError, match="do it again"):
        add_corrections(store, made(1))
