import math

import pandas as pd
import pytest

from cefm_core.tables.schema import Column, Table
from tasks.check_table import contract_checks

TABLE = Table(
    "things",
    "stage",
    "A thing",
    (
        Column("item", "string", "Name"),
        Column("share", "float", "Share", minimum=0, maximum=1, nullable=True, reason_column="reason"),
        Column("weight", "float", "Weight"),
        Column("kind", "string", "Kind", allowed=("a", "b")),
        Column("reason", "string", "Why", nullable=True),
        Column("tags", "strings", "Tags"),
    ),
    ("item",),
    per_image=False,
)


def frame(**changes):
    columns = {
        "item": ["x", "y"],
        "share": [0.5, None],
        "weight": [1.0, 2.0],
        "kind": ["a", "b"],
        "reason": [None, "too_small"],
        "tags": [["t"], []],
    }
    return pd.DataFrame(columns | changes)


def failures(checked, rows=2):
    return [check.line for check in contract_checks(checked, TABLE, rows) if not check.passed]


def test_a_good_table_passes():
    checks = contract_checks(frame(), TABLE, 2)
    assert all(check.passed for check in checks)
    assert len(checks) >= 10


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"item": ["x", "x"]}, "unique"),
        ({"share": [1.5, None]}, "share"),
        ({"weight": [1.0, None]}, "weight"),
        ({"weight": [None, None]}, "weight"),
        ({"weight": [1.0, math.inf]}, "weight"),
        ({"kind": ["a", "c"]}, "kind"),
        ({"reason": [None, None]}, "share is null without a reason"),
    ],
)
def test_a_bad_table_fails_and_names_the_column(changes, word):
    found = failures(frame(**changes))
    assert len(found) == 1
    assert word in found[0]


def test_offending_rows_are_named():
    assert "1 rows, e.g. y" in failures(frame(kind=["a", "c"]))[0]


def test_a_missing_column_is_said_first():
    assert failures(frame().drop(columns="weight")) == ["column weight missing"]


def test_an_empty_table_and_a_wrong_count_fail():
    assert failures(frame().iloc[:0], 0) == ["the table is empty"]
    assert "row count" in failures(frame(), 3)[0]
