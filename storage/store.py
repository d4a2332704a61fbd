"""The object store behind one URI: local disk, S3 and its like, Google Cloud Storage, Azure.

Objects are written whole or not at all, under their digest, and are verified whenever they are read. What a key means does not
belong here (see ``storage/keys.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cefm_core.errors import ConfigurationError, IntegrityError, StoreError
from storage import keys
from storage.backends import first_line, local_path, normalise_uri, open_remote, patiently
from storage.refs import FileRef, digest_of, sha256_of

T = TypeVar("T")
_IO_THREADS = 8


class Store:
    """Bytes under keys, written atomically and read verified."""

    def __init__(self, uri: str, backend: Any) -> None:
        self.uri = uri
        self._backend = backend

    @classmethod
    def open(cls, uri: str) -> Store:
        """Open the store at ``uri`` (a path, ``file://``, ``s3://``, ``gs://``, ``az://``).

        Endpoint, addressing style, CA bundle and credentials come from the environment variables of the provider (see
        ``storage/backends.py``).

        Raises:
            ConfigurationError: The URI is not understood, or the folder cannot be made.
        """
        uri = normalise_uri(uri)
        try:
            return cls(uri, _open_backend(uri))
        except ConfigurationError:
            raise
        except Exception as error:  # the backend raises many types; each is the same fault to the user
            raise ConfigurationError(f"store {uri}: cannot be opened ({first_line(error)}); check the URI and its permissions") from error

    def preflight(self) -> None:
        """Write, read back and delete one small object.

        Raises:
            ConfigurationError: Any of the three fails; the message names the store and the step.
        """
        key, data = f"preflight/{os.getpid()}-{os.urandom(4).hex()}", b"cefm"
        step = "written"
        try:
            self._backend.put(key, data)
            step = "read"
            if bytes(self._backend.get(key).bytes()) != data:
                raise OSError("the bytes read are not those written")
            step = "deleted"
            self._backend.delete(key)
        except Exception as error:
            raise ConfigurationError(f"store {self.uri}: an object cannot be {step} ({first_line(error)}); mend its permissions") from error

    def put(self, key: str, data: bytes) -> FileRef:
        """Write ``data`` under ``key``, replacing what is there in one step."""
        self._ask(f"{key} cannot be written", lambda: self._backend.put(key, data))
        return FileRef(key=key, sha256=sha256_of(data))

    def put_object(self, kind: str, data: bytes, suffix: str) -> FileRef:
        """Write ``data`` under a key made of its digest; equal bytes are one object."""
        return self.put(keys.object_key(kind, sha256_of(data), suffix), data)

    def put_new(self, key: str, data: bytes) -> bool:
        """Write ``data`` under ``key`` only if nothing is there; return whether this caller won.

        An answer may be lost although the write was done, and a write asked for again then finds itself: whoever finds exactly the own
        bytes has won.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            self._ask(f"{key} cannot be written", lambda: patiently(lambda: self._backend.put(key, data, mode="create")))
        except (AlreadyExistsError, PreconditionError):
            return self.read(key) == data
        return True

    def read(self, key: str) -> bytes:
        """Return the bytes under ``key``.

        Raises:
            IntegrityError: Nothing is there.
        """
        try:
            return self._ask(f"{key} cannot be read", lambda: bytes(self._backend.get(key).bytes()))
        except FileNotFoundError as error:
            raise IntegrityError(f"store {self.uri}: {key} is missing; run again to re-make it") from error

    def get(self, ref: FileRef) -> bytes:
        """Return the bytes behind a reference.

        Raises:
            IntegrityError: The object is missing or its digest is another.
        """
        # What was altered on its way here is right the second time; what lies there altered is not.
        for _ in range(2):
            data = self.read(ref.key)
            found = sha256_of(data)
            if found == ref.sha256:
                return data
        raise IntegrityError(f"store {self.uri}: {ref.key} has digest {found[:12]}, not {ref.sha256[:12]}; run again to re-make it")

    def holds(self, ref: FileRef) -> bool:
        """Return whether the object exists with exactly the promised bytes."""
        try:
            self.get(ref)
        except IntegrityError:
            return False
        return True

    def holds_all(self, refs: list[FileRef]) -> list[bool]:
        """Return :meth:`holds` for each reference, several reads at a time."""
        with ThreadPoolExecutor(_IO_THREADS) as pool:
            return list(pool.map(self.holds, refs))

    def keys_below(self, prefix: str) -> list[str]:
        """Return every key below ``prefix``, sorted."""
        return sorted(str(entry["path"]) for entry in self._entries(prefix))

    def keys_by_age(self, prefix: str) -> list[str]:
        """Return every key below ``prefix``, oldest first."""
        entries = sorted(self._entries(prefix), key=lambda entry: (entry["last_modified"], entry["path"]))
        return [str(entry["path"]) for entry in entries]

    def _entries(self, prefix: str) -> list[Any]:
        return self._ask(f"{prefix} cannot be listed", lambda: patiently(lambda: list(self._backend.list(prefix + "/").collect())))

    def _ask(self, fault: str, call: Callable[[], T]) -> T:
        """Do a call; what the store answers that no caller foresees becomes one error that names the object.

        Raises:
            StoreError: The store does not answer, refuses, or has no room.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            return call()
        except (FileNotFoundError, AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, OSError) as error:
            raise StoreError(f"store {self.uri}: {fault} ({first_line(error)}); see to the store, then run again") from error

    def put_json(self, key: str, value: Any) -> FileRef:
        """Write ``value`` as canonical JSON under ``key``."""
        from storage.refs import canonical_json

        return self.put(key, canonical_json(value))

    def read_json(self, key: str) -> Any:
        """Return the JSON value under ``key``.

        Raises:
            IntegrityError: Nothing is there, or it is no JSON.
        """
        import json

        try:
            return json.loads(self.read(key))
        except ValueError as error:
            raise IntegrityError(f"store {self.uri}: {key} is not whole ({error}); run again to re-make it") from error

    def put_work(self, value: Any) -> FileRef:
        """Write a work list under its own digest."""
        return self.put_json(keys.work_key(digest_of(value)), value)

    def read_work(self, ref: FileRef) -> Any:
        """Return a work list, verified: what is done to an image is decided by it.

        Raises:
            IntegrityError: It is missing or altered.
        """
        import json

        return json.loads(self.get(ref))


def _open_backend(uri: str) -> Any:
    folder = local_path(uri)
    if folder is None:
        return open_remote(uri)
    from obstore.store import LocalStore

    folder.mkdir(parents=True, exist_ok=True)
    return LocalStore(str(folder))
