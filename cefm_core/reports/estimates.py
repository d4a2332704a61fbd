"""A mean or a ratio over reports, with its interval by bootstrap of whole reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SAMPLES = 2000
SEED = 20240601


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile interval.

    Attributes:
        value: The value, or None where there is nothing to divide by.
        low: Lower end, or None.
        high: Upper end, or None.
        n: Reports (or lesions) that were drawn from.
        reason: Why value or interval is missing, or None.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str | None = None

    def text(self, decimals: int = 2, factor: float = 1.0) -> str:
        """Return the value with its interval as text, e.g. ``4.31 (4.10-4.52)``."""
        if self.value is None:
            return f"— ({(self.reason or 'unknown').replace('_', ' ')})"
        shown = f"{factor * self.value:.{decimals}f}"
        if self.low is None or self.high is None:
            return shown
        return f"{shown} ({factor * self.low:.{decimals}f}–{factor * self.high:.{decimals}f})"


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Estimate:
    """Return the sum of ``parts`` over the sum of ``wholes``, both one a report, with its interval.

    Percentile interval over resampled reports (Efron and Tibshirani 1993), as everywhere in the evaluation; the same reports give the same
    interval.
    """
    import numpy as np

    from cefm_core.evaluation.bootstrap import group_resamples, percentile_interval

    if not sum(wholes):
        return Estimate(None, n=len(parts), reason="nothing_counted")
    value = float(sum(parts) / sum(wholes))
    drawn = group_resamples(np.arange(len(parts), dtype=np.int64), SAMPLES, SEED).astype(np.float64)
    above, below = drawn @ np.asarray(parts, np.float64), drawn @ np.asarray(wholes, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        interval = percentile_interval(np.where(below > 0, above / below, np.nan), len(parts))
    return Estimate(value, interval.low, interval.high, len(parts), interval.reason)


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean of one value a report, with its interval."""
    return ratio(values, [1.0] * len(values))
