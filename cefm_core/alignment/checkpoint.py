"""A trained alignment as one safetensors file: tensors, and what they mean as JSON in the header."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cefm_core.errors import ConfigurationError

FORMAT = "cefm-alignment-2"
_HEADER = "cefm_alignment"


@dataclass(frozen=True)
class TrainedAlignment:
    """Everything that prediction needs, and how it came about.

    Attributes:
        tensors: Arrays by name: scales, heads and classifiers (first axis: seeds), linear baseline, novelty model.
        facts: JSON values: format, settings, encoder, measurements, seeds, counts, blends, threshold.
        log_rows: Rows of `training_log`; empty after reading a checkpoint.
    """

    tensors: dict[str, np.ndarray]
    facts: dict[str, Any]
    log_rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.facts.setdefault("format", FORMAT)
        self.facts.setdefault("tensors_sha256", tensors_digest(self.tensors))

    def to_bytes(self) -> bytes:
        """Return the checkpoint file; see :func:`checkpoint_bytes`."""
        return checkpoint_bytes(self)


def tensors_digest(tensors: dict[str, np.ndarray]) -> str:
    """Return the SHA-256, hex, over names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def checkpoint_bytes(trained: TrainedAlignment) -> bytes:
    """Return the checkpoint file; the same training gives the same bytes."""
    from safetensors.numpy import save

    # One header entry only: the order of several is not fixed.
    header = {_HEADER: json.dumps(trained.facts, sort_keys=True, allow_nan=False)}
    return save({name: np.ascontiguousarray(array) for name, array in trained.tensors.items()}, header)


def checkpoint_from_bytes(data: bytes) -> TrainedAlignment:
    """Read a checkpoint.

    Raises:
        ConfigurationError: It is no checkpoint of this format, a tensor is missing or too many, or its digest is another.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors, facts = load(data), json.loads(_header_of(data)["__metadata__"][_HEADER])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"checkpoint: not a readable alignment checkpoint: {error}") from error
    if facts.get("format") != FORMAT:
        raise ConfigurationError(f"checkpoint: format {facts.get('format')!r}, this version reads {FORMAT!r}; train again")
    expected, found = set(facts["tensor_names"]), set(tensors)
    if expected != found:
        raise ConfigurationError(f"checkpoint: missing tensors {sorted(expected - found)}, unexpected tensors {sorted(found - expected)}")
    if tensors_digest(tensors) != facts["tensors_sha256"]:
        raise ConfigurationError("checkpoint: the tensors are not those it was written with (digest differs)")
    return TrainedAlignment(tensors, facts)


def _header_of(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])
