"""Rules against the version before: is what is new in a table still like what was there?

The rows that are new or were made again are compared with all rows of the earlier version, because a bad delivery of one
percent does not move the distribution of the whole. A rule fails only where the difference is both large (its limit) and more
than chance (``ALPHA``); with too few rows on either side nothing is judged, and nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cefm_core.config import GatesConfig
from cefm_core.releases.checks import EXAMPLES, Check
from cefm_core.tables.schema import Column, Table

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.001
# A value outside these quantiles of the earlier version is named as an example of a drift.
_USUAL = (0.005, 0.995)


def compare_with_previous(before: pd.DataFrame, after: pd.DataFrame, declared: Table, config: GatesConfig) -> list[Check]:
    """Evaluate every rule against the earlier version of a table.

    Args:
        before: The table in the earlier version; it may lack columns.
        after: The table now.
        declared: Its declaration; only tables with a row an image are compared.
        config: Limits and severities.

    Returns:
        One check for each rule and column that could be judged.
    """
    if not declared.per_image:
        return []
    checks = [_vanished(before, after, config)]
    new = after[~after["row_key"].isin(set(before["row_key"]))]
    if min(len(new), len(before)) < config.least_rows:
        return checks
    for column in declared.columns:
        if column.name in before.columns and column.name not in ("image_id", "image_sha256", "row_key"):
            checks += _column_checks(column, before, new, config)
    return checks


def _vanished(before: pd.DataFrame, after: pd.DataFrame, config: GatesConfig) -> Check:
    gone = sorted(set(before["image_id"]) - set(after["image_id"]))
    share = len(gone) / max(len(before), 1)
    message = f"{len(gone)} of {len(before)} images of the version before are gone ({share:.1%})"
    return Check(
        "vanished", "", config.vanished, share <= config.max_vanished_share, message, share, config.max_vanished_share, len(gone),
        tuple(gone[:EXAMPLES]) if share > config.max_vanished_share else (),
    )  # fmt: skip


def _column_checks(column: Column, before: pd.DataFrame, new: pd.DataFrame, config: GatesConfig) -> Iterator[Check]:
    old, now = before[column.name], new[column.name]
    if column.nullable:
        absent = new["image_id"][now.isna()]
        yield _share("null_share", column.name, "null", old.isna(), now.isna(), absent, config.null_share, config.max_null_rise, rise=True)
    if (column.name, column.type) == ("target", "int"):
        labelled = new[now.notna()]
        yield _share(
            "class_balance", column.name, "melanoma among labelled images", old.dropna() == 1, labelled[column.name] == 1,
            labelled["image_id"][labelled[column.name] == 1], config.class_balance, config.max_class_shift,
        )  # fmt: skip
    elif column.type in ("float", "int"):
        yield from _numbers(column.name, old, now, new["image_id"], config)
    elif column.type == "string" and column.allowed:
        yield from _shares_of(column.name, old, now, new["image_id"], column.allowed, config)
    elif column.type == "bool":
        yield _share("drift", column.name, "true", old == True, now == True, new["image_id"][now == True], config.drift, config.max_drift)  # noqa: E712
    elif column.name == "flags":
        yield from _flag_shares(old, now, new["image_id"], config)


def _numbers(name: str, old: pd.Series, now: pd.Series, ids: pd.Series, config: GatesConfig) -> Iterator[Check]:
    """Compare two samples by the distance of their distribution functions (Kolmogorov and Smirnov)."""
    from scipy.stats import ks_2samp

    a, b = old.dropna().to_numpy(float), now.dropna().to_numpy(float)
    if min(len(a), len(b)) < config.least_rows:
        return
    test = ks_2samp(a, b, method="asymp")
    low, high = np.quantile(a, _USUAL)
    unusual = now.notna() & ((now < low) | (now > high))
    order = (now[unusual] - np.median(a)).abs().sort_values(ascending=False, kind="stable").index
    drifted = test.statistic > config.max_drift and test.pvalue < ALPHA
    message = f"{name}: median {np.median(a):.4g} before, {np.median(b):.4g} in {len(b)} new rows (distance {test.statistic:.2f})"
    examples = tuple(ids[order[:EXAMPLES]]) if drifted else ()
    yield Check(
        "drift",
        name,
        config.drift,
        not drifted,
        message,
        float(test.statistic),
        config.max_drift,
        int(unusual.sum()) if drifted else 0,
        examples,
    )


def _shares_of(name: str, old: pd.Series, now: pd.Series, ids: pd.Series, allowed: tuple[str, ...], config: GatesConfig) -> Iterator[Check]:
    """Compare the shares of a column's values by half the sum of their differences (total variation), tested by chi squared."""
    a, b = (np.array([(values == value).sum() for value in allowed], float) for values in (old, now))
    if min(a.sum(), b.sum()) < config.least_rows:
        return
    shift = b / b.sum() - a / a.sum()
    distance = float(np.abs(shift).sum() / 2)
    drifted = distance > config.max_drift and _chance(a, b) < ALPHA
    most = allowed[int(shift.argmax())]
    message = f"{name}: {most} in {a[shift.argmax()] / a.sum():.1%} before, {b[shift.argmax()] / b.sum():.1%} of {int(b.sum())} new rows"
    rows = ids[now == most]
    yield Check(
        "drift", name, config.drift, not drifted, message, distance, config.max_drift, len(rows) if drifted else 0,
        tuple(rows[:EXAMPLES]) if drifted else (),
    )  # fmt: skip


