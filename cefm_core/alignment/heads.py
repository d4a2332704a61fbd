"""Projection heads and classifiers, for several seeds at once.

All seeds are trained side by side as one stack (first axis), each with its own weights, order of images and stopping
point: the arithmetic is that of separate models, the Python overhead that of one. This module imports torch and is itself only
imported by functions that train or predict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN_IMAGE, HIDDEN_CLINICAL, PROJECTED, HIDDEN_CLASSIFIER = 512, 256, 128, 64
DROPOUT = 0.3


class StackedLinear(nn.Module):
    """One linear layer a seed: (seeds, batch, in) -> (seeds, batch, out)."""

    def __init__(self, inputs: int, outputs: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        weight = [(torch.rand(inputs, outputs, generator=g) * 2 - 1) * bound for g in generators]
        bias = [(torch.rand(1, outputs, generator=g) * 2 - 1) * bound for g in generators]
        self.weight, self.bias = nn.Parameter(torch.stack(weight)), nn.Parameter(torch.stack(bias))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each seed's layer to its own slice."""
        return torch.baddbmm(self.bias, x, self.weight)


class StackedBatchNorm(nn.Module):
    """One batch normalisation a seed, over (seeds, batch, width)."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, seeds: int, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(seeds * width)), nn.Parameter(torch.zeros(seeds * width))
        self.register_buffer("running_mean", torch.zeros(seeds * width))
        self.register_buffer("running_var", torch.ones(seeds * width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the batch while training, by the running moments in evaluation mode."""
        seeds, batch, width = x.shape
        flat = x.transpose(0, 1).reshape(batch, seeds * width)
        flat = F.batch_norm(flat, self.running_mean, self.running_var, self.weight, self.bias, self.training, 0.1, 1e-5)
        return flat.view(batch, seeds, width).transpose(0, 1)


class ProjectionHead(nn.Module):
    """Linear, BatchNorm, ReLU, Linear, L2 normalisation: (seeds, batch, in) -> unit vectors (seeds, batch, 128)."""

    def __init__(self, inputs: int, hidden: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.first = StackedLinear(inputs, hidden, generators)
        self.norm = StackedBatchNorm(len(generators), hidden)
        self.last = StackedLinear(hidden, PROJECTED, generators)

    def forward(self, x: Tensor) -> Tensor:
        """Project onto the unit sphere shared by images and measurements."""
        return F.normalize(self.last(F.relu(self.norm(self.first(x)))), dim=-1)


class Classifier(nn.Module):
    """Linear 128->64, BatchNorm, ReLU, Dropout 0.3, Linear ->2: (seeds, batch, 128) -> logits (seeds, batch, 2)."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.first = StackedLinear(PROJECTED, HIDDEN_CLASSIFIER, generators)
        self.norm = StackedBatchNorm(len(generators), HIDDEN_CLASSIFIER)
        self.last = StackedLinear(HIDDEN_CLASSIFIER, 2, generators)

    def forward(self, x: Tensor) -> Tensor:
        """Return nevus and melanoma logits."""
        hidden = F.dropout(F.relu(self.norm(self.first(x))), DROPOUT, self.training)
        return self.last(hidden)


class AlignmentNetwork(nn.Module):
    """Both heads and both classifiers of all seeds.

    Args:
        image_width: Length of an embedding.
        clinical_width: Length of a clinical vector.
        seeds: Seed of each model in the stack.
    """

    def __init__(self, image_width: int, clinical_width: int, seeds: Sequence[int]) -> None:
        super().__init__()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.image_head = ProjectionHead(image_width, HIDDEN_IMAGE, generators)
        self.clinical_head = ProjectionHead(clinical_width, HIDDEN_CLINICAL, generators)
        self.image_classifier = Classifier(generators)
        self.clinical_classifier = Classifier(generators)


@torch.no_grad()
def apply_all(module: nn.Module, x: Tensor, seeds: int) -> Tensor:
    """Apply a stacked module in evaluation mode to the same rows for every seed.

    Args:
        module: Head or classifier.
        x: (n, in), shared by the seeds, or (seeds, n, in).
        seeds: Number of seeds in the stack.

    Returns:
        (seeds, n, out).
    """
    was_training = module.training
    module.eval()
    rows = x.expand(seeds, *x.shape) if x.ndim == 2 else x
    out = torch.cat([module(chunk) for chunk in rows.split(1024, dim=1)], dim=1) if rows.shape[1] else module(rows)
    module.train(was_training)
    return out
