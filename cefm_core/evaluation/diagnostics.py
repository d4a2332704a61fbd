"""Rows about the aligned embeddings: how close an image lies to its own measurements, and to another image's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cefm_core.evaluation.rows import Measured, finite, metric_row

PAIR_KEYS = ("positive_cosines", "negative_cosines", "positive_cosines_before", "negative_cosines_before")


def diagnostic_rows(diagnostics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turn the diagnostics of the alignment into rows of the metrics table.

    Args:
        diagnostics: Arrays under ``PAIR_KEYS`` give their mean; any other finite number gives a row under its own name; texts and
            other values are passed over.
    """
    split = str(diagnostics.get("split") or "val")
    rows = []
    for key in PAIR_KEYS:
        values = np.asarray(diagnostics.get(key, ()), dtype=np.float64).ravel()
        values = values[np.isfinite(values)]
        if key in diagnostics:
            measured = Measured(float(values.mean())) if values.size else Measured(None, "no_rows")
            name = key.replace("cosines", "cosine_mean")
            rows.append(metric_row("alignment", split, name, measured, n=values.size, n_positive=None))
    count = int(np.size(diagnostics.get("positive_cosines", ())))
    for key in sorted(set(diagnostics) - set(PAIR_KEYS)):
        value = diagnostics[key]
        if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
            number = finite(float(value))
            measured = Measured(number, None if number is not None else "not_available")
            rows.append(metric_row("alignment", split, key, measured, n=count, n_positive=None))
    return rows
