"""Where the source images lie: a folder or an object-store prefix, read only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cefm_core.errors import BadItemError, ConfigurationError
from storage.backends import first_line, local_path, normalise_uri, open_remote
from storage.refs import sha256_of


class Source:
    """Objects below one URI, by their relative names."""

    def __init__(self, uri: str) -> None:
        self.uri = normalise_uri(uri)
        self._folder = local_path(self.uri)
        self._backend: Any = None
        if self._folder is None:
            self._backend = open_remote(self.uri)
        elif not self._folder.is_dir():
            raise ConfigurationError(f"source {uri}: no such folder; give the folder that holds the images")

    def names(self) -> list[str]:
        """Return the relative names of all objects, sorted, with ``/`` between parts.

        Raises:
            ConfigurationError: There is nothing at all, or it cannot be listed.
        """
        found = _walk(self._folder) if self._folder else self._listed()
        if not found:
            raise ConfigurationError(f"source {self.uri}: empty; give a folder that holds images")
        return sorted(found)

    def read(self, name: str) -> bytes:
        """Return the bytes of one object.

        Raises:
            BadItemError: ``unreadable`` when it cannot be read.
        """
        from obstore.exceptions import BaseError

        try:
            if self._folder:
                return (self._folder / name).read_bytes()
            return bytes(self._backend.get(name).bytes())
        except (OSError, ValueError, BaseError) as error:
            raise BadItemError("unreadable", f"{name} cannot be read ({error.__class__.__name__}); check that it still exists") from error

    def _listed(self) -> list[str]:
        try:
            return [str(entry["path"]) for entry in self._backend.list().collect()]
        except Exception as error:  # the backend raises many types; each is the same fault to the user
            raise ConfigurationError(f"source {self.uri}: cannot be listed ({first_line(error)}); check address and credentials") from error

    def read_verified(self, name: str, sha256: str) -> bytes:
        """Return the bytes of one object, which must be those the manifest saw.

        Raises:
            BadItemError: ``source_changed`` when they are others.
        """
        data = self.read(name)
        if sha256_of(data) != sha256:
            raise BadItemError("source_changed", f"{name} changed while the run went on; run again")
        return data


def read_object(uri: str) -> bytes:
    """Return the bytes of one file or object by its own URI.

    Raises:
        ConfigurationError: Its folder is not there or not understood.
        BadItemError: ``unreadable`` when it cannot be read.
    """
    folder, _, name = uri.replace("\\", "/").rpartition("/")
    return Source(folder or ".").read(name)


def _walk(folder: Path) -> list[str]:
    names = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        names += [(Path(parent) / file).relative_to(folder).as_posix() for file in files]
    return names
