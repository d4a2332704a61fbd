"""The student's side of the distillation: its first weights, its loss and its training loop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate, mse_loss

from cefm_core.alignment.distillation import PATCH_PX, DistillationConfig, TargetStore
from cefm_core.alignment.preprocess import InputSpec, normalise

Progress = Callable[[dict[str, Any]], None]


def new_student(teacher: torch.nn.Module, config: DistillationConfig) -> torch.nn.Module:
    """Build a shallower transformer that starts from the teacher's patch embedding, chosen blocks and last norm."""
    import timm

    student = timm.create_model(
        config.teacher_model, img_size=config.student_side_px, depth=len(config.teacher_blocks), num_classes=0, dynamic_img_size=True
    )
    state = dict(teacher.state_dict())
    grid = config.student_side_px // PATCH_PX
    state["pos_embed"] = _resampled_positions(state["pos_embed"], grid)
    chosen = {f"blocks.{new}.": f"blocks.{old}." for new, old in enumerate(config.teacher_blocks)}
    for name in student.state_dict():
        new = next((prefix for prefix in chosen if name.startswith(prefix)), None)
        state[name] = teacher.state_dict()[chosen[new] + name[len(new) :]] if new else state[name]
    student.load_state_dict({name: state[name].clone() for name in student.state_dict()}, strict=True)
    return student


def _resampled_positions(positions: torch.Tensor, grid: int) -> torch.Tensor:
    """Resample the position embedding (1, 1 + g*g, d), class position first, to another grid."""
    head, rest = positions[:, :1], positions[:, 1:]
    old = math.isqrt(rest.shape[1])
    square = rest.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    square = interpolate(square, size=(grid, grid), mode="bicubic", antialias=True)
    return torch.cat([head, square.flatten(2).transpose(1, 2)], dim=1)


@dataclass(frozen=True)
class TargetScale:
    """Per-dimension mean and standard deviation of the three kinds of target over the training views."""

    class_token: tuple[torch.Tensor, torch.Tensor]
    patch_mean: tuple[torch.Tensor, torch.Tensor]
    patch: tuple[torch.Tensor, torch.Tensor]


