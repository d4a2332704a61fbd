"""Images with masks and metadata in plain folders: what reference set, validation and parity are measured on."""

from __future__ import annotations

import csv
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cefm_core.errors import BadItemError, ConfigurationError
from cefm_core.imaging.decode import decode_image, decode_mask

MAX_PIXELS = 100_000_000


def read_records(metadata: Path) -> list[dict[str, str]]:
    """Read a metadata CSV with columns ``id``, ``filename``, ``mask_filename``, ``split`` and ``source``; file names relative to it.

    Raises:
        ConfigurationError: A column is missing.
    """
    with metadata.open(encoding="utf-8", newline="") as lines:
        records = list(csv.DictReader(lines))
    missing = {"id", "filename", "mask_filename", "split", "source"} - set(records[0] if records else ())
    if missing:
        raise ConfigurationError(f"{metadata}: columns missing: {', '.join(sorted(missing))}")
    return [record for record in records if record["mask_filename"]]


def sample_records(records: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """Return about ``count`` records, each source by its share, always the same ones: those whose id has the lowest CRC-32."""
    by_source: dict[str, list[dict[str, str]]] = {}
    for record in sorted(records, key=lambda r: zlib.crc32(r["id"].encode())):
        by_source.setdefault(record["source"], []).append(record)
    share = min(1.0, count / max(1, len(records)))
    return [record for _, group in sorted(by_source.items()) for record in group[: round(len(group) * share)]]


def load_lesions(records: list[dict[str, str]], folder: Path) -> Iterator[tuple[dict[str, str], np.ndarray, np.ndarray]]:
    """Yield each record with its RGB image and bool mask; one that cannot be decoded is left out with a warning."""
    for record in records:
        try:
            rgb = decode_image((folder / record["filename"]).read_bytes(), max_pixels=MAX_PIXELS).rgb
            mask = decode_mask((folder / record["mask_filename"]).read_bytes(), rgb.shape[:2]).mask
        except BadItemError as error:
            logging.getLogger(__name__).warning("%s left out: %s", record["id"], error)
            continue
        yield record, rgb, mask
