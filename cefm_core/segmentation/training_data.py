"""Images and reference masks at the network's size, and which of them may be trained on.

Augmentation and the training loop do not belong here.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cefm_core.errors import ConfigurationError

Image = np.ndarray  # uint8 (height, width, 3), RGB
Plane = np.ndarray  # uint8 (height, width)

REQUIRED = ("id", "filename", "mask_filename", "source", "diagnosis", "split", "lesion_id", "dup_group")


@dataclass(frozen=True)
class TrainingRow:
    """One image with a reference mask.

    Attributes:
        image_id: Identifier of the image.
        image: Path of the image file.
        mask: Path of the mask file.
        source: Where the image comes from.
        diagnosis: melanoma, nevus, other or unknown.
        split: The metadata's split.
        group: Images that show one lesion, or are near-copies of each other, share it.
    """

    image_id: str
    image: Path
    mask: Path
    source: str
    diagnosis: str
    split: str
    group: str


def read_rows(metadata: Path, splits: tuple[str, ...]) -> list[TrainingRow]:
    """Read the rows that have a mask and belong to the named splits, in the order of their ids.

    Args:
        metadata: CSV with the columns ``REQUIRED``; file names are relative to its folder.
        splits: Values of ``split`` to keep.

    Raises:
        ConfigurationError: The file or one of its columns is missing, or nothing is left.
    """
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
            rows = [] if missing else list(reader)
    except OSError as error:
        raise ConfigurationError(f"training metadata {metadata}: {error}") from error
    if missing:
        raise ConfigurationError(f"training metadata {metadata}: columns missing: {', '.join(missing)}")
    groups = _groups(rows)
    folder = metadata.parent
    kept = [
        TrainingRow(r["id"], folder / r["filename"], folder / r["mask_filename"], r["source"], r["diagnosis"], r["split"], groups[r["id"]])
        for r in sorted(rows, key=lambda r: r["id"])
        if r["split"] in splits and r["mask_filename"]
    ]
    if not kept:
        raise ConfigurationError(f"training metadata {metadata}: no row with a mask in split {', '.join(splits)}")
    return kept


def _groups(rows: list[dict[str, str]]) -> dict[str, str]:
    """Join images through lesion ids and duplicate groups; the group's name is its smallest image id."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for row in rows:
        for kind in ("lesion_id", "dup_group"):
            if row[kind]:
                parent[root(f"image {row['id']}")] = root(f"{kind} {row[kind]}")
    members: dict[str, list[str]] = {}
    for row in rows:
        members.setdefault(root(f"image {row['id']}"), []).append(row["id"])
    return {image_id: min(ids) for ids in members.values() for image_id in ids}


def is_tuning(group: str, share: float) -> bool:
    """Say whether a group is kept apart from training to choose among checkpoints; depends on its name alone."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") < share * 2**32


def load_arrays(rows: list[TrainingRow], side_px: int, cache: Path | None = None) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Decode images and masks and shrink them by area to a square.

    Args:
        rows: The images to read.
        side_px: Side of the square, in pixels.
        cache: A ``.npz`` file to read instead when it holds exactly these rows at this size, or to write; None keeps nothing.

    Returns:
        Images uint8 (n, side, side, 3) in RGB, and masks uint8 (n, side, side) with the covered share of each pixel as 0..255.

    Raises:
        ConfigurationError: A file cannot be decoded, or a mask has another size than its image; every offender is named.
    """
    key = hashlib.sha256("\n".join([str(side_px), *(r.image_id for r in rows)]).encode()).hexdigest()
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            if str(stored["key"]) == key:
                return stored["images"], stored["masks"]
    images = np.zeros((len(rows), side_px, side_px, 3), np.uint8)
    masks = np.zeros((len(rows), side_px, side_px), np.uint8)
    problems = []
    for index, row in enumerate(rows):
        bgr, mask = cv2.imread(str(row.image)), cv2.imread(str(row.mask), cv2.IMREAD_GRAYSCALE)
        if bgr is None or mask is None or bgr.shape[:2] != mask.shape:
            problems.append(row.image_id)
            continue
        images[index] = cv2.resize(bgr, (side_px, side_px), interpolation=cv2.INTER_AREA)[..., ::-1]
        masks[index] = cv2.resize(np.where(mask > 127, 255, 0).astype(np.uint8), (side_px, side_px), interpolation=cv2.INTER_AREA)
    if problems:
        raise ConfigurationError(f"training data: image or mask unreadable, or their sizes differ: {', '.join(problems[:20])}")
    if cache is not None:
        np.savez(cache, key=np.array(key), images=images, masks=masks)
    return images, masks
