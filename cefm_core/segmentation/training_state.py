"""What the trainings of the coarse networks share: their recipe, what they carry from step to step, and the loop, seeded and resumable.

Steps are drawn by number, not from a running generator: step k of a seed sees the same images and the same augmentation after any
interruption. Weights are chosen on `tune` (groups kept apart from train), never on the split that is reported.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cefm_core.segmentation.training_data import TrainingRow

log = logging.getLogger(__name__)
Weights = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Recipe:
    """What every training of a coarse network decides; each network's own recipe adds to it.

    Attributes:
        seed: Seed of initialisation, draws and augmentation.
        steps: Optimiser steps.
        batch: Images per step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: AdamW weight decay.
        warm_up: Share of the steps in which the learning rate rises.
        average_decay: Decay of the running mean of the weights, per step.
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
    average_decay: float = 0.998
    tune_share: float = 0.05
    tune_every: int = 500
    source_weights: Weights = (("ISIC_UDA1_native", 3.0), ("ISIC2017_256", 3.0), ("ISIC2018_task1_512crop", 1.5))
    diagnosis_weights: Weights = (("melanoma", 1.5),)


@dataclass
class Trained:
    """What training leaves.

    Attributes:
        tensors: Averaged weights by parameter name.
        facts: Recipe, counts and the score they were chosen by.
        log_rows: One row per score on `tune`.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    log_rows: list[dict[str, Any]]


def draw_chances(rows: list[TrainingRow], recipe: Recipe, tune: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the probability with which each row is drawn; 0 for the rows kept apart."""
    sources, diagnoses = dict(recipe.source_weights), dict(recipe.diagnosis_weights)
    weights = np.array([sources.get(r.source, 1.0) * diagnoses.get(r.diagnosis, 1.0) for r in rows]) * ~tune
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def learning_rate_at(step: int, recipe: Recipe) -> float:
    """Return the one-cycle learning rate: a cosine rise to the peak, then a cosine fall to a thousandth of it."""
    rise = max(1.0, recipe.warm_up * recipe.steps)
    if step < rise:
        low, share = recipe.learning_rate / 25, 0.5 - 0.5 * math.cos(math.pi * step / rise)
    else:
        low, share = recipe.learning_rate / 1000, 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1.0, recipe.steps - rise))
    return low + (recipe.learning_rate - low) * share


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as lists and numbers only, as JSON and the checkpoint hold it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return plain


class TrainingState:
    """One training.

    Args:
        network: Its weights are the first ones.
        optimiser: Of the network's parameters.

    Attributes:
        average: Running mean of the weights, by parameter name.
        best: The mean with the highest score so far, and ``best_score``.
        log_rows: One row per score.
    """

    def __init__(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.network, self.optimiser = network, optimiser
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.step, self.loss, self.best_score = 0, 0.0, -1.0
        self.best: dict[str, Tensor] = {}
        self.log_rows: list[dict[str, Any]] = []

    def save(self, path: Path, recipe: Recipe) -> None:
        """Write everything needed to go on, atomically."""
        content = {name: value for name, value in vars(self).items() if name not in ("network", "optimiser")}
        content |= {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "recipe": plain_recipe(recipe)}
        partial = path.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(path)

    def resume(self, path: Path, recipe: Recipe) -> None:
        """Take up a saved state; ValueError where it was made by another recipe."""
        content = torch.load(path, weights_only=True)
        if content.pop("recipe") != plain_recipe(recipe):
            raise ValueError(f"{path} was made by another recipe: remove it, or train with the recipe it names")
        self.network.load_state_dict(content.pop("network"))
        self.optimiser.load_state_dict(content.pop("optimiser"))
        vars(self).update(content)

    def advance(self, loss: Tensor, recipe: Recipe) -> None:
        """Take one step down the loss and move the running mean."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.step, recipe)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self.loss += 0.02 * (loss.item() - self.loss)
        decay = min(recipe.average_decay, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                mean = self.average[name]
                mean.lerp_(value, 1 - decay) if mean.is_floating_point() else mean.copy_(value)

    def record(self, score: float) -> dict[str, Any]:
        """Keep the running mean where its score is the best so far; return the row that was added to the log."""
        if score > self.best_score:
            self.best_score, self.best = score, {k: v.clone() for k, v in self.average.items()}
        row = {"step": self.step, "loss": round(self.loss, 5), "tune_dice": round(score, 5), "best_tune_dice": round(self.best_score, 5)}
        self.log_rows.append(row)
        return row


def run_training(
    state: TrainingState,
    recipe: Recipe,
    rows: list[TrainingRow],
    tune: npt.NDArray[np.bool_],
    *,
    loss: Callable[[int], Tensor],
    score: Callable[[dict[str, Tensor]], float],
    checkpoint: Path | None,
    progress: Callable[[dict[str, Any]], None] | None,
) -> Trained:
    """Train to the end of a recipe, or go on from a checkpoint.

    Args:
        state: Where the training begins.
        recipe: The recipe.
        rows: What the images are.
        tune: Which of them are kept apart to choose the weights.
        loss: Loss of a step, by its number.
        score: Score of weights on `tune`.
        checkpoint: File to resume from where it exists, and to save to at each score.
        progress: Called with each row of the log.

    Raises:
        ValueError: A group lies on both sides of ``tune``, one side is empty, or the checkpoint was made by another recipe.
    """
    _check_sides(rows, tune)
    if checkpoint is not None and checkpoint.exists():
        state.resume(checkpoint, recipe)
        log.info("resumed at step %d", state.step)
    while state.step < recipe.steps:
        state.advance(loss(state.step), recipe)
        if state.step % recipe.tune_every and state.step < recipe.steps:
            continue
        row = state.record(score(state.average))
        if checkpoint is not None:
            state.save(checkpoint, recipe)
        if progress is not None:
            progress(row)
    counts = {"trained_on": int((~tune).sum()), "tuned_on": int(tune.sum())}
    return Trained(state.best, {"recipe": plain_recipe(recipe), **counts, "tune_dice": state.best_score}, state.log_rows)


def _check_sides(rows: list[TrainingRow], tune: npt.NDArray[np.bool_]) -> None:
    kept = {row.group for row, held in zip(rows, tune, strict=True) if held}
    trained = {row.group for row, held in zip(rows, tune, strict=True) if not held}
    if not kept or not trained or kept & trained:
        raise ValueError(
            f"train and tune must both have rows and share no group; {len(kept)} and {len(trained)} groups, {len(kept & trained)} shared"
        )
