"""A reference to stored bytes: what crosses a task instead of the bytes.

How the bytes are read or written does not belong here.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class FileRef(BaseModel):
    """Where an object lies and what its bytes must be.

    Attributes:
        key: Key below the store's root.
        sha256: Hex digest of the bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    sha256: str


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Encode ``value`` as JSON that is the same for equal values in every process.

    Raises:
        TypeError: The value holds something that is not plain JSON (a set, a path, an array ...).
        ValueError: The value holds NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of ``value``."""
    return sha256_of(canonical_json(value))
