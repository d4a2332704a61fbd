"""A folder of images fetched from the ISIC archive, laid out so that a run reads it as it is.

images/<isic_id>.jpg     the bytes as the archive gave them
metadata.csv             one row for each image that is here: licence, attribution, digest, and the archive's own fields
attribution.txt          whom to credit for how many images, under which licence
fetched.jsonl            what was read when, with size and digest; a file counts only if it agrees
withdrawn/               images that the archive listed before and lists no more
"""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cefm_core.errors import BadItemError
from cefm_core.manifest.names import image_id_of
from storage.files import write_whole
from storage.isic_archive import ArchiveImage
from storage.refs import sha256_of

_FIRST = ("isic_id", "copyright_license", "attribution", "sha256")


class IsicFolder:
    """The folder, and what its journal says is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._known = {entry["isic_id"]: entry for entry in self._journal()}

    def digest_of(self, image: ArchiveImage) -> str | None:
        """Return the digest of an image that is here, whole and as large as the archive states; else None."""
        entry, path = self._known.get(image.isic_id), self._path(image.isic_id)
        if entry is None or entry["size_bytes"] != image.size_bytes or not path.is_file():
            return None
        return entry["sha256"] if sha256_of(path.read_bytes()) == entry["sha256"] else None

    def add(self, image: ArchiveImage, data: bytes) -> str:
        """Write an image and then its line in the journal; return its digest. May be called from several threads."""
        digest = sha256_of(data)
        write_whole(self._path(image.isic_id), data)
        entry = {"isic_id": image.isic_id, "size_bytes": len(data), "sha256": digest}
        entry["retrieved_at"] = datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock, (self.folder / "fetched.jsonl").open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(entry) + "\n")
            self._known[image.isic_id] = entry
        return digest

    def finish(self, held: Sequence[tuple[ArchiveImage, str]], listed: Iterable[str] | None) -> dict[str, int]:
        """Write the tables of what is here, and take away what the archive lists no more.

        Args:
            held: Every image that is here, with its digest.
            listed: Ids of all images that the archive lists, fetched or not; None where that is not known.

        Returns:
            ``added``, ``changed`` and ``withdrawn``: rows against the metadata.csv that was here before.
        """
        before = self._rows()
        rows = {image.isic_id: _row(image, digest) for image, digest in sorted(held, key=lambda pair: pair[0].isic_id)}
        gone = sorted(before.keys() - set(listed)) if listed is not None else []
        for image_id in gone:
            if self._path(image_id).is_file():
                (self.folder / "withdrawn").mkdir(exist_ok=True)
                self._path(image_id).replace(self.folder / "withdrawn" / self._path(image_id).name)
        write_whole(self.folder / "metadata.csv", _csv(list(rows.values())))
        write_whole(self.folder / "attribution.txt", _credits(rows.values()))
        common = rows.keys() & before.keys()
        return {
            "added": len(rows.keys() - before.keys()),
            "changed": sum(_stated(rows[image_id]) != _stated(before[image_id]) for image_id in common),
            "withdrawn": len(gone),
        }

    def _path(self, isic_id: str) -> Path:
        if image_id_of(isic_id) != isic_id or "/" in isic_id:
            raise BadItemError("bad_id", f"{isic_id!r} is no usable image id")
        return self.folder / "images" / f"{isic_id}.jpg"

    def _journal(self) -> list[dict[str, Any]]:
        path = self.folder / "fetched.jsonl"
        entries = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                entries.append(json.loads(line))
            except ValueError:  # the line that was being written when a run was killed
                continue
        return entries

    def _rows(self) -> dict[str, dict[str, str]]:
        path = self.folder / "metadata.csv"
        if not path.exists():
            return {}
        return {row["isic_id"]: row for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))}


def _row(image: ArchiveImage, digest: str) -> dict[str, str]:
    row = {"isic_id": image.isic_id, "copyright_license": image.licence, "attribution": image.attribution, "sha256": digest}
    return row | {name: "" if value is None else str(value) for name, value in image.fields.items() if name not in _FIRST}


def _stated(row: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if value}


def _csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    names = sorted({name for row in rows for name in row} - set(_FIRST))
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, [*_FIRST, *names], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def _credits(rows: Iterable[Mapping[str, str]]) -> bytes:
    counts = Counter((row["attribution"] or "not stated", row["copyright_license"] or "not stated") for row in rows)
    lines = [f"{count} images: {who}, licence {licence}" for (who, licence), count in sorted(counts.items())]
    return ("\n".join(lines) + "\n").encode()
