"""Rules against the version before, on samples whose difference is known."""

import numpy as np
import pandas as pd
import pytest

from cefm_core.config import GatesConfig
from cefm_core.releases.drift import compare_with_previous, reject_rise
from cefm_core.tables.schema import Column, Table

TABLE = Table(
    "things",
    "stage",
    "A thing",
    (
        Column("image_id", "string", "Name"),
        Column("size", "float", "Size", nullable=True, reason_column="kind"),
        Column("kind", "string", "Kind", allowed=("a", "b", "c")),
        Column("target", "int", "Label", minimum=0, maximum=1, nullable=True, reason_column="kind"),
        Column("flags", "strings", "Flags"),
    ),
)
CONFIG = GatesConfig()


def rows(count, seed, start=0, shift=0.0, missing=0.0, kinds=(0.5, 0.5, 0.0), melanoma=0.2, blurred=0.1):
    rng = np.random.default_rng(seed)
    ids = [f"i{start + k:05}" for k in range(count)]
    size = rng.normal(shift, 1, count)
    size[rng.random(count) < missing] = np.nan
    return pd.DataFrame(
        {
            "image_id": ids,
            "size": size,
            "kind": rng.choice(list("abc"), count, p=kinds),
            "target": (rng.random(count) < melanoma).astype(float),
            "flags": [["blurred"] if value < blurred else [] for value in rng.random(count)],
            "image_sha256": ids,
            "row_key": ids,
        }
    )


def broken(after, before=None, config=CONFIG):
    before = rows(1000, 1) if before is None else before
    return [(c.rule, c.column) for c in compare_with_previous(before, after, TABLE, config) if not c.passed]


def later(**changes):
    """The version before with a hundred new rows of another kind."""
    return pd.concat([rows(1000, 1), rows(100, 2, start=1000, **changes)], ignore_index=True)


def test_more_of_the_same_passes_every_rule():
    checks = compare_with_previous(rows(1000, 1), later(), TABLE, CONFIG)
    assert {(c.rule, c.column) for c in checks} == {
        ("vanished", ""), ("null_share", "size"), ("drift", "size"), ("drift", "kind"), ("null_share", "target"),
        ("class_balance", "target"), ("drift", "flags:blurred"),
    }  # fmt: skip
    assert all(c.passed for c in checks)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"shift": 1.0}, ("drift", "size")),
        ({"kinds": (0.1, 0.1, 0.8)}, ("drift", "kind")),
        ({"missing": 0.4}, ("null_share", "size")),
        ({"melanoma": 0.7}, ("class_balance", "target")),
        ({"blurred": 0.6}, ("drift", "flags:blurred")),
    ],
)
def test_one_bad_delivery_of_a_tenth_breaks_its_own_rule_alone(changes, rule):
    assert broken(later(**changes)) == [rule]


def test_offending_rows_are_new_and_named():
    check = next(c for c in compare_with_previous(rows(1000, 1), later(shift=3.0), TABLE, CONFIG) if not c.passed)
    assert check.offending >= 50 and all(name >= "i01000" for name in check.examples)
    assert "median" in check.message and check.observed > check.limit


def test_a_large_difference_of_few_rows_is_not_judged():
    few = pd.concat([rows(1000, 1), rows(20, 2, start=1000, shift=5.0)], ignore_index=True)
    assert broken(few) == []


def test_a_significant_but_small_difference_passes():
    before, after = rows(20_000, 1), pd.concat([rows(20_000, 1), rows(20_000, 2, start=20_000, shift=0.1)], ignore_index=True)
    assert broken(after, before) == []


def test_images_that_went_are_named():
    before = rows(100, 1)
    check = compare_with_previous(before, before.iloc[10:], TABLE, CONFIG)[0]
    assert not check.passed and check.offending == 10 and check.examples[0] == "i00000"
    assert broken(before.iloc[4:], before) == []


def test_fewer_missing_values_are_welcome():
    assert broken(later(), rows(1000, 1, missing=0.5)) == []


def test_reject_rise_needs_size_and_certainty():
    assert not reject_rise(0.2, 0.01, 500, 1000, CONFIG).passed
    assert reject_rise(0.2, 0.01, 5, 1000, CONFIG).passed
    assert reject_rise(0.03, 0.01, 50_000, 1000, CONFIG).passed
    assert reject_rise(0.0, 0.2, 500, 500, CONFIG).passed
