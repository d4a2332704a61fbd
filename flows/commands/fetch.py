"""``cefm fetch``: images and metadata of the ISIC archive into a folder that ``cefm run`` reads."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cefm_core.errors import BadItemError, CefmError, ConfigurationError
from flows.console import progress, say

if TYPE_CHECKING:
    from storage.isic_archive import ArchiveImage, IsicArchive
    from storage.isic_folder import IsicFolder

_WORKERS = 4


@dataclass(frozen=True)
class Wanted:
    """What is asked of the archive; ``licences`` empty means any, ``limit`` 0 means all."""

    collections: tuple[int, ...] = ()
    query: str = ""
    licences: tuple[str, ...] = ()
    limit: int = 0


def fetch(out: Path, wanted: Wanted, api: str, as_json: bool) -> None:
    """Fetch what is missing or not whole; what is here already is checked, not fetched.

    Raises:
        ConfigurationError: Nothing is asked for, or nothing is found.
        CefmError: Some images could not be fetched; the same command tries them again.
    """
    from storage.isic_archive import IsicArchive
    from storage.isic_folder import IsicFolder

    if not (wanted.collections or wanted.query or wanted.limit):
        raise ConfigurationError("fetch: this would be the whole archive; give --collection, --query or --limit")
    archive, folder = IsicArchive(api), IsicFolder(out)
    say(f"asking {api}")
    listed, refused = _listed(archive, wanted)
    if not listed:
        raise ConfigurationError(
            f"fetch: the archive finds no such image{f' ({_counted(refused)} under another licence)' if refused else ''}"
        )
    counts = Counter({"listed": len(listed) + refused.total(), "other_licence": refused.total()})
    held, failed = _fetched(archive, folder, listed, counts)
    # A limited listing says nothing about the images beyond its end.
    counts.update(folder.finish(held, None if wanted.limit else [image.isic_id for image in listed]))
    _report(out, counts, failed, as_json)


def _listed(archive: IsicArchive, wanted: Wanted) -> tuple[list[ArchiveImage], Counter[str]]:
    """Return the images to have, and how many were left out by licence."""
    refused: Counter[str] = Counter()

    def allowed() -> list[ArchiveImage]:
        found = archive.images(wanted.query, wanted.collections)
        return list(islice((image for image in found if _licensed(image, wanted.licences, refused)), wanted.limit or None))

    return allowed(), refused


def _licensed(image: ArchiveImage, licences: tuple[str, ...], refused: Counter[str]) -> bool:
    if not licences or image.licence.upper() in {licence.upper() for licence in licences}:
        return True
    refused[image.licence or "not stated"] += 1
    return False


def _fetched(
    archive: IsicArchive, folder: IsicFolder, listed: list[ArchiveImage], counts: Counter[str]
) -> tuple[list[tuple[ArchiveImage, str]], list[BadItemError]]:
    """Read what is missing; return the images that are here now with their digests, and what went wrong with the others."""

    def one(image: ArchiveImage) -> tuple[str, str] | BadItemError:
        try:
            if (digest := folder.digest_of(image)) is not None:
                return "already_here", digest
            return "fetched", folder.add(image, archive.read(image))
        except BadItemError as error:
            return error

    held, failed = [], []
    with ThreadPoolExecutor(_WORKERS) as pool:
        for image, future in progress(list(zip(listed, [pool.submit(one, image) for image in listed], strict=True)), "fetch"):
            done = future.result()
            if isinstance(done, BadItemError):
                failed.append(done)
            else:
                counts[done[0]] += 1
                held.append((image, done[1]))
    counts["failed"] = len(failed)
    return held, failed


def _report(out: Path, counts: Counter[str], failed: list[BadItemError], as_json: bool) -> None:
    for error in failed[:20]:
        say(str(error))
    say(", ".join(f"{name.replace('_', ' ')} {counts[name]}" for name in _SHOWN))
    say(f"next: cefm run --source {out / 'images'} --metadata {out / 'metadata.csv'} --store STORE")
    if as_json:
        print(json.dumps({name: counts[name] for name in _SHOWN} | {"folder": str(out)}))
    if failed:
        raise CefmError(f"fetch: {len(failed)} of {counts['listed']} images could not be fetched; run the same command again")


_SHOWN = ("listed", "other_licence", "fetched", "already_here", "failed", "added", "changed", "withdrawn")


def _counted(refused: Counter[str]) -> str:
    return ", ".join(f"{count} {licence}" for licence, count in refused.most_common())
