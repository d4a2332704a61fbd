import math

import pandas as pd
import pytest

from cefm_core.tables.schema import Column, Table
from tasks.check_table import evaluate_gate

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


def test_a_good_table_passes():
    failures, evaluated = evaluate_gate(frame(), TABLE, 2)
    assert failures == []
    assert evaluated >= 10


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
    failures, _ = evaluate_gate(frame(**changes), TABLE, 2)
    assert len(failures) == 1
    assert word in failures[0]


def test_offending_rows_are_named():
    failures, _ = evaluate_gate(frame(kind=["a", "c"]), TABLE, 2)
    assert "e.g. y" in failures[0]


def test_a_missing_column_is_said_first():
    failures, _ = evaluate_gate(frame().drop(columns="weight"), TABLE, 2)
    assert failures == ["column weight missing"]


def test_an_empty_table_and_a_wrong_count_fail():
    assert evaluate_gate(frame().iloc[:0], TABLE, 0)[0] == ["the table is empty"]
    assert "row count" in evaluate_gate(frame(), TABLE, 3)[0][0]
