"""Training of UltraLight VM-UNet on augmented pairs.

The loop is in ``training_state``; reading data, augmentation, scores and orchestration do not belong here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cefm_core.segmentation.augmentation import augment_pair, empty_skin, smooth_skin
from cefm_core.segmentation.training_data import TrainingRow
from cefm_core.segmentation.training_state import Recipe, Trained, TrainingState, draw_chances, run_training
from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet, to_network_input


@dataclass(frozen=True)
class TrainingRecipe(Recipe):
    """Everything that decides the trained weights besides the data.

    Attributes:
        sides: Phases of the training: (share of the steps at which it begins, sides a batch may have in pixels, their
            probabilities). Small sides first make the same time go three times as far.
        empty_share: Share of drawn images replaced by empty skin.
    """

    sides: tuple[tuple[float, tuple[int, ...], tuple[float, ...]], ...] = (
        (0.0, (128, 256), (0.85, 0.15)),
        (0.6, (192,), (1.0,)),
        (0.85, (256,), (1.0,)),
    )
    empty_share: float = 0.04


def train_segmenter(
    images: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    rows: list[TrainingRow],
    recipe: TrainingRecipe,
    *,
    tune: npt.NDArray[np.bool_],
    start: dict[str, Tensor] | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Trained:
    """Train the network from scratch, or go on from a checkpoint.

    Args:
        images: uint8 (n, 256, 256, 3).
        masks: uint8 (n, 256, 256), covered share as 0..255.
        rows: What the images are.
        recipe: Everything else that decides the result.
        tune: Which rows are kept apart to choose the weights; their groups must not occur elsewhere.
        start: Weights to begin with, for a second training of another recipe; None draws them by the recipe's seed.
        checkpoint: File to resume from where it exists, and to save to at each score.
        progress: Called with each row of the log.

    Raises:
        ValueError: A group lies on both sides of ``tune``, or one side is empty.
    """
    chances = draw_chances(rows, recipe, tune)
    state = _first_state(recipe, start)
    return run_training(
        state,
        recipe,
        rows,
        tune,
        loss=lambda step: _loss(state, draw_batch(images, masks, chances, recipe, step)),
        score=lambda weights: _score(weights, images[tune], masks[tune]),
        checkpoint=checkpoint,
        progress=progress,
    )


def _first_state(recipe: TrainingRecipe, start: dict[str, Tensor] | None) -> TrainingState:
    torch.manual_seed(recipe.seed)
    network = UltraLightVMUNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None:
        network.load_state_dict(start)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return TrainingState(network, torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True))


def draw_batch(
    images: npt.NDArray[np.uint8], masks: npt.NDArray[np.uint8], chances: npt.NDArray[np.float64], recipe: TrainingRecipe, step: int
) -> tuple[Tensor, Tensor]:
    """Return the augmented batch of one step: network input (batch, 3, side, side) and target shares (batch, 1, side, side)."""
    rng = np.random.default_rng([recipe.seed, step])
    picks = rng.choice(len(chances), size=recipe.batch, p=chances)
    _, sides, weights = [phase for phase in recipe.sides if step >= phase[0] * recipe.steps][-1]
    side = int(rng.choice(sides, p=weights))
    pairs = []
    for pick in picks:
        rgb, mask = images[pick], masks[pick]
        if rng.random() < recipe.empty_share:
            empty = empty_skin(rgb, mask, rng) if rng.random() < 0.8 else None
            rgb, mask = empty if empty is not None else smooth_skin(rgb.shape[0], rng)
        if side != rgb.shape[0]:
            rgb = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
        pairs.append(augment_pair(rgb, mask, rng))
    x = torch.from_numpy(np.stack([p[0] for p in pairs])).permute(0, 3, 1, 2)
    y = torch.from_numpy(np.stack([p[1] for p in pairs])).unsqueeze(1).float() / 255
    return to_network_input(x), y


def bce_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return binary cross-entropy plus one minus the mean soft Dice of the images; an empty target counts by its false area."""
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum((1, 2, 3))
    total = probability.sum((1, 2, 3)) + target.sum((1, 2, 3))
    smooth = 1e-3 * target[0].numel()
    return bce + (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def _loss(state: TrainingState, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return bce_dice_loss(state.network.logits(x.contiguous(memory_format=torch.channels_last)), y)  # type: ignore[operator]


def _score(weights: dict[str, Tensor], images: npt.NDArray[np.uint8], masks: npt.NDArray[np.uint8]) -> float:
    """Return the mean Dice of these weights."""
    network = UltraLightVMUNet().eval()
    network.load_state_dict(weights)
    dice = []
    with torch.inference_mode():
        for rgb, mask in zip(images, masks, strict=True):
            p = network(to_network_input(torch.from_numpy(rgb).permute(2, 0, 1)[None]))[0, 0].numpy() >= 0.5
            reference = mask > 127
            total = int(p.sum()) + int(reference.sum())
            dice.append(2 * int((p & reference).sum()) / total if total else 1.0)
    return float(np.mean(dice))
