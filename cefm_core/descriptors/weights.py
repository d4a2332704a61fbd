"""Which file holds the weights of CLIP, and how it must be used; decided without importing torch.

Nothing is fetched here. A pretrained tag is looked up in the local cache; what is not there is a configuration error that
names the file, at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cefm_core.config import DescriptorConfig
from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class ResolvedWeights:
    """The checkpoint that will be loaded.

    Attributes:
        path: The file.
        quick_gelu: Whether the weights were trained with QuickGELU.
        preprocess: Mean, standard deviation and resize of the tag, empty for a file (the model's own then).
    """

    path: Path
    quick_gelu: bool
    preprocess: Mapping[str, Any]


def resolve_weights(config: DescriptorConfig) -> ResolvedWeights:
    """Find the checkpoint and its activation.

    Raises:
        ConfigurationError: No weights are configured; the file is missing, of an unknown kind or of another digest; the tag is
            unknown or not in the local cache; or it is not known which activation a file was trained with.
    """
    if config.weights is None:
        raise ConfigurationError(
            "descriptors.weights: CLIP needs a checkpoint file or an open_clip tag, or set descriptors.scorer to probes"
        )
    path = Path(config.weights).expanduser()
    if path.is_file():
        resolved = ResolvedWeights(path, _file_activation(config), {})
    elif path.suffix in SUFFIXES or "/" in config.weights or "\\" in config.weights:
        raise ConfigurationError(f"descriptors.weights: there is no file {config.weights}")
    else:
        resolved = _from_tag(config)
    if resolved.path.suffix not in SUFFIXES:
        raise ConfigurationError(f"descriptors.weights: {resolved.path.name} is none of {', '.join(SUFFIXES)}")
    _check_digest(resolved.path, config)
    return resolved


def _check_digest(path: Path, config: DescriptorConfig) -> None:
    if config.weights_sha256 is None:
        return
    found = file_sha256(path)
    if found != config.weights_sha256.lower():
        raise ConfigurationError(f"descriptors.weights_sha256: {path.name} has digest {found}")


def _file_activation(config: DescriptorConfig) -> bool:
    """A file does not say its activation: it is pinned by the setting, or by the model's name, and never guessed."""
    from open_clip import get_model_config

    if config.activation != "auto":
        return config.activation == "quickgelu"
    own = get_model_config(config.model)
    if own is None:
        raise ConfigurationError(f"descriptors.model: open_clip has no model {config.model!r}")
    if not own.get("quick_gelu") and get_model_config(f"{config.model}-quickgelu") is not None:
        raise ConfigurationError(
            f"descriptors.activation: a file does not say whether {config.model} was trained with GELU or QuickGELU; "
            "set gelu or quickgelu (weights of OpenAI and those fine-tuned from them: quickgelu; LAION: gelu)"
        )
    return bool(own.get("quick_gelu"))


def _from_tag(config: DescriptorConfig) -> ResolvedWeights:
    """Look a pretrained tag up in the local cache, and take activation and preprocessing from it."""
    from open_clip import get_pretrained_cfg
    from open_clip.pretrained import list_pretrained_tags_by_model

    name = config.weights or ""
    tag = get_pretrained_cfg(config.model, name)
    if not tag:
        known = ", ".join(list_pretrained_tags_by_model(config.model)) or "none"
        raise ConfigurationError(f"descriptors.weights: {name!r} is neither a file nor a tag of {config.model} (its tags: {known})")
    quick_gelu = bool(tag.get("quick_gelu"))
    if config.activation != "auto" and (config.activation == "quickgelu") != quick_gelu:
        raise ConfigurationError(f"descriptors.activation: tag {name!r} was trained with {'quickgelu' if quick_gelu else 'gelu'}")
    preprocess = {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key)}
    return ResolvedWeights(_cached_file(config, tag), quick_gelu, preprocess)


def _cached_file(config: DescriptorConfig, tag: Mapping[str, Any]) -> Path:
    """Return the cached file of a tag; never asks the network."""
    from huggingface_hub import try_to_load_from_cache

    repository = str(tag.get("hf_hub") or "").rstrip("/")
    names: tuple[str, ...] = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
    if repository.count("/") > 1:
        repository, _, own = repository.rpartition("/")
        names = (own,)
    for name in names if repository else ():
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    address = str(tag.get("url") or "")
    if address and (path := Path("~/.cache/clip").expanduser() / address.rpartition("/")[2]).is_file():
        return path
    expected = f"{names[0]} of {repository}" if repository else address.rpartition("/")[2]
    raise ConfigurationError(
        f"descriptors.weights: {expected} (tag {config.weights!r} of {config.model}) is not in the local cache; "
        "fetch it once on a machine with a network, or name a checkpoint file"
    )
