"""Fills the measured parts of docs/features.md; what stands between the markers is never written by hand.

python -m cefm_core.abc_features.document docs/features.md
python -m cefm_core.abc_features.document docs/features.md --metadata METADATA.csv --tables TRAIN.csv TEST.csv --aspect 1.3333

The first form renews the table of columns, the second also parity and validation (some minutes).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cefm_core.abc_features.parity import compare
from cefm_core.abc_features.validation import validate
from cefm_core.errors import ConfigurationError
from cefm_core.tables.abc_features import TABLE


def fill(text: str, part: str, body: str) -> str:
    """Return the text with another body between ``<!-- part -->`` and ``<!-- /part -->``.

    Raises:
        ConfigurationError: The markers are missing.
    """
    start, end = f"<!-- {part} -->", f"<!-- /{part} -->"
    if start not in text or end not in text:
        raise ConfigurationError(f"markers {start} and {end} are missing")
    before, after = text.split(start)[0], text.split(end)[1]
    return f"{before}{start}\n{body}\n{end}{after}"


def columns() -> str:
    """Return the table of columns, from the schema."""
    lines = ["| column | what | unit | range | null: see |", "| --- | --- | --- | --- | --- |"]
    for column in TABLE.columns:
        low, high = ("" if limit is None else f"{limit:g}" for limit in (column.minimum, column.maximum))
        span = f"{low} .. {high}" if low or high else ""
        lines.append(f"| `{column.name}` | {column.description} | {column.unit} | {span} | {column.reason_column or ''} |")
    return "\n".join(lines)


def main() -> None:
    """Renew the parts of the page for which the inputs are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--metadata", type=Path)
    parser.add_argument("--tables", type=Path, nargs="+", default=[])
    parser.add_argument("--aspect", type=float, default=1.0)
    parser.add_argument("--images", type=int, default=400)
    arguments = parser.parse_args()
    text = fill(arguments.page.read_text(encoding="utf-8"), "columns", columns())
    if arguments.metadata is not None:
        text = fill(text, "validation", validate(arguments.metadata, arguments.images))
    if arguments.metadata is not None and arguments.tables:
        text = fill(text, "parity", compare(arguments.metadata, arguments.tables, arguments.aspect))
    arguments.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
