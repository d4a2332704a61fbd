"""Training loops of the projection heads and of the classifiers on top of them, all seeds side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cefm_core.alignment.heads import AlignmentNetwork, apply_all
from cefm_core.alignment.nt_xent import has_negatives, nt_xent
from cefm_core.config import AlignmentConfig
from cefm_core.errors import CefmError

Progress = Callable[[dict[str, Any]], None]
WARN_SKIPPED_SHARE, MAX_SKIPPED_SHARE = 0.1, 0.5
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """Images with a measurement, as tensors in one order.

    Attributes:
        image_ids: n images.
        images: float32 (n, d), standardised embeddings.
        clinical: float32 (n, k), clinical vectors.
        groups: int64 (n,), images of one lesion or patient share a number.
    """

    image_ids: Sequence[str]
    images: Tensor
    clinical: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass
class Keeper:
    """Keeps, for every seed, the weights of its best epoch, and says when a seed has stopped.

    Attributes:
        modules: The modules whose tensors are kept.
        seeds: Number of seeds in the stack.
        patience: Epochs without gain after which a seed stops.
    """

    modules: nn.ModuleList
    seeds: int
    patience: int
    best: np.ndarray = field(init=False)
    epoch_of_best: np.ndarray = field(init=False)
    stopped: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.best = np.full(self.seeds, np.inf)
        self.epoch_of_best = np.zeros(self.seeds, np.int64)
        self.stopped = np.zeros(self.seeds, np.bool_)
        self._state = {name: tensor.clone() for name, tensor in self.modules.state_dict().items()}

    def offer(self, epoch: int, losses: np.ndarray) -> None:
        """Take the weights of the seeds whose loss has improved; a seed that has stopped is not asked any more."""
        better = (losses < self.best) & ~self.stopped
        self.best[better], self.epoch_of_best[better] = losses[better], epoch
        self.stopped |= epoch - self.epoch_of_best >= self.patience
        self._take(better)

    def _take(self, seeds: np.ndarray) -> None:
        for name, tensor in self.modules.state_dict().items():
            kept, new = self._state[name].view(self.seeds, -1), tensor.reshape(self.seeds, -1)
            kept[torch.from_numpy(seeds)] = new[torch.from_numpy(seeds)]

    def restore(self) -> None:
        """Put the kept weights back."""
        self.modules.load_state_dict(self._state)


def fit_heads(
    network: AlignmentNetwork, train: Pairs, tune: Pairs, config: AlignmentConfig, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Align both heads by NT-Xent and leave the network with each seed's best epoch on `tune`.

    Args:
        network: Freshly made heads.
        train: Training pairs, at least two groups among them.
        tune: Pairs that choose the epoch; with fewer than two groups the last epoch stays, and the log says so.
        config: Settings.
        progress: Called after each epoch.

    Returns:
        Rows of `training_log`.

    Raises:
        CefmError: A loss is NaN or infinite (the batch's images are named), or too many batches hold no negative.
    """
    heads = nn.ModuleList([network.image_head, network.clinical_head])
    optimiser = _adam(heads, config)
    keeper = Keeper(heads, len(config.seeds), config.patience)
    watched = len(tune) > 1 and bool(has_negatives(tune.groups))
    log = []
    for epoch in range(1, config.epochs + 1):
        heads.train()
        losses, skipped = _align_epoch(network, train, config, epoch, optimiser)
        tune_loss = _tune_loss(network, tune, config) if watched else None
        keeper.offer(epoch, tune_loss if tune_loss is not None else -np.full(len(config.seeds), float(epoch)))
        log += _log_rows("heads", "align", config.seeds, epoch, losses, tune_loss, skipped)
        if progress:
            progress({"phase": "align", "epoch": epoch, "loss": float(losses.mean())})
        if keeper.stopped.all():
            break
    keeper.restore()
    return _mark_kept(log, config.seeds, keeper)


def _align_epoch(
    network: AlignmentNetwork, train: Pairs, config: AlignmentConfig, epoch: int, optimiser: torch.optim.Optimizer
) -> tuple[np.ndarray, np.ndarray]:
    """One pass over the pairs; returns mean loss and number of skipped batches per seed."""
    total, count = np.zeros(len(config.seeds)), np.zeros(len(config.seeds), np.int64)
    batches = 0
    for rows in epoch_batches(len(train), config, epoch):
        batches += 1
        groups = train.groups[rows]
        usable = has_negatives(groups)
        if not bool(usable.any()):
            continue
        images, clinical = network.image_head(train.images[rows]), network.clinical_head(train.clinical[rows])
        same = groups[:, :, None] == groups[:, None, :]
        loss = nt_xent(images, clinical, config.temperature, same, config.loss)
        loss = torch.where(usable, loss, torch.zeros_like(loss))
        _step(optimiser, loss, _names(train.image_ids, rows))
        total += loss.detach().numpy()
        count += usable.numpy()
    skipped = batches - count
    _judge_skipped(int(skipped.max()), batches, epoch)
    return total / np.maximum(count, 1), skipped


def _judge_skipped(skipped: int, batches: int, epoch: int) -> None:
    """Warn of an epoch with many batches that had no negative, and stop where they are the most."""
    words = f"alignment, epoch {epoch}: {skipped} of {batches} batches hold images of one group only; raise alignment.training_batch"
    if skipped > MAX_SKIPPED_SHARE * batches:
        raise CefmError(words)
    if skipped > WARN_SKIPPED_SHARE * batches:
        logger.warning(words)


