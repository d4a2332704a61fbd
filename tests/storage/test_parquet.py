import pyarrow as pa
import pytest

from cefm_core.tables.schema import Column, Table
from storage.parquet import read_rows, write_rows
from storage.store import Store

TABLE = Table(
    "things",
    "stage",
    "A thing",
    (Column("item", "string", "Name"), Column("age", "float", "Age", nullable=True)),
    ("item",),
    per_image=False,
)


def test_equal_rows_are_equal_bytes_in_any_order(tmp_path):
    store = Store.open(str(tmp_path))
    rows = [{"item": "b", "age": 1.0}, {"item": "a", "age": None}]
    assert write_rows(store, TABLE, rows) == write_rows(store, TABLE, rows[::-1])


def test_all_null_and_empty_parts_keep_the_schema(tmp_path):
    store = Store.open(str(tmp_path))
    nulls = write_rows(store, TABLE, [{"item": "a", "age": None}])
    empty = write_rows(store, TABLE, [])
    assert read_rows(store, nulls) == [{"item": "a", "age": None}]
    assert read_rows(store, empty) == []
    assert TABLE.arrow_schema().field("age").type == pa.float64()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"item": None}, "item is null"),
        ({"item": "a", "age": "unknown"}, "column age"),
        ({"item": "a", "size": 1}, "unknown column 'size'"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        write_rows(Store.open(str(tmp_path)), TABLE, [row])
