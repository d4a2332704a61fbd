"""Fine-tuning an encoder on labelled lesion crops before it is frozen: an option; the shipped encoder has seen no label.

Blocks near the input learn slower than those near the output (Clark et al. 2020, Bao et al. 2022). Light, colour, frame and scale are
jittered, so that a source's signature is worth less, and every source and label weighs the same. Whole groups of `train` are kept apart as
`tune`, which chooses the epoch. This module imports torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cefm_core.alignment.balance import balance_weights
from cefm_core.alignment.encoder import Encoder, one_thread
from cefm_core.alignment.labelled_crops import LabelledImage, augmented, plain
from cefm_core.config import Settings
from cefm_core.errors import CefmError, ConfigurationError

logger = logging.getLogger(__name__)


class FinetuneConfig(Settings):
    """Everything that decides the weights, beside the images and the encoder it starts from."""

    epochs: int = Field(5, ge=1, description="Passes over the training images")
    patience: int = Field(2, ge=1, description="Epochs without gain on tune before stopping")
    batch: int = Field(16, ge=1, description="Crops per step")
    learning_rate: float = Field(1e-4, gt=0, description="Peak AdamW rate of the last block; linear warm-up, then cosine")
    head_learning_rate: float = Field(1e-3, gt=0, description="Peak rate of the classifier that teaches the encoder and is then dropped")
    layer_decay: float = Field(0.7, gt=0, le=1, description="Rate of each block as a share of the rate of the block after it")
    frozen_blocks: int = Field(0, ge=0, description="Blocks, counted from the input, that do not learn at all")
    weight_decay: float = Field(0.05, ge=0, description="AdamW weight decay")
    warmup_share: float = Field(0.1, ge=0, lt=1, description="Share of steps with rising rate")
    balance: Literal["none", "label", "source"] = Field("source", description="What weighs the same in the loss")
    jitter: bool = Field(True, description="Jitter light, colour, frame and scale, and turn and flip")
    tune_share: float = Field(0.12, gt=0, lt=0.5, description="Share of train groups kept apart to choose the epoch")
    seed: int = Field(999, description="Seed of order, jitter and the split")


def split_tune(images: Sequence[LabelledImage], config: FinetuneConfig) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Part whole groups of the images into those to learn from and those that choose.

    Raises:
        ConfigurationError: One of the two parts lacks a class.
    """
    groups = sorted({image.group for image in images})
    order = np.random.default_rng(config.seed).permutation(len(groups))
    apart = {groups[i] for i in order[: max(1, round(config.tune_share * len(groups)))]}
    train, tune = [i for i in images if i.group not in apart], [i for i in images if i.group in apart]
    for name, part in (("train", train), ("tune", tune)):
        if len({image.label for image in part}) < 2:
            raise ConfigurationError(f"fine-tuning: the {name} part of {len(part)} images lacks a class; give more labelled images")
    return train, tune


def rate_factor(step: int, steps: int, warmup_share: float) -> float:
    """Return the share of the peak rate at a step: linear warm-up, then a cosine down to nothing."""
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def parameter_groups(network: nn.Module, head: nn.Module, config: FinetuneConfig) -> list[dict[str, Any]]:
    """Return AdamW groups with ``peak``, the peak rate of each: layer-wise for the encoder, one for the head."""
    from timm.optim import param_groups_layer_decay

    for index, block in enumerate(network.blocks):  # type: ignore[arg-type]
        block.requires_grad_(index >= config.frozen_blocks)
    if config.frozen_blocks:
        for name, parameter in network.named_parameters():
            if not name.startswith(("blocks.", "norm.", "fc_norm.")):
                parameter.requires_grad_(False)
    groups = param_groups_layer_decay(network, config.weight_decay, layer_decay=config.layer_decay)
    found = [
        {"params": g["params"], "weight_decay": g["weight_decay"], "peak": config.learning_rate * g["lr_scale"]}
        for g in groups
        if g["params"]
    ]
    return [*found, {"params": list(head.parameters()), "weight_decay": 0.0, "peak": config.head_learning_rate}]


