"""A decoder on the frozen features of LiteMedSAM's image encoder: from a whole dermoscopic image to a lesion mask without a prompt.

The encoder is the package's own (see ``litemedsam_backend``) and is not trained; the decoder is. Loading weights, thresholds and the
training loop do not belong here.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cefm_core.segmentation.litemedsam_backend import WEIGHTS_SHA256, embed, load_network

FEATURE_SIDE_PX = 192
"""Side of the image that the encoder is shown: half the cost of its own 256 px."""
FEATURE_CHANNELS = 256
CELLS = FEATURE_SIDE_PX // 4
COLOUR_SIDE_PX = 2 * CELLS


class FeatureDecoder(nn.Module):
    """Convolutions at a quarter of the encoder's resolution with growing reach, and a last step at half of it that sees the colours.

    Args:
        width: Channels at the features' resolution.
        fine: Channels at twice that resolution.
    """

    INPUT_TRANSFORM = f"features of LiteMedSAM's image encoder {WEIGHTS_SHA256[:12]} at {FEATURE_SIDE_PX} px"
    OUTPUT = "logit"

    def __init__(self, width: int = 96, fine: int = 32) -> None:
        super().__init__()
        self.reduce = _block(FEATURE_CHANNELS, width, kernel=1)
        self.near, self.middle, self.far = (_block(width, width, dilation=reach) for reach in (1, 2, 4))
        self.whole = nn.Linear(width, width)
        self.drop = nn.Dropout2d(0.1)
        self.merge, self.refine = _block(width + 3, fine), _block(fine, fine)
        self.last = nn.Conv2d(fine, 1, 1)

    def forward(self, features: Tensor, colours: Tensor) -> Tensor:
        """Return logits.

        Args:
            features: float32 (n, 256, side / 4, side / 4) of the frozen encoder.
            colours: float32 (n, 3, side / 2, side / 2), the image at half the encoder's size, -1..1.

        Returns:
            float32 (n, 1, side / 2, side / 2).
        """
        hidden = self.near(self.reduce(features))
        hidden = hidden + self.middle(hidden)
        hidden = hidden + self.far(hidden)
        hidden = self.drop(hidden + self.whole(hidden.mean(dim=(2, 3)))[:, :, None, None])
        hidden = F.interpolate(hidden, colours.shape[-2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.last(self.refine(self.merge(torch.cat([hidden, colours], dim=1))))
        return logits


def _block(inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.GELU())


class FeatureEncoder:
    """LiteMedSAM's frozen image encoder on whole images; make one with :meth:`load`."""

    def __init__(self, network: Any, device: str) -> None:
        self._network, self._device = network, device

    @classmethod
    def load(cls, device: str = "cpu") -> FeatureEncoder:
        """Load the encoder with the package's weights.

        Raises:
            ConfigurationError: The package is missing, or its weights are not the published ones.
        """
        return cls(load_network(FEATURE_SIDE_PX).to(device), device)

    def encode(self, square: np.ndarray) -> Tensor:
        """Return the features of one image, float32 (1, 256, 48, 48).

        Args:
            square: uint8 (side, side, 3), RGB: the whole image squeezed to a square of at least 192 px. It is stretched by its extremes.
        """
        small = cv2.resize(square, (FEATURE_SIDE_PX, FEATURE_SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
        low, high = float(small.min()), float(small.max())
        small = (small - low) / max(high - low, 1e-8)
        pixels = torch.from_numpy(small.transpose(2, 0, 1)[None].copy()).to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            features: Tensor = embed(self._network.image_encoder, pixels)
        return features


def colour_input(square: np.ndarray) -> Tensor:
    """Return the image as the decoder's last step sees it, float32 (1, 3, 96, 96), -1..1; ``square`` is uint8 (side, side, 3)."""
    small = cv2.resize(square, (COLOUR_SIDE_PX, COLOUR_SIDE_PX), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1)[None].float() / 127.5 - 1
