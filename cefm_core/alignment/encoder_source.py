"""Which weights an encoder setting means, found and digested without importing torch where that is possible.

Nothing here builds a network, and nothing connects to a network: weights of a model hub must lie in its local cache.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from cefm_core.config import EmbedConfig
from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError

BUILTIN_WEIGHTS = Path(__file__).parent.parent / "weights" / "vit_small_d4_distilled.safetensors"
BUILTIN_ARCHITECTURE = "vit_small_patch14_dinov2"
RANDOM_SEED = 999


@dataclass(frozen=True)
class EncoderSource:
    """Where an encoder's weights come from.

    Attributes:
        architecture: timm model name.
        path: safetensors file, or None for random weights.
        weights_sha256: Digest of the file's bytes, or of the words that describe the random weights.
        random: Whether the weights are random.
    """

    architecture: str
    path: Path | None
    weights_sha256: str
    random: bool


def resolve_source(config: EmbedConfig) -> EncoderSource:
    """Find the weights that the settings name.

    Raises:
        ConfigurationError: The weights are not there, are of a kind that could run code, or are random without leave.
    """
    if config.model == "builtin":
        return _file_source(BUILTIN_ARCHITECTURE, BUILTIN_WEIGHTS)
    if config.weights == "random":
        return _random_source(config)
    if config.weights == "hub":
        return _file_source(config.model, _cached_hub_file(config.model))
    return _file_source(config.model, Path(config.weights))


def encoder_digest(config: EmbedConfig) -> str:
    """Return the digest of everything that decides an embedding beside the image, its mask and the code.

    Args:
        config: Settings of embed_images.

    Returns:
        SHA-256, hex, over the weights' digest and the settings.

    Raises:
        ConfigurationError: As :func:`resolve_source`.
    """
    source = resolve_source(config)
    settings = config.model_dump(mode="json", exclude={"weights", "allow_random"})
    text = json.dumps({"weights": source.weights_sha256, "architecture": source.architecture, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _random_source(config: EmbedConfig) -> EncoderSource:
    if not config.allow_random:
        raise ConfigurationError("embed.weights = random needs embed.allow_random = true: such embeddings mean nothing")
    words = f"random weights of {config.model}, seed {RANDOM_SEED}"
    return EncoderSource(config.model, None, hashlib.sha256(words.encode()).hexdigest(), True)


def _file_source(architecture: str, path: Path) -> EncoderSource:
    if path.suffix != ".safetensors":
        raise ConfigurationError(
            f"embed.weights: {path} is not a .safetensors file; convert it (safetensors.torch.save_file), a pickle can run code"
        )
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise ConfigurationError(f"embed.weights: cannot read {path}: {error.strerror}") from error
    return EncoderSource(architecture, path, digest, False)


def _cached_hub_file(model: str) -> Path:
    """Return the hub file of a timm model from the local cache; it is never fetched from here."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(model) if timm.is_model(model) else None
    if not timm.is_model(model.split(".")[0]):
        raise ConfigurationError(f"embed.model: timm knows no model {model!r}")
    if cfg is None or not cfg.hf_hub_id:
        raise ConfigurationError(
            f"embed.model: timm has no hub weights for {model!r}; name a file in embed.weights, or another tag of the model"
        )
    for name in ("model.safetensors", "open_clip_model.safetensors"):
        found = try_to_load_from_cache(cfg.hf_hub_id, name)
        if isinstance(found, str):
            return Path(found)
    raise ConfigurationError(
        f"embed.model: weights of {model} are not in the local hub cache: expected model.safetensors of {cfg.hf_hub_id}. "
        f"Fetch them once with `hf download {cfg.hf_hub_id} model.safetensors`, or name a file in embed.weights"
    )
