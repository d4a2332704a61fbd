"""The frozen vision transformer: images and masks in, one embedding vector per image out.

An embedding depends on its own image and mask alone: on a CPU every view is computed by itself on one thread, on a GPU
in batches padded to a fixed size. Nothing here trains anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cefm_core.alignment.encoder_source import RANDOM_SEED, EncoderSource, encoder_digest, resolve_source
from cefm_core.alignment.preprocess import InputSpec, lesion_box, normalise, resize_view
from cefm_core.config import EmbedConfig
from cefm_core.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

__all__ = ["Encoder", "encoder_digest"]

GPU_BATCH = 32
PARTS = {"class": 1, "class_mean": 2, "class_mean_spread": 4}
MAX_REFERENCE_ERROR = 0.002
FRAME_NOTE = "lesion_view_is_frame"


@dataclass
class Encoder:
    """A frozen encoder; make one with :meth:`load`.

    Attributes:
        network: timm vision transformer in eval mode, without classifier.
        spec: Preprocessing from the model's own data configuration.
        config: Settings it was loaded with.
        source: Where its weights came from.
        digest: See :func:`encoder_digest`.
        device: torch device name.
    """

    network: Any
    spec: InputSpec
    config: EmbedConfig
    source: EncoderSource
    digest: str
    device: str = "cpu"

    @classmethod
    def load(cls, config: EmbedConfig, device: str = "cpu") -> Encoder:
        """Load the encoder that the settings name, strictly, and check it against its reference embedding if it has one.

        Args:
            config: Settings of embed_images.
            device: torch device name.

        Raises:
            ConfigurationError: The weights are missing, do not fit the architecture, or give another embedding of the
                reference image than they did when they were written.
        """
        source = resolve_source(config)
        metadata = _metadata(source)
        network, spec = _build(config, source, metadata)
        if not source.random:
            _load_strictly(network, source)
        network = network.eval().requires_grad_(False).to(device)
        encoder = cls(network, spec, config, source, encoder_digest(config), device)
        encoder._check_reference(metadata)
        return encoder

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return int(self.network.num_features) * len(self._views()) * PARTS[self.config.tokens]

    @property
    def facts(self) -> dict[str, Any]:
        """Everything a reader of the embeddings needs to know about how they were made, as JSON values."""
        return {
            "encoder": self.source.architecture,
            "encoder_sha256": self.digest,
            "weights_sha256": self.source.weights_sha256,
            "random_weights": self.source.random,
            "depth": len(self.network.blocks),
            "dimension": self.dimension,
            "view": self.config.view,
            "tokens": self.config.tokens,
            "input": self.spec.as_facts(),
        }

    def embed(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray | None] | None = None) -> np.ndarray:
        """Embed images.

        Args:
            images: uint8 (H, W, 3) each.
            masks: bool (H, W) each, or None; used by the views `lesion` and `both`. A missing or empty mask makes the
                frame stand in for the lesion crop.

        Returns:
            float32 (n, d); frame part first where both views are asked for; within a view class token, mean of the patch tokens,
            their standard deviation, and that of the (normed) patch tokens after the middle block.
        """
        masks = masks if masks is not None else [None] * len(images)
        inputs = [
            normalise(resize_view(image, box, self.spec), self.spec)
            for image, mask in zip(images, masks, strict=True)
            for box in self._boxes(mask)
        ]
        if not inputs:
            return np.zeros((0, self.dimension), np.float32)
        return self._forward(inputs).reshape(len(images), -1)

    def rows(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray | None] | None = None) -> list[dict[str, Any]]:
        """Embed images into rows of the table `embeddings` (the image ids are the caller's to add)."""
        masks = masks if masks is not None else [None] * len(images)
        stamp = {"encoder": self.source.architecture, "encoder_sha256": self.digest, "random_weights": self.source.random}
        vectors = self.embed(images, masks)
        return [{"vector": vector, **stamp, "notes": self._notes(mask)} for vector, mask in zip(vectors, masks, strict=True)]

    def _views(self) -> tuple[str, ...]:
        return ("frame", "lesion") if self.config.view == "both" else (self.config.view,)

    def _boxes(self, mask: np.ndarray | None) -> list[Any]:
        return [lesion_box(mask) if view == "lesion" and mask is not None else None for view in self._views()]

    def _notes(self, mask: np.ndarray | None) -> list[str]:
        missing = "lesion" in self._views() and (mask is None or not mask.any())
        return [FRAME_NOTE] if missing else []

    def _forward(self, inputs: list[torch.Tensor]) -> np.ndarray:
        """Run views through the network; float32 (views, tokens * width)."""
        import torch

        size = 1 if self.device == "cpu" else GPU_BATCH
        parts = []
        with torch.inference_mode(), one_thread(self.device):
            for start in range(0, len(inputs), size):
                chunk = inputs[start : start + size]
                padded = torch.stack(chunk + [torch.zeros_like(chunk[0])] * (size - len(chunk)))
                parts.append(self._pooled(padded.to(self.device))[: len(chunk)].float().cpu())
        return torch.cat(parts).numpy()

    def _pooled(self, batch: torch.Tensor) -> torch.Tensor:
        """Return class token, mean and spreads of the patch tokens, as far as the settings ask, (n, parts * width)."""
        import torch
        from torch.nn.functional import layer_norm

        network, middle = self.network, len(self.network.blocks) // 2
        tokens, inside = network.forward_intermediates(batch, indices=[middle], output_fmt="NLC")
        patches = tokens[:, network.num_prefix_tokens :]
        # The middle block's tokens have not been through the last norm: each is normed by itself, without learnt weights.
        inside = layer_norm(inside[0], inside[0].shape[-1:])
        parts = [network.forward_head(tokens, pre_logits=True), patches.mean(dim=1), patches.std(dim=1), inside.std(dim=1)]
        return torch.cat(parts[: PARTS[self.config.tokens]], dim=1)

    def _check_reference(self, metadata: dict[str, Any]) -> None:
        reference = metadata.get("reference")
        if reference is None or self.spec.side_px != metadata["input"]["side_px"]:
            return
        found, wanted = reference_embedding(self.network, self.spec, self.device), np.asarray(reference)
        # Not a cosine: what all images have in common makes even a wrong activation's embedding look much alike.
        error = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
        if not error < MAX_REFERENCE_ERROR:
            raise ConfigurationError(
                f"embed.weights: {self.source.path} gives another embedding of its reference image (relative error {error:.4f}) "
                "than when it was written: the architecture or its activation does not belong to these weights"
            )


def reference_embedding(network: Any, spec: InputSpec, device: str = "cpu") -> np.ndarray:
    """Class token, float32 (d,), of one fixed picture: the fingerprint by which a wrong architecture shows."""
    import torch

    yy, xx = np.mgrid[0:240, 0:320]
    blob = np.exp(-(((xx - 150) / 70.0) ** 2 + ((yy - 125) / 50.0) ** 2))
    texture = 12 * np.sin(xx / 7.0) * np.cos(yy / 5.0)
    rgb = np.stack([215 - 130 * blob + texture, 165 - 120 * blob + texture, 145 - 85 * blob - texture], axis=-1)
    pixels = normalise(resize_view(np.clip(np.rint(rgb), 0, 255).astype(np.uint8), None, spec), spec)
    with torch.inference_mode(), one_thread(device):
        tokens = network.forward_features(pixels[None].to(device))
        return network.forward_head(tokens, pre_logits=True)[0].float().cpu().numpy()


@contextmanager
def one_thread(device: str = "cpu") -> Iterator[None]:
    """Keep torch to one CPU thread, so that sums are added in one order whatever the machine; restored afterwards."""
    import torch

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _metadata(source: EncoderSource) -> dict[str, Any]:
    """Read what a weight file says about itself: architecture arguments, preprocessing, reference embedding."""
    from safetensors import SafetensorError, safe_open

    if source.path is None:
        return {}
    try:
        with safe_open(str(source.path), "pt") as file:
            text = (file.metadata() or {}).get("cefm_encoder", "{}")
        return json.loads(text)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"embed.weights: {source.path} is not a readable safetensors file: {error}") from error


