"""What every coarse network is to the code around it: loading, training and inference know no more than this."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


def to_network_input(images: Tensor) -> Tensor:
    """Apply the input transform the weights are trained with: each image stretched to 0..255 by its own extremes.

    Args:
        images: (batch, 3, height, width), any range; uint8 or float.

    Returns:
        float32 of the same shape; an image of one value becomes all 0.
    """
    images = images.float()
    low = images.amin(dim=(1, 2, 3), keepdim=True)
    span = images.amax(dim=(1, 2, 3), keepdim=True) - low
    return (images - low) * torch.where(span > 0, 255.0 / span.clamp_min(1e-12), torch.zeros_like(span))


class CoarseNetwork(nn.Module):
    """A network from an image to the lesion probability of each pixel.

    Attributes:
        architecture: Its name in the weight file, which is checked.
        stored_type: Number format of the weight file.
    """

    architecture: ClassVar[str]
    stored_type: ClassVar[torch.dtype] = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        """Return the lesion probability of each pixel.

        Args:
            x: (batch, 3, side, side), RGB, 0..255, as the file's input transform makes it.

        Returns:
            (batch, 1, side, side), 0..1, already a probability.
        """
        return torch.sigmoid(self.logits(x))

    def logits(self, x: Tensor) -> Tensor:
        """Return the numbers before the sigmoid; same shape as :meth:`forward`'s."""
        return self.training_logits(x)[0]

    def training_logits(self, x: Tensor) -> list[Tensor]:
        """Return the logits of each pixel and, where a network has them, coarser ones that training also judges."""
        return [self.logits(x)]

    def learned_state(self) -> dict[str, Tensor]:
        """Return what training learns, by name. The tensors are the network's own."""
        return dict(self.state_dict())

    def load_learned(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`learned_state` returned; the caller has checked names and shapes."""
        self.load_state_dict(tensors)

    @staticmethod
    def needs() -> dict[str, str]:
        """Return facts that the weight file must state as they are here, beside architecture and input transform."""
        return {}
