"""Who scores the descriptors, and what its scores depend on; decided without importing torch."""

from __future__ import annotations

from typing import Any

from cefm_core.alignment.encoder_source import encoder_digest
from cefm_core.config import DescriptorConfig
from cefm_core.descriptors.probes import encoder_settings, probes_digest
from cefm_core.descriptors.vocabulary import VERSION
from cefm_core.descriptors.weights import resolve_weights
from cefm_core.digests import file_sha256

SWITCHED_OFF = "descriptors.scorer is none"
"""Why there are no descriptors where the settings say so."""


def chosen_scorer(config: DescriptorConfig) -> str:
    """Return ``clip``, ``probes`` or ``none``; `auto` means CLIP where weights are configured, else the probes.

    A configured checkpoint that cannot be used is no reason to take the probes but a ``ConfigurationError`` from ``resolve_weights``.
    """
    if config.scorer == "auto":
        return "clip" if config.weights is not None else "probes"
    return config.scorer


def weights_digests(config: DescriptorConfig) -> dict[str, str]:
    """Return the SHA-256 of every weight file that the scores depend on, hex, by name; for cache keys.

    Raises:
        ConfigurationError: As ``resolve_weights``.
    """
    scorer = chosen_scorer(config)
    if scorer == "clip":
        return {"clip": file_sha256(resolve_weights(config).path)}
    if scorer == "probes":
        return {"probes": probes_digest(), "encoder": encoder_digest(encoder_settings())}
    return {}


def deciding_settings(config: DescriptorConfig) -> dict[str, Any]:
    """Return the settings that decide the scores: those of the scorer chosen, and no others."""
    scorer = chosen_scorer(config)
    used = {"clip": {"model", "activation", "top_k"}, "probes": {"top_k"}}.get(scorer, set())
    return {"scorer": scorer} | config.model_dump(mode="json", include=used)


def skipped_row() -> dict[str, Any]:
    """Return the row of an image where nobody scores."""
    return {
        "phrases": None,
        "scores": None,
        "vocabulary_scores": None,
        "vocabulary_version": VERSION,
        "scorer": "none",
        "model": "none",
        "weights_sha256": None,
        "reason": SWITCHED_OFF,
    }
