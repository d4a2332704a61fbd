"""One row of the metrics table, and the closed list of reasons for an absent number."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

REASONS: dict[str, str] = {
    "single_class": "all images are of one class, so melanoma cannot be told from nevus",
    "class_absent": "the class this metric looks at has no image",
    "too_few": "too few images or groups for a number that means something",
    "separable": "no finite line of calibration: the scores part melanoma and nevus without a fault, or are all alike",
    "no_spread": "every resample gives the same value, so an interval would pretend certainty",
    "no_rows": "no image with a label and a score in this split",
    "no_labels": "no image in this split has a label",
    "no_tune_threshold": "the tune split cannot give the threshold: no melanoma with a score in it",
    "not_available": "the table or column it needs is absent or empty",
    "no_matched_pairs": "no source holds both a melanoma and a nevus",
    "no_interval": "no interval is defined for this number",
}


class Measured(NamedTuple):
    """A number, or the reason why there is none.

    Attributes:
        value: The number, finite, or None.
        reason: A key of ``REASONS`` where ``value`` is None (or where only its interval is missing).
    """

    value: float | None
    reason: str | None = None


class Interval(NamedTuple):
    """A 95 % interval, or the reason why there is none."""

    low: float | None
    high: float | None
    reason: str | None = None


NO_INTERVAL = Interval(None, None, "no_interval")


def finite(value: float) -> float | None:
    """Return ``value`` as a float, or None where it is not finite."""
    number = float(value)
    return number if math.isfinite(number) else None


def metric_row(
    model: str,
    split: str,
    metric: str,
    measured: Measured,
    *,
    n: int,
    n_positive: int | None,
    interval: Interval = NO_INTERVAL,
    stratum: str = "all",
) -> dict[str, Any]:
    """Build one row of the metrics table; an undefined value never carries an interval."""
    if measured.value is None:
        interval = Interval(None, None, measured.reason)
    return {
        "model": model,
        "split": split,
        "role": "fitted_on" if split in ("train", "tune") else "held_out",
        "stratum": stratum,
        "metric": metric,
        "value": measured.value,
        "low": interval.low,
        "high": interval.high,
        "n": int(n),
        "n_positive": None if n_positive is None else int(n_positive),
        "reason": measured.reason or interval.reason,
    }


def find_row(rows: list[dict[str, Any]], model: str, split: str, metric: str, stratum: str = "all") -> dict[str, Any] | None:
    """Return the row with this key, or None."""
    key = (model, split, metric, stratum)
    return next((r for r in rows if (r["model"], r["split"], r["metric"], r["stratum"]) == key), None)


def format_value(row: dict[str, Any] | None, digits: int = 3) -> str:
    """Write a row for a reader: ``0.873 (0.84 to 0.90)``, ``1.000 (no interval: too_few)`` or ``n/a (single_class)``."""
    if row is None:
        return "n/a"
    if row["value"] is None:
        return f"n/a ({row['reason']})"
    text = f"{row['value']:.{digits}f}"
    if row["low"] is None:
        return f"{text} (no interval: {row['reason']})" if row["reason"] in ("too_few", "no_spread") else text
    return f"{text} ({row['low']:.{digits}f} to {row['high']:.{digits}f})"
