"""The names of a source, sorted into images, masks and others; without Prefect, so that it can be asked before a server runs."""

from __future__ import annotations

from typing import Any

from cefm_core.errors import BadItemError, ConfigurationError
from cefm_core.manifest.metadata import Metadata, merge_metadata, read_metadata
from cefm_core.manifest.names import Classified, classify_names
from storage.source import Source, read_object


def classified_names(source: Source) -> Classified:
    """List a source and sort its names.

    Raises:
        ConfigurationError: There is no image among them.
    """
    classified = classify_names(source.names())
    if not classified.images and not classified.rejects:
        raise ConfigurationError(
            f"source {source.uri}: no image among {len(classified.ignored)} files; give a folder with JPEG, PNG, TIFF or DICOM images"
        )
    return classified


def beside_bytes(uri: str) -> bytes:
    """Return the bytes of a table that comes with the source: metadata, or a list of duplicates.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return read_object(uri)
    except BadItemError as error:
        raise ConfigurationError(f"metadata {uri}: cannot be read; give an existing CSV or Parquet file") from error


def joined_metadata(tables: dict[str, bytes]) -> Metadata | None:
    """Read the metadata tables, bytes by URI, and join them; None where there are none.

    Raises:
        ConfigurationError: A table is empty, or names no images.
    """
    read = [read_metadata(data, uri) for uri, data in tables.items()]
    return merge_metadata(read) if len(read) > 1 else (read[0] if read else None)


def what_it_says(table: Metadata | None) -> Any:
    """Return what metadata says as plain JSON, the same whatever the order of its rows and of the columns that are not read."""
    if table is None:
        return None
    rows = {
        image_id: [row.fields, [[s.column, s.value, sorted(s.admits), s.binary] for s in row.statements], row.flags]
        for image_id, row in table.rows.items()
    }
    problems = [[problem.item, problem.code, problem.message] for problem in table.problems]
    unmapped = sorted([*key, count] for key, count in table.unmapped.items())
    facts = [table.name, table.recognised, sorted(table.ignored), table.row_count, table.repeated, table.mapping_version]
    return [rows, problems, unmapped, facts]
