"""Small pieces of Markdown: tables whose cells cannot break out of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_LISTED = 12  # values of a list that are written out


def cell(value: Any) -> str:
    """Write one value so that it stays inside its cell; None is an em-free ``-``."""
    if value is None or value != value:
        return "-"
    text = " ".join(str(value).split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'") or "-"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a table; without rows, the words ``None.``"""
    lines = ["| " + " | ".join(cell(v) for v in row) + " |" for row in rows]
    if not lines:
        return "None."
    return "\n".join(["| " + " | ".join(header) + " |", "|" + " --- |" * len(header), *lines])


def flatten(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Turn nested facts into (dotted name, value) pairs, sorted by name; short lists are joined by commas."""
    pairs: list[tuple[str, Any]] = []
    for key in sorted(facts, key=str):
        name, value = f"{prefix}{key}", facts[key]
        if isinstance(value, Mapping):
            pairs += flatten(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            pairs.append((name, ", ".join(str(v) for v in value) if len(value) <= MAX_LISTED else f"{len(value)} values"))
        else:
            pairs.append((name, value))
    return pairs
