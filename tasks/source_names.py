"""The names of a source, sorted into images, masks and others; without Prefect, so that it can be asked before a server runs."""

from __future__ import annotations

from cefm_core.errors import BadItemError, ConfigurationError
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
            f"source {source.uri}: no image among {len(classified.ignored)} files; give a folder with JPEG, PNG or TIFF images"
        )
    return classified


def metadata_bytes(uri: str | None) -> bytes | None:
    """Return the bytes of the source metadata, or None where there is none.

    Raises:
        ConfigurationError: It cannot be read.
    """
    if uri is None:
        return None
    try:
        return read_object(uri)
    except BadItemError as error:
        raise ConfigurationError(f"metadata {uri}: cannot be read; give an existing CSV or Parquet file") from error
