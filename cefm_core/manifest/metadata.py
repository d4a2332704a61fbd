"""A metadata table as its publisher wrote it, read into one clean row per image.

CSV and Parquet; what the columns and values mean stands in ``mapping/``. Nothing about splits or pictures belongs here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cefm_core.errors import BadItemError, ConfigurationError
from cefm_core.manifest.cells import clean_fields
from cefm_core.manifest.diagnosis import (
    Resolution,
    Statement,
    binary_statement,
    malignancy_statement,
    one_hot_statement,
    resolve_diagnosis,
    text_statements,
)
from cefm_core.manifest.names import image_id_of, printable
from cefm_core.manifest.table_file import read_cells
from cefm_core.manifest.vocabulary import OneHot, normalise_header, vocabulary


@dataclass(frozen=True)
class MetadataProblem:
    """One row (or all rows of one image) that cannot be believed; ``item`` is the image id, or the table's name and row."""

    item: str
    code: str
    message: str


@dataclass
class ImageMetadata:
    """What the table says about one image.

    Attributes:
        fields: Cleaned values by field; a field that is not stated is absent. ``patient_key`` is a digest, never the id.
        statements: What each label column says.
        flags: Repairs and doubts, e.g. ``age_implausible``.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def resolution(self) -> Resolution:
        """The diagnosis; conflicts were sorted out when the table was read."""
        return resolve_diagnosis(self.statements)


@dataclass
class Metadata:
    """A whole table.

    Attributes:
        name: File name or names.
        rows: Image id to what is said about it.
        recognised: Our field to the table's column or columns.
        ignored: Columns that are not read, by name.
        problems: Rows that cannot be believed; their images become rejects.
        unmapped: ``(field, value)`` to the number of rows, for values that the mapping does not know.
        row_count: Rows of the table, repeated ones included.
        repeated: Rows that only repeat or complete an earlier row of the same image.
        mapping_version: Version of the mapping tables.
    """

    name: str
    rows: dict[str, ImageMetadata] = field(default_factory=dict)
    recognised: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    problems: list[MetadataProblem] = field(default_factory=list)
    unmapped: Counter[tuple[str, str]] = field(default_factory=Counter)
    row_count: int = 0
    repeated: int = 0
    mapping_version: int = 0


def read_metadata(data: bytes, filename: str) -> Metadata:
    """Read a metadata table.

    Rows that repeat an image are merged where they agree (one may state what the other leaves out) and make the image a
    problem where they do not.

    Args:
        data: Bytes of a CSV (UTF-8, with or without a BOM; comma, semicolon or tab) or Parquet file.
        filename: Its name, for messages and for telling the formats apart.

    Raises:
        ConfigurationError: The table is empty or unreadable, or has no column with an image id (found and expected are listed).
    """
    headers, cells = read_cells(data, filename)
    layout = _recognise(headers, cells, filename)
    # The name alone goes into rows and messages: a path would tie them to one machine.
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    table = Metadata(name, recognised=layout.names(headers), mapping_version=vocabulary().version, row_count=len(cells))
    table.ignored = tuple(h for i, h in enumerate(headers) if i not in layout.used and h.strip())
    broken: set[str] = set()
    for number, row in enumerate(cells, start=2):
        _add_row(table, layout, row, f"{name} row {number}", len(headers), broken)
    return table


def merge_metadata(tables: Sequence[Metadata]) -> Metadata:
    """Join tables that describe the same images, e.g. a challenge's ground truth and its metadata; contradictions are problems."""
    merged = Metadata(" + ".join(t.name for t in tables), mapping_version=vocabulary().version)
    broken: set[str] = set()
    for table in tables:
        merged.recognised.update({f: c for f, c in table.recognised.items() if f not in merged.recognised})
        merged.ignored += table.ignored
        merged.unmapped.update(table.unmapped)
        merged.problems += table.problems
        merged.row_count += table.row_count
        merged.repeated += table.repeated
        broken.update(p.item for p in table.problems)
        for image_id, row in table.rows.items():
            _merge_into(merged, image_id, row, broken)
    merged.rows = {k: v for k, v in merged.rows.items() if k not in broken}
    return merged


@dataclass(frozen=True)
class _Layout:
    """Where the header puts each field."""

    fields: dict[str, int]
    text: tuple[int, ...]
    binary: tuple[int, ...]
    malignancy: tuple[int, ...]
    one_hot: OneHot | None
    hot: tuple[tuple[str, int], ...]
    headers: tuple[str, ...]

    @property
    def used(self) -> set[int]:
        return {*self.fields.values(), *self.text, *self.binary, *self.malignancy, *(index for _, index in self.hot)}

    def names(self, headers: Sequence[str]) -> dict[str, str]:
        names = {field: headers[index] for field, index in self.fields.items()}
        labels = [headers[i] for i in (*self.text, *self.binary, *self.malignancy, *(index for _, index in self.hot))]
        return names | ({"diagnosis": ", ".join(labels)} if labels else {})


