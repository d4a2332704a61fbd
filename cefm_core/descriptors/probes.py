"""Probes: logistic regressions on the frozen embedding, each of which tells one finding that images are labelled with.

They are learned by ``probe_training``; which of them are in use, and why the others are not, stands in their table.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cefm_core.alignment.encoder_source import BUILTIN_ARCHITECTURE, encoder_digest
from cefm_core.config import DescriptorConfig, EmbedConfig
from cefm_core.descriptors.vocabulary import VERSION, find_descriptor
from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError

PROBES = "v1"
DATA = Path(__file__).parent / "data"
TABLE, WEIGHTS = DATA / f"probes_{PROBES}.csv", DATA / f"probes_{PROBES}.safetensors"
SCORE_DECIMALS = 5
"""Stored rounding of probabilities: well above float32 noise."""


def encoder_settings() -> EmbedConfig:
    """Return the settings of the encoder on whose embedding the probes work: always the one that is shipped."""
    return EmbedConfig(model="builtin", view="both", tokens="class_mean_spread")


def probes_digest() -> str:
    """Return the SHA-256 of the probes' weights, hex."""
    return file_sha256(WEIGHTS)


@dataclass(frozen=True)
class Probe:
    """One line of the table of probes.

    Attributes:
        phrase: The finding; for one in use, a phrase of the vocabulary.
        labels: Data set and columns it was learned from.
        n: Images it was learned from.
        present: Those of them that are labelled with the finding.
        auc: AUC on held-out folds, lesions apart.
        low: Lower end of its 95 % interval.
        high: Upper end.
        measured_auc: AUC of the pipeline's own measurement of the same thing on the same images, or None.
        used: Whether it scores images.
        why: Why it does not, or "".
        cut: Log odds from which on the finding is called present.
    """

    phrase: str
    labels: str
    n: int
    present: int
    auc: float
    low: float
    high: float
    measured_auc: float | None
    used: bool
    why: str
    cut: float


@cache
def load_probes() -> tuple[Probe, ...]:
    """Return the table of all probes, those that are not in use among them."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(_probe(row) for row in csv.DictReader(file))


def _probe(row: dict[str, str]) -> Probe:
    measured = float(row["measured_auc"]) if row["measured_auc"] else None
    auc, low, high, cut = (float(row[name]) for name in ("auc", "low", "high", "cut"))
    counts = int(row["n"]), int(row["present"])
    return Probe(row["phrase"], row["labels"], *counts, auc, low, high, measured, row["used"] == "yes", row["why"], cut)


class ProbeScorer:
    """The probes in use; make one with :meth:`load`. The encoder is loaded when an image comes whose embedding is not at hand."""

    def __init__(self, weights: np.ndarray, intercepts: np.ndarray, config: DescriptorConfig, device: str) -> None:
        self._weights = weights.astype(np.float64)
        self._intercepts = intercepts
        self._probes = tuple(probe for probe in load_probes() if probe.used)
        self._config = config
        self._device = device

    @cached_property
    def _encoder(self) -> Any:
        from cefm_core.alignment.encoder import Encoder

        return Encoder.load(encoder_settings(), self._device)

    @classmethod
    def load(cls, config: DescriptorConfig, device: str = "cpu") -> ProbeScorer:
        """Load the probes that are in use.

        Args:
            config: How many descriptors are kept.
            device: torch device.

        Raises:
            ConfigurationError: The probes were learned on embeddings of another encoder than the one shipped.
        """
        from safetensors import safe_open

        with safe_open(str(WEIGHTS), "np") as file:
            facts = json.loads(file.metadata()["cefm_probes"])
            weights, intercepts = file.get_tensor("weights"), file.get_tensor("intercepts")
        if facts["encoder_sha256"] != encoder_digest(encoder_settings()):
            raise ConfigurationError(
                f"descriptors.scorer: the probes {PROBES} belong to another encoder; make them anew "
                "(python -m cefm_core.descriptors.probe_training), or set descriptors.scorer to clip or none"
            )
        return cls(weights, intercepts, config, device)

    def embed(self, rgb: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Return the embedding that the probes read, float32 (d,): what ``embed_images`` stores where its settings are those of the probes.

        Args:
            rgb: uint8 (H, W, 3).
            mask: bool (H, W) of the lesion, or None; a missing or empty one makes the frame stand in for the lesion's crop.
        """
        vector: np.ndarray = self._encoder.embed([rgb], [mask])[0]
        return vector

    def rank(self, vector: np.ndarray) -> dict[str, Any]:
        """Score one image.

        Args:
            vector: Its embedding, float32 (d,).

        Returns:
            A row of the ``descriptors`` table without the columns that the row driver fills.
        """
        log_odds = self._weights @ vector.astype(np.float64) + self._intercepts
        probabilities = np.round(1 / (1 + np.exp(-log_odds)), SCORE_DECIMALS)
        chosen = present(log_odds, self._probes, self._config.top_k)
        return {
            "phrases": [self._probes[index].phrase for index in chosen],
            "scores": [float(probabilities[index]) for index in chosen],
            "vocabulary_scores": probabilities.tolist(),
            "vocabulary_version": VERSION,
            "scorer": "probes",
            "model": f"probes {PROBES} on {BUILTIN_ARCHITECTURE}",
            "weights_sha256": probes_digest(),
            "reason": None,
        }


def present(log_odds: np.ndarray, probes: Sequence[Probe], top_k: int) -> list[int]:
    """Choose the findings that are called present: those at or above their cut, the farthest above it first.

    Args:
        log_odds: One a probe.
        probes: The probes.
        top_k: Most findings returned.

    Returns:
        Positions in ``probes``; a finding that may not be reported is left out.
    """
    above = [round(float(score) - probe.cut, SCORE_DECIMALS) for score, probe in zip(log_odds, probes, strict=True)]
    order = sorted((i for i in range(len(probes)) if above[i] >= 0 and _reportable(probes[i])), key=lambda i: (-above[i], i))
    return order[:top_k]


def _reportable(probe: Probe) -> bool:
    entry = find_descriptor(probe.phrase)
    return entry is not None and entry.reportable
