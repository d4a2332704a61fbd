"""LesionViT, the stronger of the two coarse networks: the encoder that CEFM ships, tuned by low-rank updates, under a small decoder.

The vision transformer says where the lesion is (tokens of its middle and last block), convolutions on the pixels say where exactly it
ends. The encoder's own weights stay frozen and are not stored again; what training learns is the low-rank updates of its linear layers
(Hu et al., 2022, LoRA), its norms and the decoder.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.coarse_network import CoarseNetwork

BACKBONE = Path(__file__).parent.parent / "weights" / "vit_small_d4_distilled.safetensors"
PATCH_PX = 14
TAPS = (1, 3)
RANK = 32
SEMANTIC_WIDTH, PIXEL_WIDTH, HALF_WIDTH = 128, 32, 24
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LowRank(nn.Module):
    """A frozen linear layer with a learned update of low rank, W x + B A x; B starts at zero."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.normal_(self.down.weight, std=base.in_features**-0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis; the other axes stay."""
        return cast(Tensor, self.base(x) + self.up(self.down(x)))


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return F.gelu(x + self.body(x))


def convolution(entrance: int, exit_: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with batch norm and GELU; the padding keeps the sides, up to the stride."""
    layer = nn.Conv2d(entrance, exit_, side, stride, side // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(exit_), nn.GELU())


class LesionViT(CoarseNetwork):
    """The network; see the module's text. Built with the shipped encoder's weights and an untrained decoder."""

    mean: Tensor
    std: Tensor
    architecture = "LesionViT"
    stored_type = torch.float16

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _frozen_backbone()
        width = int(self.backbone.embed_dim)
        self.semantic = nn.Sequential(convolution(width * len(TAPS), SEMANTIC_WIDTH, 1), Residual(SEMANTIC_WIDTH), Residual(SEMANTIC_WIDTH))
        self.at_half = convolution(3, HALF_WIDTH, stride=2)
        self.at_quarter = nn.Sequential(convolution(HALF_WIDTH, PIXEL_WIDTH, stride=2), Residual(PIXEL_WIDTH))
        joint = 2 * PIXEL_WIDTH
        self.joint = nn.Sequential(convolution(SEMANTIC_WIDTH + PIXEL_WIDTH, joint, 1), Residual(joint), Residual(joint))
        self.fine = nn.Sequential(convolution(joint + HALF_WIDTH, PIXEL_WIDTH, 1), Residual(PIXEL_WIDTH))
        self.head = nn.Conv2d(PIXEL_WIDTH, 4, 1)
        self.semantic_head = nn.Conv2d(SEMANTIC_WIDTH, 1, 1)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def training_logits(self, x: Tensor) -> list[Tensor]:
        """Return the logits of each pixel, (batch, 1, side, side), and those of each token, (batch, 1, side / 14, side / 14), float32.

        Sides are multiples of 4, at least 28.
        """
        x = (x / 255 - self.mean) / self.std
        semantic = self.semantic(self._tokens(x))
        half = self.at_half(x)
        quarter = self.at_quarter(half)
        joint = self.joint(torch.cat([_resized(semantic, quarter), quarter], 1))
        fine = self.fine(torch.cat([_resized(joint, half), half], 1))
        return [F.pixel_shuffle(self.head(fine), 2).float(), self.semantic_head(semantic).float()]

    def learned_state(self) -> dict[str, Tensor]:
        """Return what training learns, by name: everything but the frozen encoder. The tensors are the network's own."""
        return {name: value for name, value in self.state_dict().items() if _learned(name)}

    def load_learned(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`learned_state` returned; names and shapes are checked by the caller."""
        self.load_state_dict(tensors, strict=False)

    @staticmethod
    def needs() -> dict[str, str]:
        """Return the digest of the encoder to which the learned tensors belong."""
        return {"backbone_sha256": file_sha256(BACKBONE)}

    def _tokens(self, x: Tensor) -> Tensor:
        """Return the normed patch tokens of the tapped blocks, (batch, width * taps, rows, columns)."""
        count = max(2, round(x.shape[-1] / PATCH_PX))
        side = count * PATCH_PX
        vit = self.backbone
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(F.interpolate(x, (side, side), mode="bilinear", antialias=True))))
        found = []
        for index, block in enumerate(vit.blocks):
            tokens = block(tokens)
            if index in TAPS:
                found.append(tokens[:, vit.num_prefix_tokens :])
        joined = torch.cat(found, -1)
        return F.layer_norm(joined, joined.shape[-1:]).transpose(1, 2).unflatten(2, (count, count))


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear")


def _learned(name: str) -> bool:
    if name.endswith("num_batches_tracked"):
        return False
    return not name.startswith("backbone.") or any(part in name for part in (".down.", ".up.", ".norm1.", ".norm2."))


def _frozen_backbone() -> Any:
    """Build the shipped encoder, frozen but for its norms, with low-rank updates on every linear layer of its blocks."""
    try:
        with safe_open(BACKBONE, framework="pt") as stream:  # type: ignore[no-untyped-call]
            arguments = json.loads(stream.metadata()["cefm_encoder"])["arguments"]
            state = OrderedDict((name, stream.get_tensor(name).float()) for name in stream.keys())  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{BACKBONE.name}: the installation lacks its shipped encoder; install the package again ({error})"
        ) from error
    vit: Any = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **{**arguments, "dynamic_img_size": True})
    vit.load_state_dict(state)
    vit.requires_grad_(False)
    for block in vit.blocks:
        for holder, name in ((block.attn, "qkv"), (block.attn, "proj"), (block.mlp, "fc1"), (block.mlp, "fc2")):
            setattr(holder, name, LowRank(getattr(holder, name), RANK))
        block.norm1.requires_grad_(True)
        block.norm2.requires_grad_(True)
    return vit
