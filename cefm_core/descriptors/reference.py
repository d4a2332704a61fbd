"""A stored reference embedding guards against a wrong activation, preprocessing or tokenizer.

The reference lies beside the checkpoint as ``<checkpoint>.reference.json``; :func:`reference_text` makes its content where the model is
known to be right.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cefm_core.errors import ConfigurationError

LOGGER = logging.getLogger(__name__)
MIN_COSINE = 0.9999


def reference_image() -> np.ndarray:
    """Return the fixed image of the check: a colour ramp with a dark ellipse; uint8 (240, 320, 3)."""
    y, x = np.mgrid[0:240, 0:320]
    rgb = np.stack([200 - y // 4, 120 + x // 4, 90 + (x + y) // 8], axis=-1)
    rgb[((x - 160) / 70) ** 2 + ((y - 120) / 45) ** 2 <= 1] = (90, 50, 40)
    return rgb.astype(np.uint8)


def reference_path(checkpoint: Path) -> Path:
    """Return where the reference of a checkpoint lies."""
    return checkpoint.with_name(checkpoint.name + ".reference.json")


def reference_text(embed: Callable[[np.ndarray], np.ndarray], text: np.ndarray, facts: Mapping[str, Any]) -> str:
    """Return the reference of a loaded model as JSON: its embeddings of the fixed image and of the vocabulary's mean.

    Args:
        embed: The model's image embedding.
        text: Embedded vocabulary, (phrases, d).
        facts: The ranker's facts.
    """
    data = {
        "weights_sha256": facts["weights_sha256"],
        "vocabulary_version": facts["vocabulary_version"],
        "activation": facts["activation"],
        "image": [round(float(value), 6) for value in embed(reference_image())],
        "text": [round(float(value), 6) for value in text.mean(axis=0)],
    }
    return json.dumps(data) + "\n"


def check_reference(checkpoint: Path, embed: Callable[[np.ndarray], np.ndarray], text: np.ndarray, facts: Mapping[str, Any]) -> None:
    """Compare a loaded model with the stored reference; without one, say so in the log.

    Raises:
        ConfigurationError: The reference is of other weights, or a cosine is at most ``MIN_COSINE``.
    """
    path = reference_path(checkpoint)
    if not path.is_file():
        LOGGER.info("no %s: activation, preprocessing and tokenizer are as configured, unchecked", path.name)
        return
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["weights_sha256"] != facts["weights_sha256"]:
        raise ConfigurationError(f"descriptors.weights: {path.name} was made for other weights; remove it or restore the checkpoint")
    found = {"image": embed(reference_image())}
    if data["vocabulary_version"] == facts["vocabulary_version"]:
        found["text"] = text.mean(axis=0)
    for name, vector in found.items():
        cosine = _cosine(np.asarray(data[name], dtype=np.float64), vector.astype(np.float64))
        if not cosine > MIN_COSINE:
            raise ConfigurationError(
                f"descriptors.activation: the {name} embedding has cosine {cosine:.4f} with {path.name} (made with "
                f"{data['activation']}, now {facts['activation']}); activation, preprocessing or tokenizer is not that of the reference"
            )


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