def target_scale(store: TargetStore, views: np.ndarray) -> TargetScale:
    """Measure the scale of the targets on the given views (patches on at most 1,000 of them)."""
    row, view = views // 2, views % 2

    def moments(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        flat = torch.from_numpy(values.astype(np.float32)).flatten(0, -2)
        return flat.mean(0), flat.std(0).clamp_min(1e-4)

    return TargetScale(
        moments(store.class_tokens[row, view]),
        moments(store.patch_means[row, view]),
        moments(store.patches[row[:1000], view[:1000]]),
    )


def token_loss(tokens: torch.Tensor, targets: dict[str, torch.Tensor], scale: TargetScale) -> torch.Tensor:
    """Sum of the mean squared errors of class token, mean patch and patches, each in standard deviations of its target.

    Args:
        tokens: Student's normed tokens, float32 (n, 1 + patches, d).
        targets: ``class_token`` (n, d), ``patch_mean`` (n, d), ``patch`` (n, patches, d).
        scale: From :func:`target_scale`.
    """

    def error(found: torch.Tensor, wanted: torch.Tensor, moments: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return mse_loss((found - moments[0]) / moments[1], (wanted - moments[0]) / moments[1])

    patches = tokens[:, 1:]
    return (
        error(tokens[:, 0], targets["class_token"], scale.class_token)
        + error(patches.mean(dim=1), targets["patch_mean"], scale.patch_mean)
        + error(patches, targets["patch"], scale.patch)
    )


def batch_of(
    store: TargetStore, views: np.ndarray, side_px: int, spec: InputSpec, turns: np.random.Generator | None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Read one batch of views, turned at random where a generator is given.

    A turned image keeps its class and mean targets and takes its patch targets along: dermoscopy knows no up or down.

    Args:
        store: Inputs and targets.
        views: Flat view numbers, 2 * row + view.
        side_px: Input side of this epoch.
        spec: The model's preprocessing.
        turns: Source of flips and quarter turns, or None for none.

    Returns:
        Normalised input (n, 3, side, side) and the targets of :func:`token_loss`.
    """
    row, view = views // 2, views % 2
    pixels = torch.from_numpy(store.inputs[row, view])
    patches = torch.from_numpy(store.patches[row, view].astype(np.float32))
    if turns is not None:
        quarter, mirror = int(turns.integers(4)), bool(turns.integers(2))
        pixels, patches = torch.rot90(pixels, quarter, (2, 3)), torch.rot90(patches, quarter, (1, 2))
        pixels, patches = (pixels.flip(3), patches.flip(2)) if mirror else (pixels, patches)
    inputs = normalise(pixels, spec)
    if side_px != inputs.shape[-1]:
        grid = patches.shape[1] * side_px // inputs.shape[-1]
        inputs = interpolate(inputs, size=(side_px, side_px), mode="bilinear", antialias=True)
        patches = interpolate(patches.permute(0, 3, 1, 2), size=(grid, grid), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    targets = {
        "class_token": torch.from_numpy(store.class_tokens[row, view].astype(np.float32)),
        "patch_mean": torch.from_numpy(store.patch_means[row, view].astype(np.float32)),
        "patch": patches.flatten(1, 2),
    }
    return inputs.contiguous(), targets


def rate_at(step: int, steps: int, config: DistillationConfig) -> float:
    """Learning rate at a step: linear warm-up, then a cosine down to nothing."""
    warmup = max(1, round(config.warmup_share * steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def epoch_sides(config: DistillationConfig) -> list[int]:
    """Input side of every epoch, in pixels: the cheap small ones first."""
    return [config.first_side_px] * config.first_epochs + [config.student_side_px] * config.epochs


def distil(
    student: torch.nn.Module,
    store: TargetStore,
    views: np.ndarray,
    spec: InputSpec,
    config: DistillationConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> torch.nn.Module:
    """Train the student on the targets of the given views; a run that was cut off goes on after its last whole epoch.

    Order and turns of epoch e depend on the seed and e alone, so a resumed run gives the weights of an unbroken one.

    Args:
        student: From :func:`new_student`.
        store: Filled target store.
        views: Flat numbers (2 * row + view) of the training views.
        spec: The model's preprocessing at any side.
        config: Settings.
        checkpoint: File that keeps weights and optimiser after each epoch, or None.
        progress: Called with ``{"epoch", "step", "steps", "loss"}``.
    """
    scale, sides = target_scale(store, views), epoch_sides(config)
    optimiser = torch.optim.AdamW(_parameter_groups(student, config), lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
    key = hashlib.sha256(f"{config.model_dump_json()}|{views.tobytes().hex()}".encode()).hexdigest()
    first = _resume(checkpoint, key, student, optimiser)
    per_epoch = math.ceil(len(views) / config.batch)
    student.train()
    for epoch in range(first, len(sides)):
        random = np.random.default_rng([config.seed, epoch])
        order = random.permutation(views)
        total = 0.0
        for step in range(per_epoch):
            for group in optimiser.param_groups:
                group["lr"] = rate_at(epoch * per_epoch + step, len(sides) * per_epoch, config)
            total += _step(
                student, store, order[step * config.batch : (step + 1) * config.batch], sides[epoch], spec, scale, random, optimiser
            )
            if progress and (step + 1) % 50 == 0:
                progress({"epoch": epoch, "step": step + 1, "steps": per_epoch, "loss": total / (step + 1)})
        _save(checkpoint, key, student, optimiser, epoch + 1)
    return student.eval()


def _step(
    student: torch.nn.Module,
    store: TargetStore,
    views: np.ndarray,
    side_px: int,
    spec: InputSpec,
    scale: TargetScale,
    random: np.random.Generator,
    optimiser: torch.optim.Optimizer,
) -> float:
    """One optimiser step; returns its loss."""
    inputs, targets = batch_of(store, np.sort(views), side_px, spec, random)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = student.forward_features(inputs)  # type: ignore[operator]
    loss = token_loss(tokens.float(), targets, scale)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 5.0)
    optimiser.step()
    return float(loss.detach())


def _parameter_groups(student: torch.nn.Module, config: DistillationConfig) -> list[dict[str, Any]]:
    """Weight decay for matrices only: not for biases, norms, layer scales and position embeddings."""
    matrices = [p for p in student.parameters() if p.ndim in (2, 4)]
    others = [p for p in student.parameters() if p.ndim not in (2, 4)]
    return [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]


def _resume(checkpoint: Path | None, key: str, student: torch.nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load the last whole epoch of the same run; returns the epoch to go on with."""
    if checkpoint is None or not checkpoint.exists():
        return 0
    kept = torch.load(checkpoint, weights_only=True)
    if kept["key"] != key:
        return 0
    student.load_state_dict(kept["student"], strict=True)
    optimiser.load_state_dict(kept["optimiser"])
    return int(kept["epoch"])


def _save(checkpoint: Path | None, key: str, student: torch.nn.Module, optimiser: torch.optim.Optimizer, epoch: int) -> None:
    """Write the checkpoint beside itself and move it into place."""
    if checkpoint is None:
        return
    partial = checkpoint.with_suffix(".partial")
    torch.save({"key": key, "epoch": epoch, "student": student.state_dict(), "optimiser": optimiser.state_dict()}, partial)
    partial.replace(checkpoint)