@dataclass
class Finetuning:
    """One fine-tuning, from the encoder it starts from to its best epoch on tune.

    Attributes:
        encoder: Where it starts; its network is trained in place.
        train: Images to learn from.
        tune: Images that choose the epoch.
        config: Settings.
        state_file: Where every whole epoch is kept; an interrupted run goes on from there.
        log: One entry an epoch: loss, tune_loss, tune_auc.
    """

    encoder: Encoder
    train: Sequence[LabelledImage]
    tune: Sequence[LabelledImage]
    config: FinetuneConfig
    state_file: Path
    log: list[dict[str, float]] = field(default_factory=list)

    def run(self, progress: Callable[[dict[str, float]], None] | None = None) -> nn.Module:
        """Train, and return the network with the weights of its best epoch."""
        with one_thread(self.encoder.device), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = self.encoder.network.requires_grad_(True)
            head = nn.Linear(network.num_features, 2).to(self.encoder.device)
            groups = parameter_groups(network, head, self.config)
            optimiser = torch.optim.AdamW([{**g, "lr": g["peak"]} for g in groups], fused=True)
            best = self._resume(network, head, optimiser)
            while len(self.log) < self.config.epochs and not self._stopped():
                self.log.append(self._epoch(network, head, optimiser, len(self.log)))
                if self._best_epoch() == len(self.log) - 1:
                    best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
                self._keep(network, head, optimiser, best)
                if progress:
                    progress({"epoch": len(self.log), **self.log[-1]})
            network.load_state_dict(best)
        return network.eval().requires_grad_(False)

    def _best_epoch(self) -> int:
        return int(np.argmin([entry["tune_loss"] for entry in self.log]))

    def _stopped(self) -> bool:
        return bool(self.log) and len(self.log) - 1 - self._best_epoch() >= self.config.patience

    def _epoch(self, network: nn.Module, head: nn.Module, optimiser: torch.optim.Optimizer, epoch: int) -> dict[str, float]:
        random = np.random.default_rng([self.config.seed, epoch])
        labels = np.array([image.label for image in self.train])
        weights = torch.from_numpy(balance_weights(labels, [image.source for image in self.train], self.config.balance)).float()
        order = random.permutation(len(self.train))
        batches = [order[start : start + self.config.batch] for start in range(0, len(order), self.config.batch)]
        network.train()
        total = 0.0
        for number, rows in enumerate(batches):
            factor = rate_factor(epoch * len(batches) + number, self.config.epochs * len(batches), self.config.warmup_share)
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
            total += self._step(network, head, optimiser, rows, weights[torch.from_numpy(rows)], random)
        return {"loss": total / len(batches), **self._judge(network, head)}

    def _step(
        self,
        network: nn.Module,
        head: nn.Module,
        optimiser: torch.optim.Optimizer,
        rows: np.ndarray,
        weights: Tensor,
        random: np.random.Generator,
    ) -> float:
        chosen = [self.train[i] for i in rows]
        crops = [augmented(image, self.encoder.spec, random) if self.config.jitter else plain(image, self.encoder.spec) for image in chosen]
        logits = self._logits(network, head, torch.stack(crops))
        wanted = torch.tensor([image.label for image in chosen], device=logits.device)
        loss = (F.cross_entropy(logits, wanted, reduction="none") * weights.to(logits.device)).sum() / weights.sum()
        if not bool(torch.isfinite(loss)):
            raise CefmError(f"fine-tuning diverged in a batch of images {', '.join(image.image_id for image in chosen)}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    def _logits(self, network: nn.Module, head: nn.Module, crops: Tensor) -> Tensor:
        tokens = network.forward_features(crops.to(self.encoder.device))  # type: ignore[operator]
        return head(network.forward_head(tokens, pre_logits=True))  # type: ignore[operator]

    def _judge(self, network: nn.Module, head: nn.Module) -> dict[str, float]:
        """Return balanced log loss and AUC on tune, crops as they are."""
        from sklearn.metrics import roc_auc_score

        network.eval()
        labels = np.array([image.label for image in self.tune])
        with torch.inference_mode():
            parts = [self._logits(network, head, plain(image, self.encoder.spec)[None]).float().cpu() for image in self.tune]
        logits = torch.cat(parts).double().numpy()
        score = logits[:, 1] - logits[:, 0]
        losses = np.logaddexp(0.0, np.where(labels == 1, -score, score))
        weights = balance_weights(labels, [None] * len(labels), "label")
        return {"tune_loss": float((losses * weights).mean()), "tune_auc": float(roc_auc_score(labels, score))}

    def _signature(self) -> str:
        ids = [[image.image_id, image.label] for image in (*self.train, *self.tune)]
        text = json.dumps([self.encoder.digest, self.config.model_dump(mode="json"), ids])
        return hashlib.sha256(text.encode()).hexdigest()

    def _keep(self, network: nn.Module, head: nn.Module, optimiser: torch.optim.Optimizer, best: dict[str, Tensor]) -> None:
        """Write the state of this whole epoch; the file changes in one step, so that it is never half written."""
        state = {"signature": self._signature(), "log": self.log, "best": best, "optimiser": optimiser.state_dict()}
        state |= {"network": network.state_dict(), "head": head.state_dict()}
        draft = self.state_file.with_suffix(".part")
        torch.save(state, draft)
        draft.replace(self.state_file)

    def _resume(self, network: nn.Module, head: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Go on after the last whole epoch of the same images and settings; return the best weights so far."""
        if not self.state_file.exists():
            return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        state = torch.load(self.state_file, map_location=self.encoder.device, weights_only=True)
        if state["signature"] != self._signature():
            raise ConfigurationError(
                f"fine-tuning: {self.state_file} belongs to other images or settings; remove it or take another folder"
            )
        network.load_state_dict(state["network"])
        head.load_state_dict(state["head"])
        optimiser.load_state_dict(state["optimiser"])
        self.log[:] = state["log"]
        logger.info("fine-tuning goes on after epoch %d", len(self.log))
        return state["best"]
