"""Distilling a large frozen vision transformer into the small one that CEFM ships.

The student keeps the teacher's patch embedding and a few of its blocks and learns the teacher's class token and patch
tokens, each standardised per dimension so that no dimension outweighs another. No labels enter: what the student knows
about melanoma it has from the teacher's features alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from cefm_core.alignment.preprocess import LESION_MARGIN, InputSpec, lesion_box, normalise, resize_view
from cefm_core.config import Settings
from cefm_core.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

PATCH_PX, WIDTH = 14, 384


class DistillationConfig(Settings):
    """Everything that decides the student's weights, beside the images and the teacher."""

    teacher_model: str = Field("vit_small_patch14_dinov2", description="timm name of the teacher; the student has the same width")
    teacher_side_px: int = Field(224, ge=28, description="Teacher's input side, in pixels")
    student_side_px: int = Field(168, ge=28, description="Student's input side, in pixels; a multiple of the patch size")
    teacher_blocks: tuple[int, ...] = Field(
        (0, 1, 2, 11), description="Teacher blocks that the student starts from; their number is its depth"
    )
    first_side_px: int = Field(112, ge=28, description="Input side of the first, cheap epochs, in pixels")
    first_epochs: int = Field(6, ge=0, description="Passes over all views at the first side")
    both_views: int = Field(2000, ge=0, description="Images of which frame and crop are learnt; of each further one, one in turn")
    epochs: int = Field(3, ge=1, description="Passes over all views at the student's own side")
    batch: int = Field(32, ge=1, description="Views per step")
    learning_rate: float = Field(8e-4, gt=0, description="Peak AdamW learning rate; linear warm-up, then cosine")
    weight_decay: float = Field(0.02, ge=0, description="AdamW weight decay")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="Share of steps with rising learning rate")
    seed: int = Field(999, description="Seed of order and flips")


@dataclass
class TargetStore:
    """Student inputs and teacher features of every view, as memory-mapped arrays in one folder.

    Attributes:
        inputs: uint8 (n, 2 views, 3, side, side).
        class_tokens: float16 (n, 2, d), teacher's class token after its last norm.
        patch_means: float16 (n, 2, d), mean of the teacher's own patch tokens.
        patches: float16 (n, 2, grid, grid, d), teacher's patch tokens resampled to the student's grid.
        done: bool (n, 2), views already computed.
    """

    inputs: np.ndarray
    class_tokens: np.ndarray
    patch_means: np.ndarray
    patches: np.ndarray
    done: np.ndarray


def open_targets(folder: Path, image_ids: list[str], config: DistillationConfig, teacher_sha256: str) -> TargetStore:
    """Open the target arrays of these images, creating them where they are absent.

    Args:
        folder: Working folder; what is already computed there for the same ids and settings is kept.
        image_ids: Images in row order.
        config: Settings of the distillation.
        teacher_sha256: Digest of the teacher's weight file.

    Raises:
        ConfigurationError: The folder holds targets of other images, another teacher or other sizes.
    """
    side, grid, n = config.student_side_px, config.student_side_px // PATCH_PX, len(image_ids)
    key = hashlib.sha256(json.dumps([image_ids, teacher_sha256, config.teacher_side_px, side]).encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "key.txt"
    if stamp.exists() and stamp.read_text() != key:
        raise ConfigurationError(f"{folder} holds the targets of other images or settings: name an empty folder")
    stamp.write_text(key)

    def array(name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        path = folder / f"{name}.npy"
        if path.exists():
            return np.lib.format.open_memmap(path, mode="r+")
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)

    return TargetStore(
        array("inputs", np.uint8, (n, 2, 3, side, side)),
        array("class_tokens", np.float16, (n, 2, WIDTH)),
        array("patch_means", np.float16, (n, 2, WIDTH)),
        array("patches", np.float16, (n, 2, grid, grid, WIDTH)),
        array("done", np.bool_, (n, 2)),
    )


def wanted_views(images: int, both_views: int) -> np.ndarray:
    """Return which views a student learns from, bool (images, 2): both of the first images, then one each in turn."""
    wanted = np.zeros((images, 2), np.bool_)
    wanted[:both_views] = True
    rest = np.arange(both_views, images)
    wanted[rest, rest % 2] = True
    return wanted


def fill_targets(
    store: TargetStore,
    wanted: np.ndarray,
    images: Callable[[int], tuple[np.ndarray, np.ndarray | None]],
    teacher: Any,
    spec: InputSpec,
    config: DistillationConfig,
) -> Iterator[int]:
    """Compute the missing views of a target store, yielding each row's index once it is written.

    Args:
        store: From :func:`open_targets`.
        wanted: From :func:`wanted_views`, for the first rows of the store.
        images: Row index -> (rgb uint8 (H, W, 3), mask bool (H, W) or None); without a lesion the crop is the frame.
        teacher: timm vision transformer in eval mode.
        spec: The teacher's preprocessing.
        config: Settings of the distillation.
    """
    small = InputSpec(config.student_side_px, spec.mean, spec.std, spec.interpolation, spec.crop_pct, spec.crop_mode)
    missing = wanted & ~store.done[: len(wanted)]
    for row in np.flatnonzero(missing.any(axis=1)):
        rgb, mask = images(int(row))
        views = np.flatnonzero(missing[row])
        boxes = [lesion_box(mask, LESION_MARGIN) if view and mask is not None else None for view in views]
        tokens = _teacher_tokens(teacher, [normalise(resize_view(rgb, box, spec), spec) for box in boxes])
        store.inputs[row, views] = np.stack([resize_view(rgb, box, small).numpy() for box in boxes])
        store.class_tokens[row, views] = tokens[:, 0].numpy()
        store.patch_means[row, views] = tokens[:, 1:].mean(dim=1).numpy()
        store.patches[row, views] = _resample(tokens[:, 1:], store.patches.shape[2]).numpy()
        store.done[row, views] = True
        yield int(row)


def _teacher_tokens(teacher: Any, inputs: list[torch.Tensor]) -> torch.Tensor:
    """Return the teacher's normed tokens, float32 (n, 1 + patches, d); bfloat16 inside, for speed."""
    import torch

    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        return teacher.forward_features(torch.stack(inputs)).float()


def _resample(patches: torch.Tensor, grid: int) -> torch.Tensor:
    """Resample patch tokens (n, g*g, d) to (n, grid, grid, d) by anti-aliased bilinear interpolation."""
    from torch.nn.functional import interpolate

    side = math.isqrt(patches.shape[1])
    square = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
    return interpolate(square, size=(grid, grid), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
