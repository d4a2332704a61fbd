"""Every table is declared completely."""

import re

import pytest

from cefm_core.tables.docs import declared_tables, tables_markdown
from cefm_core.tables.schema import TYPES
from tests.architecture.sources import ROOT

TABLES = declared_tables()
UNITS = {"_px": ("px", "pixel"), "_deg": ("degree", "deg"), "_bytes": ("byte",), "_years": ("year",), "_mm": ("mm", "millimet")}


@pytest.fixture(params=TABLES, ids=lambda table: table.name)
def table(request):
    return request.param


def test_every_module_holds_one_table_of_its_own_name():
    names = {path.stem for path in (ROOT / "cefm_core" / "tables").glob("*.py")} - {"__init__", "schema", "docs"}
    assert {table.name for table in TABLES} == names


def test_every_column_is_described(table):
    for column in table.columns:
        assert column.type in TYPES
        assert column.description.strip() == column.description != "", column.name
        assert column.description.lower().replace(" ", "_") != column.name, f"{column.name} is described by its own name"


def test_keys_and_reason_columns_exist(table):
    names = {column.name for column in table.columns}
    assert table.primary_key and set(table.primary_key) <= names
    for column in table.columns:
        assert not (column.name in table.primary_key and column.nullable), f"{column.name} is a key and may be null"
        if column.reason_column:
            reason = table.column(column.reason_column)
            assert column.nullable and reason.type in ("string", "strings"), column.name


def test_a_number_that_may_be_null_says_why(table):
    numbers = [c for c in table.columns if c.nullable and c.type in ("float", "int", "floats", "vector")]
    silent = [c.name for c in numbers if not c.reason_column and "null" not in c.description.lower()]
    assert silent == []


def test_ranges_and_allowed_values_make_sense(table):
    for column in table.columns:
        if column.minimum is not None and column.maximum is not None:
            assert column.minimum < column.maximum, column.name
        if column.allowed is not None:
            assert column.type in ("string", "strings") and len(set(column.allowed)) == len(column.allowed) > 0, column.name
        if column.name.endswith("_share") and column.type == "float":
            assert (column.minimum, column.maximum) == (0, 1), column.name


def test_names_that_end_in_a_unit_have_it(table):
    wrong = [
        column.name
        for column in table.columns
        for suffix, words in UNITS.items()
        if column.name.endswith(suffix) and column.type in ("float", "int") and not any(word in column.unit for word in words)
    ]
    assert wrong == []


def test_the_page_holds_every_table_and_column():
    page = tables_markdown()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S))
    assert list(sections) == [table.name for table in TABLES]
    for table in TABLES:
        lineage = {"image_sha256", "row_key"} if table.per_image else set()
        for column in table.columns:
            if column.name not in lineage:
                assert f"| `{column.name}` |" in sections[table.name], (table.name, column.name)
