"""Who is in which stratum: source, age, sex, site, skin tone, lesion size, frame and image quality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

AGE_BANDS = ((30.0, "under 30"), (45.0, "30 to 44"), (60.0, "45 to 59"), (75.0, "60 to 74"), (np.inf, "75 and over"))
# Bands of the individual typology angle, degrees: Chardon et al. 1991, Del Bino and Bernerd 2013.
ITA_BANDS = ((-30.0, "dark"), (10.0, "brown"), (28.0, "tan"), (41.0, "intermediate"), (55.0, "light"), (np.inf, "very light"))
SIZE_BANDS = ((0.05, "under 5 % of the frame"), (0.20, "5 to 20 %"), (0.50, "20 to 50 %"), (np.inf, "over 50 %"))
ORDER: dict[str, tuple[str, ...]] = {
    family: tuple(name for _, name in bands)
    for family, bands in (("age", AGE_BANDS), ("skin_tone", ITA_BANDS), ("lesion_size", SIZE_BANDS))
}
ITA_COLUMNS = ("abc.skin_ita_deg",)
AREA_COLUMNS = ("refined.area_share", "coarse.area_share")


def first_column(frame: pd.DataFrame, names: Sequence[str]) -> pd.Series | None:
    """Return the first of these columns that holds a value, or None."""
    return next((frame[name] for name in names if name in frame.columns and frame[name].notna().any()), None)


def _bands(values: pd.Series | None, bands: Sequence[tuple[float, str]], n: int) -> list[str | None]:
    """Name the band of each number; a value on an edge belongs to the band above."""
    if values is None:
        return [None] * n
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    edges, names = np.array([b[0] for b in bands[:-1]]), [b[1] for b in bands]
    return [None if np.isnan(v) else names[int(np.searchsorted(edges, v, side="right"))] for v in numbers]


def _texts(values: pd.Series | None, n: int) -> list[str | None]:
    if values is None:
        return [None] * n
    return [None if pd.isna(v) or str(v).strip().lower() in ("", "unknown") else str(v) for v in values]


def _flags(value: Any) -> list[str]:
    return [str(flag) for flag in value] if isinstance(value, (list, tuple, np.ndarray)) else []


def _labelled(frame: pd.DataFrame) -> dict[str, list[str | None]]:
    n = len(frame)
    touching = first_column(frame, ("coarse.touches_border",))
    cut: list[str | None] = [None] * n if touching is None else [None if pd.isna(t) else ("yes" if bool(t) else "no") for t in touching]
    return {
        "source": _texts(first_column(frame, ("source",)), n),
        "age": _bands(first_column(frame, ("manifest.age_years",)), AGE_BANDS, n),
        "sex": _texts(first_column(frame, ("manifest.sex",)), n),
        "site": _texts(first_column(frame, ("manifest.site",)), n),
        "skin_tone": _bands(first_column(frame, ITA_COLUMNS), ITA_BANDS, n),
        "lesion_size": _bands(first_column(frame, AREA_COLUMNS), SIZE_BANDS, n),
        "cut_by_frame": cut,
    }


def strata(frame: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the name (``family=value``) and rows of every stratum, families and bands in a fixed order.

    Args:
        frame: Rows of :func:`cefm_core.evaluation.frame.assemble_frame`. Images whose value is missing form the stratum
            ``family=unknown`` where others of the family are known; a family that nobody has is left out.
    """
    for family, labels in _labelled(frame).items():
        order = ORDER.get(family, ())
        known = sorted({label for label in labels if label is not None}, key=lambda v: (order.index(v) if v in order else len(order), v))
        values = [*known, None] if known and None in labels else known
        for value in values:
            yield f"{family}={'unknown' if value is None else value}", np.array([label == value for label in labels], dtype=bool)
    quality = first_column(frame, ("quality.flags",))
    if quality is None:
        return
    per_row = [_flags(v) for v in quality]
    for flag in sorted({flag for flags in per_row for flag in flags}):
        yield f"quality_flag={flag}", np.array([flag in flags for flags in per_row], dtype=bool)
    yield "quality_flag=none", np.array([not flags for flags in per_row], dtype=bool)
