"""The versioned mapping from the field's column names and values to ours; the tables lie in ``mapping/``.

What a value *means* stands in those tables, never in code; an unlisted value is unmapped and is counted, never guessed.
"""

from __future__ import annotations

import csv
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

# The finest classes that a value can admit; all but the first two are reported as `other`.
CLASSES: frozenset[str] = frozenset({"melanoma", "nevus", "other_benign", "other_malignant", "other_indeterminate"})

_FOLDER = Path(__file__).parent / "mapping"


@dataclass(frozen=True)
class OneHot:
    """A layout with one 0/1 column a class.

    Attributes:
        required: Columns whose presence marks the layout.
        classes: Column to diagnosis value.
        none: Diagnosis value of a row without any 1, or None where such a row is an error.
    """

    required: tuple[str, ...]
    classes: Mapping[str, str]
    none: str | None


@dataclass(frozen=True)
class Vocabulary:
    """The mapping tables, read once.

    Attributes:
        version: Version of the mapping, stated in every manifest's notes.
        columns: Field to its column names, preferred first.
        text_diagnosis: Columns that hold a diagnosis as text.
        binary_diagnosis: Columns that say melanoma or not.
        malignancy: Columns that say malignant or not.
        one_hot: Layouts with a column per class.
        admits: Diagnosis value to the classes it admits.
        values: Field to value to our term, for the closed fields.
        missing: Texts that mean "not stated".
    """

    version: int
    columns: Mapping[str, tuple[str, ...]]
    text_diagnosis: tuple[str, ...]
    binary_diagnosis: tuple[str, ...]
    malignancy: tuple[str, ...]
    one_hot: tuple[OneHot, ...]
    admits: Mapping[str, frozenset[str]]
    values: Mapping[str, Mapping[str, str]]
    missing: frozenset[str]


def normalise_header(text: str) -> str:
    """Return a column name in lower case with runs of anything but letters and digits as one underscore."""
    return re.sub(r"[^0-9a-z]+", "_", unicodedata.normalize("NFKC", text).casefold()).strip("_")


def normalise_value(text: str) -> str:
    """Return a value in lower case (NFKC), with runs of blanks, underscores and hyphens as one blank."""
    return re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """Read the mapping tables that are shipped with the package."""
    raw = tomllib.loads((_FOLDER / "columns.toml").read_text(encoding="utf-8"))
    with (_FOLDER / "diagnoses.csv").open(encoding="utf-8", newline="") as file:
        admits = {row["value"]: frozenset(row["admits"].split("|")) for row in csv.DictReader(file)}
    return Vocabulary(
        version=raw["version"],
        columns={field: tuple(names) for field, names in raw["columns"].items()},
        text_diagnosis=tuple(raw["diagnosis"]["text"]),
        binary_diagnosis=tuple(raw["diagnosis"]["binary"]),
        malignancy=tuple(raw["diagnosis"]["malignancy"]),
        one_hot=tuple(_one_hot(raw[name]) for name in ("one_hot_2017", "one_hot")),
        admits=admits,
        values={field: _by_value(raw[field]["values"]) for field in ("binary", "sex", "split", "site", "image_type")},
        missing=frozenset(normalise_value(v) for v in raw["missing"]["values"]),
    )


def is_missing(text: str) -> bool:
    """Return whether a cell says nothing: empty, ``NA``, ``None``, ``unknown`` and the like."""
    return not text or normalise_value(text) in vocabulary().missing


def _one_hot(raw: dict[str, Any]) -> OneHot:
    return OneHot(tuple(raw["required"]), dict(raw["classes"]), raw.get("none"))


def _by_value(raw: dict[str, list[str]]) -> dict[str, str]:
    return {normalise_value(value): term for term, values in raw.items() for value in values}
