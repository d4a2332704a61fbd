"""What a training of the coarse networks carries from step to step: weights, their running mean, optimiser and log; saved and resumed."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Schedule(Protocol):
    """The part of a recipe that decides the steps' sizes; recipes are data classes."""

    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def warm_up(self) -> float: ...  # noqa: D102
    @property
    def average_decay(self) -> float: ...  # noqa: D102


def learning_rate_at(step: int, recipe: Schedule) -> float:
    """Return the one-cycle learning rate: a cosine rise to the peak, then a cosine fall to a thousandth of it."""
    rise = max(1.0, recipe.warm_up * recipe.steps)
    if step < rise:
        low, share = recipe.learning_rate / 25, 0.5 - 0.5 * math.cos(math.pi * step / rise)
    else:
        low, share = recipe.learning_rate / 1000, 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1.0, recipe.steps - rise))
    return low + (recipe.learning_rate - low) * share


def plain_recipe(recipe: Any) -> dict[str, Any]:
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

    def save(self, path: Path, recipe: Any) -> None:
        """Write everything needed to go on, atomically."""
        content = {name: value for name, value in vars(self).items() if name not in ("network", "optimiser")}
        content |= {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "recipe": plain_recipe(recipe)}
        partial = path.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(path)

    def resume(self, path: Path, recipe: Any) -> None:
        """Take up a saved state; ValueError where it was made by another recipe."""
        content = torch.load(path, weights_only=True)
        if content.pop("recipe") != plain_recipe(recipe):
            raise ValueError(f"{path} was made by another recipe: remove it, or train with the recipe it names")
        self.network.load_state_dict(content.pop("network"))
        self.optimiser.load_state_dict(content.pop("optimiser"))
        vars(self).update(content)

    def advance(self, loss: Tensor, recipe: Schedule) -> None:
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