def _flag_shares(old: pd.Series, now: pd.Series, ids: pd.Series, config: GatesConfig) -> Iterator[Check]:
    for flag in sorted({flag for flags in (*old, *now) for flag in flags}):
        a, b = (values.map(lambda flags, wanted=flag: wanted in flags) for values in (old, now))
        yield _share("drift", f"flags:{flag}", flag, a, b, ids[b], config.drift, config.max_drift)


def _share(
    rule: str, name: str, what: str, old: Any, now: Any, offenders: pd.Series, severity: str, limit: float, *, rise: bool = False
) -> Check:
    """Judge the share of rows that have a property; ``rise`` says that a fall is welcome."""
    a, b = float(np.mean(old)) if len(old) else 0.0, float(np.mean(now)) if len(now) else 0.0
    change = b - a if rise else abs(b - a)
    counts = [np.array([np.sum(values), len(values) - np.sum(values)], float) for values in (old, now)]
    broken = change > limit and _chance(*counts) < ALPHA
    message = f"{name}: {what} {a:.1%} before, {b:.1%} of {len(now)} new rows"
    return Check(
        rule, name, severity, not broken, message, change, limit, len(offenders) if broken else 0,
        tuple(offenders[:EXAMPLES]) if broken else (),
    )  # fmt: skip


def _chance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the probability of so different counts by chance (chi squared test); 1 where nothing can be said."""
    from scipy.stats import chi2_contingency

    table = np.stack([a, b])[:, (a + b) > 0]
    if table.shape[1] < 2 or (table.sum(axis=1) == 0).any():
        return 1.0
    return float(chi2_contingency(table).pvalue)


def reject_rise(share: float, before: float, items: int, items_before: int, config: GatesConfig) -> Check:
    """Judge the share of rejected items of a stage against the version before.

    Args:
        share: Rejected share now, 0..1.
        before: Rejected share of the same stage in the version before.
        items: Items that entered now.
        items_before: Items that entered then.
        config: Limit and severity.
    """
    counts = [np.array([round(s * n), n - round(s * n)], float) for s, n in ((before, items_before), (share, items))]
    broken = share - before > config.max_reject_rise and _chance(*counts) < ALPHA
    message = f"{share:.1%} of {items} items rejected, {before:.1%} of {items_before} in the version before"
    return Check("reject_rise", "", config.reject_rise, not broken, message, share - before, config.max_reject_rise)