def _build(config: EmbedConfig, source: EncoderSource, metadata: dict[str, Any]) -> tuple[Any, InputSpec]:
    """Build the architecture and read its preprocessing from its data configuration (or its weight file)."""
    network = _create(source.architecture, _arguments(config, metadata))
    if not hasattr(network, "num_prefix_tokens") or not hasattr(network, "blocks"):
        raise ConfigurationError(f"embed.model: {source.architecture} is not a vision transformer")
    if "input" in metadata:
        stated = metadata["input"]
        spec = InputSpec(**{**stated, "mean": tuple(stated["mean"]), "std": tuple(stated["std"])})
    else:
        spec = _own_spec(network)
    side = config.img_size or spec.side_px
    return network, InputSpec(**{**spec.as_facts(), "side_px": side, "mean": spec.mean, "std": spec.std})


def _arguments(config: EmbedConfig, metadata: dict[str, Any]) -> dict[str, Any]:
    arguments = dict(metadata.get("arguments", {}))
    if config.img_size is not None:
        arguments["img_size"] = config.img_size
    return arguments


def _create(architecture: str, arguments: dict[str, Any]) -> Any:
    """Build a network whose first weights are always the same ones, leaving the process's own random state as it was."""
    import timm
    import torch

    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"embed.model: timm cannot build {architecture!r} with {arguments}: {error}") from error
    except AssertionError as error:
        raise ConfigurationError(f"embed.img_size: {arguments.get('img_size')} does not suit {architecture!r}: {error}") from error


def _own_spec(network: Any) -> InputSpec:
    from timm.data import resolve_model_data_config

    own = resolve_model_data_config(network)
    return InputSpec(
        int(own["input_size"][-1]), tuple(own["mean"]), tuple(own["std"]), own["interpolation"], float(own["crop_pct"]), own["crop_mode"]
    )


def _load_strictly(network: Any, source: EncoderSource) -> None:
    """Load weights by timm's own renaming and resizing; only a classifier head may be left over."""
    import sys

    from safetensors.torch import load_file

    state = {name: tensor.float() for name, tensor in load_file(str(source.path)).items()}
    adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        state = adapt(state, network) if adapt is not None else state
        missing, unexpected = network.load_state_dict(state, strict=False)
    except (RuntimeError, KeyError) as error:
        raise ConfigurationError(f"embed.weights: {source.path} does not fit {source.architecture}: {error}") from error
    unexpected = [name for name in unexpected if not name.startswith("head.")]
    if missing or unexpected:
        raise ConfigurationError(
            f"embed.weights: {source.path} does not fit {source.architecture}: {len(missing)} tensors missing {missing[:5]}, "
            f"{len(unexpected)} unexpected {unexpected[:5]}"
        )
