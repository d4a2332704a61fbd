"""``cefm segment``, ``measure`` and ``predict``: single parts of the chain on plain folders, without a server or a store of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cefm_core.config import CefmConfig
from cefm_core.errors import BadItemError, ConfigurationError
from cefm_core.tables.schema import Table
from flows.console import progress, say
from storage.files import write_whole

Row = dict[str, Any]
_BATCH = 8


def segment(images: Path, out: Path, config: CefmConfig, as_json: bool) -> None:
    """Write ``<id>.png`` masks (0/255, the image's own size) and ``masks.parquet`` to ``out``."""
    from cefm_core.device import resolve_device
    from cefm_core.imaging.decode import encode_mask_png
    from cefm_core.segmentation.coarse import CoarseSegmenter
    from cefm_core.segmentation.refine import MaskRefiner, resolve_refiner
    from cefm_core.tables import coarse_masks, refined_masks

    device = resolve_device(config.runtime.device)
    segmenter = CoarseSegmenter.load(config.coarse, device)
    refiner = MaskRefiner.load(config.refine, device) if resolve_refiner(config.refine).name != "none" else None
    declared = refined_masks.TABLE if refiner else coarse_masks.TABLE
    out.mkdir(parents=True, exist_ok=True)

    def one(image_id: str, rgb: np.ndarray) -> Row:
        found: Any = segmenter.segment([rgb])[0]
        if refiner is not None:
            found = refiner.refine(rgb, found.mask, found.row["confidence"])
        name = f"{image_id}.png"
        data = encode_mask_png(found.mask)
        write_whole(out / name, data)
        return found.row | {"mask_key": name, "mask_sha256": _sha256(data)}

    _over_images(images, out / "masks.parquet", declared, config, one, as_json)


def measure(images: Path, masks: Path, out: Path, profile: str, config: CefmConfig, as_json: bool) -> None:
    """Write one row of measurements an image; an image without a mask, or a mask that does not fit, becomes a reject."""
    from cefm_core.abc_features.measure import measure_abc
    from cefm_core.imaging.decode import decode_mask
    from cefm_core.tables import abc_features

    if profile not in {"clinical", "paper"}:
        raise ConfigurationError(f"--profile {profile}: give clinical or paper")
    if not masks.is_dir():
        raise ConfigurationError(f"masks {masks}: no such folder; give the folder that holds the masks")
    names = _mask_names(masks)

    def one(image_id: str, rgb: np.ndarray) -> Row:
        if image_id not in names:
            raise BadItemError("no_mask", f"{image_id} has no mask in {masks.name}; add {image_id}.png")
        mask = decode_mask((masks / names[image_id]).read_bytes(), rgb.shape[:2]).mask
        return measure_abc(rgb, mask, config.abc)

    _over_images(images, out, abc_features.TABLE, config, one, as_json)


def predict(images: Path, store: str, out: Path, config: CefmConfig, as_json: bool) -> None:
    """Write the prediction of the latest published model for every image of a folder."""
    from flows.commands.prediction import Predictor, table

    predictor = Predictor.load(store, config)
    _over_images(images, out, table(), config, predictor.row, as_json)


def _mask_names(folder: Path) -> dict[str, str]:
    """Return the mask's relative name by image id: ``<id>.png`` or, say, ``<id>_segmentation.png``."""
    from cefm_core.manifest.names import IMAGE_EXTENSIONS, image_id_of

    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_EXTENSIONS]
    return {image_id_of(name, is_mask=True): name for name in names}


def _over_images(
    folder: Path, out: Path, declared: Table, config: CefmConfig, one: Callable[[str, np.ndarray], Row], as_json: bool
) -> None:
    """Apply ``one`` to every image of a folder; write its rows and, beside them, the rejects."""
    from cefm_core.tables import rejects as rejects_table
    from storage.parquet import table_bytes

    rows: list[Row] = []
    refused: list[Row] = []
    for image_id, read in progress(list(_images(folder, config, refused)), f"{folder.name}"):
        try:
            rgb, sha256 = read()
            rows.append(one(image_id, rgb) | {"image_id": image_id, "image_sha256": sha256, "row_key": sha256})
        except BadItemError as error:
            refused.append({"item": image_id, "stage": declared.stage, "code": error.code, "message": error.message})
    write_whole(out, table_bytes(declared.to_arrow(rows)))
    if refused:
        write_whole(out.with_name(out.stem + ".rejects.parquet"), table_bytes(rejects_table.TABLE.to_arrow(refused)))
    for reject in refused[:20]:
        say(f"rejected {reject['item']}: {reject['code']}: {reject['message']}")
    say(f"in {len(rows) + len(refused)}, out {len(rows)}, rejected {len(refused)}: {out}")
    if as_json:
        print(json.dumps({"in": len(rows) + len(refused), "out": len(rows), "rejected": len(refused), "file": str(out)}))
    if not rows:
        raise ConfigurationError(f"images {folder}: none of {len(refused)} images could be used; see the rejects")


def _images(folder: Path, config: CefmConfig, refused: list[Row]) -> Iterator[tuple[str, Callable[[], tuple[np.ndarray, str]]]]:
    from cefm_core.imaging.decode import decode_image
    from cefm_core.manifest.names import classify_names
    from storage.source import Source

    source = Source(str(folder))
    classified = classify_names(source.names())
    refused += [{"item": r.item, "stage": "build_manifest", "code": r.code, "message": r.message} for r in classified.rejects]
    if not classified.images and not refused:
        raise ConfigurationError(f"images {folder}: no image there; give a folder with JPEG, PNG, TIFF or DICOM images")

    def reader(name: str) -> Callable[[], tuple[np.ndarray, str]]:
        def read() -> tuple[np.ndarray, str]:
            data = source.read(name)
            limits = config.manifest
            return decode_image(data, max_pixels=limits.max_pixels, min_side_px=limits.min_side_px).rgb, _sha256(data)

        return read

    for image in classified.images:
        yield image.image_id, reader(image.name)


def _sha256(data: bytes) -> str:
    from storage.refs import sha256_of

    return sha256_of(data)