def _step(optimiser: torch.optim.Optimizer, losses: Tensor, image_ids: Callable[[int], list[str]]) -> None:
    """One optimiser step on the sum over seeds (each seed's gradient is its own); stops at NaN or infinity."""
    finite = torch.isfinite(losses)
    if not bool(finite.all()):
        seed = int(torch.nonzero(~finite)[0])
        raise CefmError(f"training diverged: loss {float(losses[seed].detach())} in a batch of images {', '.join(image_ids(seed))}")
    optimiser.zero_grad(set_to_none=True)
    losses.sum().backward()
    optimiser.step()


def _names(image_ids: Sequence[Any], rows: Tensor) -> Callable[[int], list[str]]:
    """Return what names the images of a seed's batch, should it be asked."""
    return lambda seed: [str(image_ids[i]) for i in rows[seed].tolist()]


def epoch_batches(n: int, config: AlignmentConfig, epoch: int) -> Iterator[Tensor]:
    """Yield int64 (seeds, batch): each seed's own order of the n rows, decided by seed and epoch.

    A last batch of one row is left out: batch normalisation cannot learn from it, nor can a contrastive loss.
    """
    orders = np.stack([np.random.default_rng([seed, epoch]).permutation(n) for seed in config.seeds])
    for start in range(0, n, config.training_batch):
        rows = orders[:, start : start + config.training_batch]
        if rows.shape[1] > 1:
            yield torch.from_numpy(rows)


def _tune_loss(network: AlignmentNetwork, tune: Pairs, config: AlignmentConfig) -> np.ndarray:
    """NT-Xent on tune in evaluation mode, in batches of the training size and fixed order; float64 (seeds,)."""
    seeds = len(config.seeds)
    images, clinical = apply_all(network.image_head, tune.images, seeds), apply_all(network.clinical_head, tune.clinical, seeds)
    losses, weights = [], []
    # An order by chance, always the same: neighbours in the table are often images of one source or lesion.
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(tune)))
    for rows in order.split(config.training_batch):
        groups = tune.groups[rows]
        if not bool(has_negatives(groups)):
            continue
        same = groups[:, None] == groups[None, :]
        losses.append(nt_xent(images[:, rows], clinical[:, rows], config.temperature, same, config.loss) * len(rows))
        weights.append(len(rows))
    return (torch.stack(losses).sum(0) / sum(weights)).double().numpy()


def fit_classifier(
    classifier: nn.Module,
    model: str,
    train: tuple[Tensor, Tensor],
    weights: Tensor,
    tune: tuple[Tensor, Tensor],
    config: AlignmentConfig,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train a classifier on frozen projections; each seed keeps its best epoch on `tune`.

    Args:
        classifier: Stacked classifier.
        model: ``image`` or ``clinical``, for the log.
        train: Projections (seeds, n, 128) and labels int64 (n,), both classes present.
        weights: float32 (n,), how much each training image counts.
        tune: Projections and labels of tune, both labels weighing the same as in train; may hold no row.
        config: Settings.
        progress: Called after each epoch.
    """
    (inputs, labels), seeds = train, len(config.seeds)
    by_label = len(labels) / (2 * torch.bincount(labels, minlength=2).float())
    modules = nn.ModuleList([classifier])
    optimiser, keeper = _adam(modules, config), Keeper(modules, seeds, config.classifier_epochs)
    log = []
    for epoch in range(1, config.classifier_epochs + 1):
        modules.train()
        total, batches = np.zeros(seeds), 0
        for rows in epoch_batches(len(labels), config, epoch):
            logits = classifier(inputs.gather(1, rows[:, :, None].expand(-1, -1, inputs.shape[2])))
            loss = _cross_entropy(logits, labels[rows], weights[rows])
            _step(optimiser, loss, _names(range(len(labels)), rows))
            total, batches = total + loss.detach().numpy(), batches + 1
        tune_loss = None
        if len(tune[1]):
            logits = apply_all(classifier, tune[0], seeds)
            tune_loss = _cross_entropy(logits, tune[1].expand(seeds, -1), by_label[tune[1]]).double().numpy()
        keeper.offer(epoch, tune_loss if tune_loss is not None else -np.full(seeds, float(epoch)))
        log += _log_rows(model, f"{model}_classifier", config.seeds, epoch, total / max(batches, 1), tune_loss, np.zeros(seeds, np.int64))
        if progress:
            progress({"phase": f"{model}_classifier", "epoch": epoch, "loss": float(total.mean() / max(batches, 1))})
    keeper.restore()
    return _mark_kept(log, config.seeds, keeper)


def _cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross entropy per seed, (seeds,), from logits (seeds, n, 2), labels (seeds, n) and weights (seeds, n) or (n,)."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
    return (losses * weights).sum(1) / weights.expand(labels.shape).sum(1)


def _adam(modules: nn.Module, config: AlignmentConfig) -> torch.optim.Adam:
    return torch.optim.Adam(modules.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def _log_rows(
    model: str, phase: str, seeds: Sequence[int], epoch: int, losses: np.ndarray, tune_losses: np.ndarray | None, skipped: np.ndarray
) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "seed": seed,
            "phase": phase,
            "epoch": epoch,
            "loss": float(losses[i]),
            "tune_loss": None if tune_losses is None else float(tune_losses[i]),
            "kept": False,
            "skipped_batches": int(skipped[i]),
            "reason": "no_tune_images" if tune_losses is None else None,
        }
        for i, seed in enumerate(seeds)
    ]


def _mark_kept(log: list[dict[str, Any]], seeds: Sequence[int], keeper: Keeper) -> list[dict[str, Any]]:
    """Mark each seed's kept epoch, and drop what a seed did after it had stopped."""
    best = dict(zip(seeds, keeper.epoch_of_best.tolist(), strict=True))
    for row in log:
        row["kept"] = row["epoch"] == best[row["seed"]]
    return [row for row in log if row["epoch"] <= best[row["seed"]] + keeper.patience]
