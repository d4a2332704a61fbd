"""The two halves of making the shipped encoder: teacher features of a data set, then the student and its weight file.

Both can be cut off and called again: what is done stays done.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cefm_core.alignment.distillation import DistillationConfig, TargetStore, fill_targets, open_targets, wanted_views
from cefm_core.alignment.encoder import Encoder, one_thread, reference_embedding
from cefm_core.alignment.preprocess import InputSpec
from cefm_core.config import EmbedConfig
from cefm_core.errors import BadItemError, ConfigurationError
from cefm_core.imaging.decode import decode_image, decode_mask

logger = logging.getLogger(__name__)
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class TrainingImage:
    """One image of the data set the student learns from; ``mask`` is None where there is none."""

    image_id: str
    image: Path
    mask: Path | None


def read_training_images(metadata: Path, split: str, seed: int) -> list[TrainingImage]:
    """Read which images belong to a split, in an order by chance that the seed fixes.

    Args:
        metadata: CSV with columns ``id``, ``filename``, ``mask_filename`` (relative to it, may be empty) and ``split``.
        split: The split to learn from.
        seed: Seed of the order.

    Raises:
        ConfigurationError: The file cannot be read, lacks a column, or has no image of the split.
    """
    try:
        with metadata.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"metadata: cannot read {metadata}: {error}") from error
    absent = [name for name in ("id", "filename", "mask_filename", "split") if not rows or name not in rows[0]]
    if absent:
        raise ConfigurationError(f"metadata: {metadata} has no rows or lacks columns {absent}")
    folder = metadata.parent
    chosen = [
        TrainingImage(row["id"], folder / row["filename"], folder / row["mask_filename"] if row["mask_filename"] else None)
        for row in sorted(rows, key=lambda row: row["id"])
        if row["split"] == split
    ]
    if not chosen:
        raise ConfigurationError(f"metadata: {metadata} has no image of split {split!r}")
    return [chosen[i] for i in np.random.default_rng(seed).permutation(len(chosen))]


def compute_targets(images: Sequence[TrainingImage], teacher_file: Path, work: Path, config: DistillationConfig) -> dict[str, Any]:
    """Compute the teacher's features of every view that the student learns from; continues where it was cut off.

    Args:
        images: From :func:`read_training_images`.
        teacher_file: Teacher's weights, safetensors.
        work: Working folder, about 190 kB an image.
        config: Settings.

    Returns:
        Numbers of images and views, and how many were computed by this call.
    """
    teacher = _load_teacher(teacher_file, config)
    store = open_targets(work, [image.image_id for image in images], config, teacher.source.weights_sha256)
    wanted = wanted_views(len(images), config.both_views)
    computed = 0
    with one_thread():
        for _ in fill_targets(store, wanted, lambda row: _read(images[row]), teacher.network, teacher.spec, config):
            computed += 1
            if computed % 200 == 0:
                logger.info("teacher features: %d images computed", computed)
    return {"images": len(images), "views": int(wanted.sum()), "computed": computed}


def train_student(
    images: Sequence[TrainingImage], teacher_file: Path, work: Path, config: DistillationConfig, out: Path, licence: str
) -> dict[str, Any]:
    """Train the student on computed targets and write its weight file; continues after the last whole epoch.

    Args:
        images: As for :func:`compute_targets`.
        teacher_file: Teacher's weights.
        work: The same working folder.
        config: Settings.
        out: Weight file to write, safetensors with fp16 tensors.
        licence: Licence of the weights, as the file will state it.

    Returns:
        Digest and size of the file, and the last loss.
    """
    from cefm_core.alignment.student import distil, new_student

    teacher = _load_teacher(teacher_file, config)
    store = open_targets(work, [image.image_id for image in images], config, teacher.source.weights_sha256)
    views = np.flatnonzero(_complete(store, wanted_views(len(images), config.both_views)).ravel())
    spec = InputSpec(**{**teacher.spec.__dict__, "side_px": config.student_side_px})
    last: dict[str, Any] = {}

    def progress(state: dict[str, Any]) -> None:
        last.update(state)
        logger.info("student: epoch %(epoch)d, step %(step)d of %(steps)d, loss %(loss).4f", state)

    with one_thread():
        student = distil(new_student(teacher.network, config), store, views, spec, config, work / "student.pt", progress)
    made = {
        "teacher": config.teacher_model,
        "teacher_sha256": teacher.source.weights_sha256,
        "settings": config.model_dump(mode="json"),
        "images": len(images),
        "views": len(views),
        "licence": licence,
    }
    data = student_bytes(student, spec, config, made)
    out.write_bytes(data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "loss": last.get("loss")}


def student_bytes(student: Any, spec: InputSpec, config: DistillationConfig, made: dict[str, Any]) -> bytes:
    """Return the weight file: fp16 tensors, with architecture, preprocessing and a reference embedding in the header.

    Args:
        student: The trained network; its weights are rounded to fp16 in place, so that the reference is that of the file.
        spec: Its preprocessing.
        config: Settings it was trained with.
        made: Where it comes from, for the header.
    """
    return encoder_bytes(student, spec, {"img_size": config.student_side_px, "depth": len(config.teacher_blocks)}, made)


def encoder_bytes(network: Any, spec: InputSpec, arguments: dict[str, Any], made: dict[str, Any]) -> bytes:
    """Return a weight file that `embed.weights` takes: fp16 tensors, and what they mean in the header.

    Args:
        network: The trained network; its weights are rounded to fp16 in place, so that the reference is that of the file.
        spec: Its preprocessing.
        arguments: What timm needs to build it, beside its name.
        made: Where it comes from.
    """
    import torch
    from safetensors.torch import save

    half = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in network.state_dict().items()}
    network.load_state_dict({name: tensor.float() for name, tensor in half.items()})
    header = {
        "arguments": arguments,
        "input": spec.as_facts(),
        "reference": [round(float(value), 4) for value in reference_embedding(network.eval(), spec)],
        "made": made,
    }
    return save(half, {"cefm_encoder": json.dumps(header, sort_keys=True)})


def _load_teacher(teacher_file: Path, config: DistillationConfig) -> Encoder:
    return Encoder.load(EmbedConfig(model=config.teacher_model, weights=str(teacher_file), img_size=config.teacher_side_px))


def _complete(store: TargetStore, wanted: np.ndarray) -> np.ndarray:
    """Return the wanted views after checking that all of them are there."""
    missing = int((wanted & ~store.done).sum())
    if missing:
        raise ConfigurationError(f"teacher features of {missing} views are missing: compute_targets has not finished")
    return wanted


def _read(image: TrainingImage) -> tuple[np.ndarray, np.ndarray | None]:
    rgb = decode_image(image.image.read_bytes(), max_pixels=MAX_PIXELS).rgb
    return rgb, None if image.mask is None else read_mask(image.mask, rgb.shape[:2])


def read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Return a mask, bool (H, W); None for one that cannot be meant (inverted, of another size): the frame will stand in."""
    try:
        return decode_mask(path.read_bytes(), shape).mask
    except BadItemError as error:
        logger.warning("mask %s is left out: %s", path.name, error)
        return None
