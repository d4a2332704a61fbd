"""A folder of phantoms that looks like a small archive download: images, masks, metadata, and the truth beside it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cefm_core.imaging.decode import encode_jpeg, encode_mask_png
from cefm_core.phantoms.palette import COLOURS
from cefm_core.phantoms.render import Phantom, render_phantom
from cefm_core.phantoms.spec import STRUCTURES, PhantomSpec, photographed_again, sample_spec

METADATA_COLUMNS: tuple[str, ...] = (
    "isic_id",
    "diagnosis",
    "lesion_id",
    "age_approx",
    "sex",
    "anatom_site_general",
    "split",
    "copyright_license",
    "attribution",
    "source",
)
TRUTH_COLUMNS: tuple[str, ...] = (
    "isic_id",
    "melanoma",
    "asymmetric_axes",
    "irregularity",
    "elongation",
    "border_abrupt_count",
    "colour_count",
    *(f"colour_share_{name}" for name in COLOURS),
    "structure_count",
    *(f"structure_{name}" for name in STRUCTURES),
    "mask_area_px",
    "skin_ita_deg",
    "hair_share",
    "hairs",
    "vignette",
    "ruler",
    "ink",
    "bubbles",
    "glare",
)
LICENCE = "CC0-1.0"
SOURCE = "phantom"
_SITES = ("anterior torso", "posterior torso", "lower extremity", "upper extremity", "head/neck", "")
_REPEAT_SHARE, _UNLABELLED_SHARE = 0.08, 0.03
_JPEG_QUALITIES = (80, 86, 90, 94)


@dataclass(frozen=True)
class PhantomItem:
    """One photograph of a phantom data set: its id, its lesion, what to render and its metadata row."""

    phantom_id: str
    spec: PhantomSpec
    jpeg_quality: int
    metadata: dict[str, str]


def plan_phantom_dataset(n: int, seed: int = 0, *, with_split: bool = False) -> Iterator[PhantomItem]:
    """Yield ``n`` photographs; about 8 % show the lesion before once more, about 3 % have no label.

    Args:
        n: Number of photographs.
        seed: Seed of the data set; photograph k is the same whatever ``n``.
        with_split: Whether the column ``split`` is filled (about 70 % train, 15 % val, 15 % test, by lesion) or left empty.
    """
    lesion = 0
    person: dict[str, str] = {}
    spec = sample_spec(0)
    for index in range(n):
        rng = np.random.default_rng([seed, index, 60])
        repeated = index > 0 and bool(rng.random() < _REPEAT_SHARE)
        lesion_seed = seed * 1_000_003 + index
        if repeated:
            spec = photographed_again(spec, lesion_seed)
        else:
            lesion += 1
            spec = sample_spec(lesion_seed)
            person = _person(rng, spec, with_split)
        phantom_id = f"PHANTOM_{index + 1:07d}"
        metadata = {"isic_id": phantom_id, **person, "lesion_id": f"PL_{lesion:07d}", "copyright_license": LICENCE}
        metadata |= {"attribution": "rendered by CEFM", "source": SOURCE}
        if rng.random() < _UNLABELLED_SHARE:
            metadata["diagnosis"] = ""
        yield PhantomItem(phantom_id, spec, int(rng.choice(_JPEG_QUALITIES)), metadata)


def write_phantom_dataset(folder: Path, n: int, seed: int = 0, *, size: tuple[int, int] = (450, 600), with_split: bool = False) -> None:
    """Write a phantom data set: ``images/<id>.jpg``, ``masks/<id>.png``, ``metadata.csv``, ``truth.csv``.

    Equal arguments give equal bytes. Files of the same names are replaced; nothing else in the folder is touched.

    Args:
        folder: Where to write; made if missing.
        n: Number of photographs, 1 or more.
        seed: Seed of the data set.
        size: (H, W) of each picture, in pixels.
        with_split: Whether ``metadata.csv`` names a split.

    Raises:
        ValueError: ``n`` is below 1.
        OSError: The folder cannot be written.
    """
    if n < 1:
        raise ValueError(f"a data set needs at least one phantom, not {n}")
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    metadata, truth = [], []
    for item in plan_phantom_dataset(n, seed, with_split=with_split):
        phantom = render_phantom(item.spec, size)
        (folder / "images" / f"{item.phantom_id}.jpg").write_bytes(encode_jpeg(phantom.rgb, item.jpeg_quality))
        (folder / "masks" / f"{item.phantom_id}.png").write_bytes(encode_mask_png(phantom.mask))
        metadata.append(item.metadata)
        truth.append(_truth_row(item.phantom_id, phantom))
    _write_csv(folder / "metadata.csv", METADATA_COLUMNS, metadata)
    _write_csv(folder / "truth.csv", TRUTH_COLUMNS, truth)


def _person(rng: np.random.Generator, spec: PhantomSpec, with_split: bool) -> dict[str, str]:
    """Draw label, age, sex, site and split of one lesion; some values are missing, as in real tables."""
    age = int(np.clip(5 * round(rng.normal(58 if spec.melanoma else 45, 16) / 5), 15, 85))
    return {
        "diagnosis": "melanoma" if spec.melanoma else "nevus",
        "age_approx": "" if rng.random() < 0.03 else str(age),
        "sex": str(rng.choice(["female", "male", ""], p=[0.48, 0.48, 0.04])),
        "anatom_site_general": str(rng.choice(_SITES)),
        "split": str(rng.choice(["train", "val", "test"], p=[0.7, 0.15, 0.15])) if with_split else "",
    }


def _truth_row(phantom_id: str, phantom: Phantom) -> dict[str, Any]:
    """Flatten the truth of a phantom to the columns of ``truth.csv``."""
    truth = phantom.truth
    row: dict[str, Any] = {"isic_id": phantom_id, "colour_count": len(truth["colours"]), "structure_count": len(truth["structures"])}
    row |= {f"structure_{name}": int(name in truth["structures"]) for name in STRUCTURES}
    row |= {f"colour_share_{name}": round(truth.get(f"colour_share_{name}", 0.0), 4) for name in COLOURS}
    for name in TRUTH_COLUMNS:
        if name not in row:
            value = truth[name]
            row[name] = int(value) if isinstance(value, bool) else round(value, 4) if isinstance(value, float) else value
    return row


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Write rows as UTF-8 CSV with Unix line ends, the same bytes on every system."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
