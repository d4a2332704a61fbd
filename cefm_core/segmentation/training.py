"""Training of the coarse network: a seeded, resumable loop over augmented pairs, with weight averaging.

Steps are drawn by number, not from a running generator: step k of a seed sees the same images and the same augmentation after any
interruption. Weights are chosen on `tune` (groups kept apart from train), never on the split that is reported.
Reading data, augmentation, scores and orchestration do not belong here.
"""

from __future__ import annotations

import logging
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
from cefm_core.segmentation.training_state import TrainingState, plain_recipe
from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet, to_network_input

log = logging.getLogger(__name__)
Weights = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything that decides the trained weights besides the data.

    Attributes:
        seed: Seed of initialisation, draws and augmentation.
        steps: Optimiser steps.
        batch: Images per step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: AdamW weight decay.
        warm_up: Share of the steps in which the learning rate rises.
        sides: Phases of the training: (share of the steps at which it begins, sides a batch may have in pixels, their
            probabilities). Small sides first make the same time go three times as far.
        average_decay: Decay of the running mean of the weights, per step.
        empty_share: Share of drawn images replaced by empty skin.
        tune_share: Share of groups kept apart to choose the weights.
        tune_every: Steps between two scores on them.
        source_weights: How often a source is drawn relative to its size; 1 where it is not named.
        diagnosis_weights: The same by diagnosis.
    """

    seed: int = 999
    steps: int = 9000
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.1
    sides: tuple[tuple[float, tuple[int, ...], tuple[float, ...]], ...] = (
        (0.0, (128, 256), (0.85, 0.15)),
        (0.6, (192,), (1.0,)),
        (0.85, (256,), (1.0,)),
    )
    average_decay: float = 0.998
    empty_share: float = 0.04
    tune_share: float = 0.05
    tune_every: int = 500
    source_weights: tuple[tuple[str, float], ...] = (("ISIC_UDA1_native", 3.0), ("ISIC2017_256", 3.0), ("ISIC2018_task1_512crop", 1.5))
    diagnosis_weights: tuple[tuple[str, float], ...] = (("melanoma", 1.5),)


@dataclass
class TrainedSegmenter:
    """What training leaves.

    Attributes:
        tensors: Averaged weights by parameter name.
        facts: Recipe, counts and the score they were chosen by.
        log_rows: One row per score on `tune`.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    log_rows: list[dict[str, Any]]


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
) -> TrainedSegmenter:
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
    _check_sides(rows, tune)
    state = _first_state(recipe, start)
    if checkpoint is not None and checkpoint.exists():
        state.resume(checkpoint, recipe)
        log.info("resumed at step %d", state.step)
    chances = draw_chances(rows, recipe.source_weights, recipe.diagnosis_weights, tune)
    while state.step < recipe.steps:
        _train_step(state, images, masks, chances, recipe)
        if state.step % recipe.tune_every and state.step < recipe.steps:
            continue
        row = state.record(_score(state.average, images[tune], masks[tune]))
        if checkpoint is not None:
            state.save(checkpoint, recipe)
        if progress is not None:
            progress(row)
    facts = {"recipe": plain_recipe(recipe), "trained_on": int((~tune).sum()), "tuned_on": int(tune.sum()), "tune_dice": state.best_score}
    return TrainedSegmenter(state.best, facts, state.log_rows)


def _first_state(recipe: TrainingRecipe, start: dict[str, Tensor] | None) -> TrainingState:
    torch.manual_seed(recipe.seed)
    network = UltraLightVMUNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None:
        network.load_state_dict(start)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return TrainingState(network, torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True))


def _check_sides(rows: list[TrainingRow], tune: npt.NDArray[np.bool_]) -> None:
    kept = {row.group for row, held in zip(rows, tune, strict=True) if held}
    trained = {row.group for row, held in zip(rows, tune, strict=True) if not held}
    if not kept or not trained or kept & trained:
        raise ValueError(
            f"train and tune must both have rows and share no group; {len(kept)} and {len(trained)} groups, {len(kept & trained)} shared"
        )


def draw_chances(
    rows: list[TrainingRow], source_weights: Weights, diagnosis_weights: Weights, tune: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return the probability with which each row is drawn; 0 for the rows kept apart."""
    sources, diagnoses = dict(source_weights), dict(diagnosis_weights)
    weights = np.array([sources.get(r.source, 1.0) * diagnoses.get(r.diagnosis, 1.0) for r in rows]) * ~tune
    return np.asarray(weights / weights.sum(), dtype=np.float64)


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


def _train_step(
    state: TrainingState,
    images: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    chances: npt.NDArray[np.float64],
    recipe: TrainingRecipe,
) -> None:
    x, y = draw_batch(images, masks, chances, recipe, state.step)
    loss = bce_dice_loss(state.network.logits(x.contiguous(memory_format=torch.channels_last)), y)  # type: ignore[operator]
    state.advance(loss, recipe)


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
