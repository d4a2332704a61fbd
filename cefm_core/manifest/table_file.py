"""The bytes of a CSV or Parquet file as a header and rows of text; nothing is interpreted here.

Everything stays text because a reader that guesses types turns ``NA`` into nothing and one ``unknown`` into a whole column of text.
"""

from __future__ import annotations

import csv
import io
import re

from cefm_core.errors import ConfigurationError

_PARQUET_MAGIC = b"PAR1"
_LABELS_2016 = ("benign", "malignant", "0", "1", "0.0", "1.0")
_PH2_DIAGNOSES = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}


def read_cells(data: bytes, filename: str) -> tuple[list[str], list[list[str]]]:
    """Read a table.

    Args:
        data: Bytes of the file.
        filename: Its name, for messages.

    Returns:
        The header and the rows, as text; a CSV row may have another number of cells than the header. A blank CSV line is no row.

    Raises:
        ConfigurationError: The file is empty, has a header only, or is neither UTF-8 CSV nor Parquet.
    """
    if not data:
        raise ConfigurationError(f"metadata {filename}: the file is empty (0 bytes); fetch it again, or run without --metadata")
    is_parquet = data[:4] == _PARQUET_MAGIC or filename.lower().endswith(".parquet")
    headers, rows = _parquet(data, filename) if is_parquet else _csv(data, filename)
    if not rows:
        raise ConfigurationError(f"metadata {filename}: a header but no rows; fetch it again, or run without --metadata")
    return headers, rows


def _csv(data: bytes, filename: str) -> tuple[list[str], list[list[str]]]:
    if data[:2] == b"PK":
        raise ConfigurationError(f"metadata {filename}: this is a spreadsheet or zip file; save the table as CSV (UTF-8)")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
        if text.lstrip().startswith("||"):
            return _ph2(text)
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)) if any(c.strip() for c in row)]
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"metadata {filename}: not UTF-8 at byte {error.start}; save the table as CSV (UTF-8)") from error
    except csv.Error as error:
        raise ConfigurationError(f"metadata {filename}: not a CSV file: {error}") from error
    if not lines:
        raise ConfigurationError(f"metadata {filename}: only blank lines; fetch it again, or run without --metadata")
    if _has_no_header(lines[0]):
        # The 2016 challenge: its training table says benign or malignant, its test table 0.0 or 1.0.
        return ["image_id", "benign_malignant" if lines[0][1].strip().isalpha() else "melanoma"], lines
    return [header.strip() for header in lines[0]], lines[1:]


def _delimiter(text: str) -> str:
    """Return the separator that stands most often in the first line."""
    first = text.lstrip().split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _has_no_header(first: list[str]) -> bool:
    """Return whether this is the 2016 challenge's ground truth: two columns, no header."""
    return len(first) == 2 and re.fullmatch(r"ISIC_\d{7}", first[0]) is not None and first[1].strip().lower() in _LABELS_2016


def _ph2(text: str) -> tuple[list[str], list[list[str]]]:
    """Read ``PH2_dataset.txt``: cells between double bars, the diagnosis as a number that its legend explains."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("||")] for line in text.splitlines() if line.lstrip().startswith("||")]
    header, *cells = [row[:3] for row in rows]
    return header, [[*row[:2], _PH2_DIAGNOSES.get(row[2], row[2])] if len(row) == 3 else row for row in cells]


def _parquet(data: bytes, filename: str) -> tuple[list[str], list[list[str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowInvalid, OSError) as error:
        raise ConfigurationError(f"metadata {filename}: not a readable Parquet file: {error}") from error
    columns = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)]


def _text(value: object) -> str:
    if value is None or value != value:  # NaN is the one value that differs from itself
        return ""
    return str(value)
