"""The cells of a metadata row that are not labels: age, sex, site, groups, origin.

Closed fields take only values of the mapping, so that free text from a table (an instruction to a language model, a name)
cannot travel further; open fields are cut to one printable line.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

from cefm_core.manifest.names import printable
from cefm_core.manifest.vocabulary import is_missing, normalise_value, vocabulary

MAX_TEXT = 300
OLDEST_YEARS = 120.0

# A cleaner takes the text and returns fields, flags and the texts that the mapping does not know.
_Cleaned = tuple[dict[str, Any], list[str], list[tuple[str, str]]]


def clean_fields(cells: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...], list[tuple[str, str]]]:
    """Clean the cells of one row.

    Args:
        cells: Our field name to the text of its cell.

    Returns:
        Fields that are stated, flags, and ``(field, value)`` of values that the mapping does not know.
    """
    fields: dict[str, Any] = {}
    flags: list[str] = []
    unmapped: list[tuple[str, str]] = []
    for name, text in cells.items():
        if name not in _CLEANERS or is_missing(text):
            continue
        found, raised, unknown = _CLEANERS[name](text.strip())
        fields.update(found)
        flags += raised
        unmapped += unknown
    return fields, tuple(flags), unmapped


def patient_key(patient_id: str) -> str:
    """Return the digest that stands for a patient inside a run; the id itself goes no further."""
    return hashlib.sha256(f"patient\0{normalise_value(patient_id)}".encode()).hexdigest()[:32]


def _age(text: str) -> _Cleaned:
    try:
        years = float(text)
    except ValueError:
        return {"age_reason": "not_a_number"}, ["age_not_a_number"], []
    if not math.isfinite(years) or not 0 <= years <= OLDEST_YEARS:
        return {"age_reason": "out_of_range"}, ["age_out_of_range"], []
    return {"age_years": years}, ["age_implausible"] if years == 0 else [], []


def _closed(name: str, fallback: str | None, flag: str) -> Callable[[str], _Cleaned]:
    def clean(text: str) -> _Cleaned:
        term = vocabulary().values[name].get(normalise_value(text))
        if term is not None:
            return {name: term}, [], []
        return ({name: fallback} if fallback else {}), [flag], [(name, printable(text)[:60])]

    return clean


def _open(name: str) -> Callable[[str], _Cleaned]:
    def clean(text: str) -> _Cleaned:
        return {name: " ".join(printable(text).split())[:MAX_TEXT]}, [], []

    return clean


def _image_type(text: str) -> _Cleaned:
    dermoscopic = normalise_value(text) in vocabulary().values["image_type"]
    return {}, [] if dermoscopic else ["not_dermoscopic"], []


_CLEANERS: dict[str, Callable[[str], _Cleaned]] = {
    "age_years": _age,
    "sex": _closed("sex", None, "sex_unmapped"),
    "site": _closed("site", "other", "site_unmapped"),
    "split": _closed("split", None, "split_unmapped"),
    "image_type": _image_type,
    "patient_id": lambda text: ({"patient_key": patient_key(text)}, [], []),
    "image_sha256": lambda text: ({"image_sha256": text.lower()}, [], []),
    **{name: _open(name) for name in ("lesion_id", "dup_group", "source", "licence", "attribution")},
}
