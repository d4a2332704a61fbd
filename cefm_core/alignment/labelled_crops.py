"""Labelled lesion crops for fine-tuning: read, cut, and jittered so that a source's signature is worth less."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cefm_core.alignment.encoder_training import read_mask
from cefm_core.alignment.preprocess import Box, InputSpec, lesion_box, normalise, resize_view
from cefm_core.errors import ConfigurationError
from cefm_core.imaging.decode import decode_image

if TYPE_CHECKING:
    from torch import Tensor

LABELS = {"nevus": 0, "melanoma": 1}
MAX_PIXELS = 100_000_000
MARGINS = (0.05, 0.6)
SHIFT_SHARE = 0.08
GAIN_STOPS, CHANNEL_STOPS = 0.4, 0.15


@dataclass(frozen=True)
class LabelledImage:
    """One image to learn from.

    Attributes:
        image_id: Its name.
        image: Its file.
        mask: Its lesion mask's file, or None: then the whole frame is the crop.
        label: 1 melanoma, 0 nevus.
        source: Where it comes from, None where not stated.
        group: What it shares with other images of its lesion or duplicates; its own name where it shares nothing.
    """

    image_id: str
    image: Path
    mask: Path | None
    label: int
    source: str | None
    group: str

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return pixels uint8 (H, W, 3) and mask bool (H, W) or None."""
        rgb = decode_image(self.image.read_bytes(), max_pixels=MAX_PIXELS).rgb
        mask = None if self.mask is None else read_mask(self.mask, rgb.shape[:2])
        return rgb, mask


def read_labelled(metadata: Path, split: str, limit: int | None, seed: int) -> list[LabelledImage]:
    """Read the melanomas and nevi of a split.

    Args:
        metadata: CSV with columns ``id``, ``filename``, ``mask_filename``, ``split``, ``diagnosis`` and, if there, ``source``,
            ``lesion_id``, ``dup_group``; files are relative to it.
        split: The split to learn from; no other is read.
        limit: Most images, drawn by chance; None for all.
        seed: Seed of that draw.

    Raises:
        ConfigurationError: The file cannot be read, lacks a column, or has no such image.
    """
    try:
        with metadata.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"metadata: cannot read {metadata}: {error}") from error
    absent = [name for name in ("id", "filename", "mask_filename", "split", "diagnosis") if not rows or name not in rows[0]]
    if absent:
        raise ConfigurationError(f"metadata: {metadata} has no rows or lacks columns {absent}")
    rows = sorted((r for r in rows if r["split"] == split and r["diagnosis"] in LABELS), key=lambda r: r["id"])
    if not rows:
        raise ConfigurationError(f"metadata: {metadata} has no melanoma or nevus of split {split!r}")
    order = np.random.default_rng(seed).permutation(len(rows))[:limit]
    return [_labelled(rows[i], metadata.parent) for i in np.sort(order)]


def _labelled(row: dict[str, str], folder: Path) -> LabelledImage:
    mask = folder / row["mask_filename"] if row["mask_filename"] else None
    group = row.get("lesion_id") or row.get("dup_group") or row["id"]
    return LabelledImage(row["id"], folder / row["filename"], mask, LABELS[row["diagnosis"]], row.get("source") or None, group)


def plain(image: LabelledImage, spec: InputSpec) -> Tensor:
    """Return the lesion crop as the encoder sees it later, float32 (3, side, side)."""
    rgb, mask = image.read()
    return normalise(resize_view(rgb, None if mask is None else lesion_box(mask), spec), spec)


def augmented(image: LabelledImage, spec: InputSpec, random: np.random.Generator) -> Tensor:
    """Return a crop of another margin and place, turned or flipped, in another light, float32 (3, side, side)."""
    import torch

    rgb, mask = image.read()
    box = None if mask is None else lesion_box(mask, float(random.uniform(*MARGINS)))
    view = resize_view(rgb, None if box is None else _moved(box, rgb.shape[:2], random), spec)
    view = torch.rot90(view, int(random.integers(4)), (1, 2))
    view = view.flip(2) if random.integers(2) else view
    stops = random.uniform(-GAIN_STOPS, GAIN_STOPS) + random.uniform(-CHANNEL_STOPS, CHANNEL_STOPS, 3)
    gains = torch.from_numpy(2.0 ** (stops / 2.2)).float()[:, None, None]
    return normalise((view.float() * gains).clamp(0, 255), spec)


def _moved(box: Box, shape: tuple[int, int], random: np.random.Generator) -> Box:
    """Move a box by up to 8 % of its side, as far as the frame allows."""
    x0, y0, x1, y1 = box
    dx, dy = (round(float(random.uniform(-SHIFT_SHARE, SHIFT_SHARE)) * (b - a)) for a, b in ((x0, x1), (y0, y1)))
    dx, dy = max(-x0, min(dx, shape[1] - x1)), max(-y0, min(dy, shape[0] - y1))
    return x0 + dx, y0 + dy, x1 + dx, y1 + dy
