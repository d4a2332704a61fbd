"""From what a row's columns say to one diagnosis, or to the contradiction between them.

Each value admits some of the classes of :data:`cefm_core.manifest.vocabulary.CLASSES`. What all columns admit together is
the answer; nothing in common is a contradiction, and nothing said is `unknown`. Nothing ever defaults to benign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cefm_core.errors import BadItemError
from cefm_core.manifest.names import printable
from cefm_core.manifest.vocabulary import CLASSES, OneHot, is_missing, normalise_value, vocabulary


@dataclass(frozen=True)
class Statement:
    """What one column says about one image.

    Attributes:
        column: Column as the table names it.
        value: Its text, shortened.
        admits: Classes it admits; empty where the value is not in the mapping.
        binary: Whether the column only knows melanoma or not.
    """

    column: str
    value: str
    admits: frozenset[str]
    binary: bool = False


@dataclass(frozen=True)
class Resolution:
    """The answer of all columns.

    Attributes:
        diagnosis: ``melanoma``, ``nevus``, ``other`` or ``unknown``.
        not_melanoma: Whether melanoma is excluded although the diagnosis is unknown (``benign``, ``target = 0``).
        unmapped: Whether a value that decided nothing is not in the mapping.
        unspecific: Whether something was said, but too coarsely for a diagnosis.
    """

    diagnosis: str
    not_melanoma: bool = False
    unmapped: bool = False
    unspecific: bool = False


@lru_cache(maxsize=4096)
def text_statements(column: str, value: str) -> tuple[Statement, ...]:
    """Return what a diagnosis text says; a path such as ``Benign::Benign melanocytic proliferations::Nevus`` says each part."""
    parts = [part for part in re.split(r":+", value) if not is_missing(part)]
    admits = vocabulary().admits
    return tuple(Statement(column, _short(part), admits.get(normalise_value(part), frozenset())) for part in parts)


@lru_cache(maxsize=4096)
def binary_statement(column: str, value: str) -> tuple[Statement, ...]:
    """Return what a 0/1 column says: 1 admits melanoma (or, beside a finer column, another cancer), 0 everything but melanoma."""
    if is_missing(value):
        return ()
    meaning = vocabulary().values["binary"].get(normalise_value(value))
    admits = {"positive": frozenset({"melanoma", "other_malignant"}), "negative": CLASSES - {"melanoma"}}
    return (Statement(column, _short(value), admits.get(meaning or "", frozenset()), binary=True),)


@lru_cache(maxsize=4096)
def malignancy_statement(column: str, value: str) -> tuple[Statement, ...]:
    """Return what a 0/1 column for any cancer says; alone it names no diagnosis."""
    if is_missing(value):
        return ()
    meaning = vocabulary().values["binary"].get(normalise_value(value))
    malignant = frozenset({"melanoma", "other_malignant"})
    admits = {"positive": malignant, "negative": CLASSES - malignant}
    return (Statement(column, _short(value), admits.get(meaning or "", frozenset())),)


def one_hot_statement(layout: OneHot, cells: Sequence[tuple[str, str]]) -> tuple[Statement, ...]:
    """Return what a row with one 0/1 column a class says.

    Args:
        layout: The layout that the table's header marks.
        cells: ``(normalised header, text)`` of each class column.

    Raises:
        BadItemError: ``label_one_hot``: not exactly one column is 1, or a cell is neither 0 nor 1.
    """
    if all(is_missing(text) for _, text in cells):
        return ()
    binary = vocabulary().values["binary"]
    meanings = [(header, text, binary.get(normalise_value(text))) for header, text in cells]
    strange = [f"{header}={_short(text)}" for header, text, meaning in meanings if meaning is None]
    if strange:
        raise BadItemError("label_one_hot", f"class columns hold 0 or 1, not {', '.join(strange)}")
    hot = [header for header, _, meaning in meanings if meaning == "positive"]
    if len(hot) > 1 or (not hot and layout.none is None):
        raise BadItemError("label_one_hot", f"exactly one class column must be 1; here {len(hot)} are: {', '.join(hot) or 'none'}")
    value = layout.classes[hot[0]] if hot else layout.none or ""
    return text_statements("+".join(hot or layout.required), value)


def resolve_diagnosis(statements: Iterable[Statement]) -> Resolution:
    """Intersect what the columns admit.

    Raises:
        BadItemError: ``label_conflict``: they have nothing in common; the message holds every column with its value.
    """
    return _resolve(tuple(statements))


@lru_cache(maxsize=4096)
def _resolve(statements: tuple[Statement, ...]) -> Resolution:
    known = [s for s in statements if s.admits]
    unmapped = len(known) < len(statements)
    admitted = CLASSES
    for statement in known:
        admitted = admitted & statement.admits
    if not admitted:
        said = ", ".join(dict.fromkeys(f"{s.column}={s.value}" for s in known))
        raise BadItemError("label_conflict", f"the label columns contradict each other: {said}")
    if admitted in (frozenset({"melanoma"}), frozenset({"nevus"})):
        return Resolution(next(iter(admitted)))
    if not admitted & {"melanoma", "nevus"}:
        return Resolution("other")
    # A lone `target = 1` means melanoma, as in the tables of the 2019 and 2020 challenges; a finer column may say otherwise.
    if not unmapped and admitted == {"melanoma", "other_malignant"} and all(s.binary for s in known):
        return Resolution("melanoma")
    return Resolution("unknown", "melanoma" not in admitted, unmapped, bool(known))


def _short(value: str) -> str:
    text = printable(value.strip())
    return text if len(text) <= 60 else text[:57] + "..."