def _recognise(headers: Sequence[str], cells: Sequence[Sequence[str]], filename: str) -> _Layout:
    vocab = vocabulary()
    place: dict[str, int] = {}
    twice: list[str] = []
    for index, header in enumerate(normalise_header(h) for h in headers):
        if header and header in place:
            twice.append(headers[index])
        place.setdefault(header, index)
    if twice:
        raise ConfigurationError(f"metadata {filename}: columns that stand twice: {', '.join(twice)}; rename or remove one of each")
    fields: dict[str, int] = {}
    for name, synonyms in vocab.columns.items():
        present = [place[s] for s in synonyms if s in place]
        if present:
            fields[name] = next((i for i in present if any(i < len(r) and r[i].strip() for r in cells)), present[0])
    if "image_id" not in fields:
        expected = ", ".join(vocab.columns["image_id"])
        raise ConfigurationError(
            f"metadata {filename}: no column with the image id; found: {', '.join(headers)}; expected one of: {expected}"
        )
    one_hot = next((o for o in vocab.one_hot if all(c in place for c in o.required)), None)
    hot = tuple((c, place[c]) for c in one_hot.classes if c in place) if one_hot else ()
    taken = {index for _, index in hot}
    return _Layout(
        fields,
        tuple(place[c] for c in vocab.text_diagnosis if c in place),
        tuple(place[c] for c in vocab.binary_diagnosis if c in place and place[c] not in taken),
        tuple(place[c] for c in vocab.malignancy if c in place),
        one_hot,
        hot,
        tuple(headers),
    )


def _add_row(table: Metadata, layout: _Layout, row: Sequence[str], where: str, width: int, broken: set[str]) -> None:
    """Read one row into ``table``; what is wrong with it becomes a problem."""
    item = where
    try:
        if len(row) != width:
            raise BadItemError(
                "metadata_row_broken", f"{where} has {len(row)} cells where the header has {width}; check quotes and separators"
            )
        raw_id = row[layout.fields["image_id"]]
        if not raw_id.strip():
            raise BadItemError("bad_id", f"{where} has no image id")
        image_id = image_id_of(raw_id)
        item = image_id
        statements = _statements(layout, row)
        fields, flags, unmapped = clean_fields({name: row[index] for name, index in layout.fields.items() if name != "image_id"})
    except BadItemError as error:
        if item == where and error.code == "bad_id":
            item = f"{where}: {printable(row[layout.fields['image_id']])}"
        _fail(table, item, error, broken)
        return
    table.unmapped.update(unmapped)
    table.unmapped.update((s.column, s.value) for s in statements if not s.admits)
    _merge_into(table, image_id, ImageMetadata(fields, statements, flags), broken)


def _statements(layout: _Layout, row: Sequence[str]) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for index in layout.text:
        found += text_statements(layout.headers[index], row[index])
    for index in layout.binary:
        found += binary_statement(layout.headers[index], row[index])
    for index in layout.malignancy:
        found += malignancy_statement(layout.headers[index], row[index])
    if layout.one_hot:
        found += one_hot_statement(layout.one_hot, [(name, row[index]) for name, index in layout.hot])
    return tuple(found)


def _merge_into(table: Metadata, image_id: str, row: ImageMetadata, broken: set[str]) -> None:
    """Lay a row over what is known of its image; a contradiction removes the image and becomes a problem."""
    if image_id in broken:
        return
    known = table.rows.get(image_id)
    try:
        if known is not None:
            row = _merged(known, row)
            table.repeated += 1
        resolve_diagnosis(row.statements)
    except BadItemError as error:
        table.rows.pop(image_id, None)
        _fail(table, image_id, error, broken)
        return
    table.rows[image_id] = row


def _merged(one: ImageMetadata, two: ImageMetadata) -> ImageMetadata:
    differing = [f for f in one.fields if f in two.fields and one.fields[f] != two.fields[f]]
    if differing:
        said = ", ".join(_both(name, one.fields[name], two.fields[name]) for name in differing)
        raise BadItemError("metadata_conflict", f"repeated rows of the same image disagree: {said}")
    statements = tuple(dict.fromkeys((*one.statements, *two.statements)))
    return ImageMetadata(one.fields | two.fields, statements, tuple(dict.fromkeys((*one.flags, *two.flags))))


def _both(name: str, one: Any, two: Any) -> str:
    # A patient's key stays inside; that the two differ is enough to mend the table.
    return "patient ids differ" if name == "patient_key" else f"{name} {one} and {two}"


def _fail(table: Metadata, item: str, error: BadItemError, broken: set[str]) -> None:
    if item not in broken:
        table.problems.append(MetadataProblem(item, error.code, error.message))
    broken.add(item)
    table.rows.pop(item, None)


def unmapped_notes(unmapped: Iterable[tuple[tuple[str, str], int]]) -> list[str]:
    """Return one line per unmapped value with its count, most frequent first."""
    ordered = sorted(unmapped, key=lambda pair: (-pair[1], pair[0]))
    return [f"{column} = {value!r}: not in the mapping, {count} rows" for (column, value), count in ordered]
