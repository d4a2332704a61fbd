"""explain_images: where the image model of a store looks, and whether the maps tell the truth.

    python -m flows.explain_images STORE --source IMAGES --out FOLDER [--images 100] [--show 6] [--id IMAGE_ID ...]

Written are `maps.png` (lesion crops with what each patch adds), `deletion.png` (the deletion test) and `maps.md` (its figures).
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from cefm_core.alignment.checkpoint import checkpoint_from_bytes
from cefm_core.config_file import load_config
from cefm_core.imaging.decode import decode_image, decode_own_mask
from flows.robustness import choose_images
from flows.upstream import needed_from
from storage.parquet import read_frame
from storage.refs import FileRef
from storage.source import Source
from storage.store import Store
from storage.versions import read_outputs

logger = logging.getLogger(__name__)


def explain_images(store: str, source: str, out: Path, images: int, show: int, ids: list[str], overrides: dict[str, Any]) -> str:
    """Make maps of val images (or of those named), judge them, and write pictures and figures.

    Args:
        store: Store with a published model.
        source: Where the images of its manifest lie.
        out: Folder to write.
        images: Number of val images for the deletion test.
        show: Number of images drawn.
        ids: Images to take instead.
        overrides: Settings by dotted name; those of embedding must be the model's.
    """
    from cefm_core.alignment.encoder import Encoder, one_thread
    from cefm_core.alignment.models import load_models
    from cefm_core.alignment.predict import check_encoder
    from cefm_core.alignment.saliency import ImageScore, Judged, Views, judge_map, patch_side, views_of
    from cefm_core.evaluation.saliency_figures import deletion_figure, maps_figure, maps_text

    opened, read = Store.open(store), Source(source)
    outputs = needed_from(store, read_outputs(opened), "manifest", "refined_masks", "checkpoint")
    manifest, masks = (read_frame(opened, outputs[name]) for name in ("manifest", "refined_masks"))
    chosen = manifest[manifest["image_id"].isin(ids)] if ids else choose_images(manifest, images)
    trained, encoder = checkpoint_from_bytes(opened.get(outputs["checkpoint"])), Encoder.load(load_config(None, overrides).embed)
    check_encoder(trained.facts, encoder.digest)
    score, patch = ImageScore(encoder, load_models(trained)), patch_side(encoder)
    by_id = masks.set_index("image_id")
    judged: list[Judged] = []
    drawn: list[tuple[str, str, Views, Judged]] = []
    for number, item in enumerate(chosen.to_dict("records")):
        rgb = decode_image(read.read_verified(item["uri"], item["image_sha256"]), max_pixels=10**9).rgb
        where = by_id.loc[item["image_id"]]
        mask = decode_own_mask(opened.get(FileRef(key=where["mask_key"], sha256=where["mask_sha256"])), rgb.shape[:2])
        if not mask.any():
            continue
        with one_thread():
            views = views_of(encoder, rgb, mask)
            found = judge_map(score, views, patch, number)
        judged.append(found)
        if len(drawn) < show:
            drawn.append((item["image_id"], item["diagnosis"], views, found))
        logger.info("%d of %d images", number + 1, len(chosen))
    out.mkdir(parents=True, exist_ok=True)
    text = maps_text(judged)
    (out / "maps.png").write_bytes(maps_figure(drawn))
    (out / "deletion.png").write_bytes(deletion_figure(judged))
    (out / "maps.md").write_text(text + "\n", encoding="utf-8")
    return text


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m flows.explain_images", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", help="store with a published model")
    parser.add_argument("--source", required=True, help="where the images lie")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--images", type=int, default=100, help="number of val images for the deletion test")
    parser.add_argument("--show", type=int, default=6, help="number of images drawn")
    parser.add_argument("--id", action="append", default=[], help="take this image instead; may be given again")
    parser.add_argument("--set", action="append", default=[], help="one setting, stage.setting=value; may be given again")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    overrides = dict(pair.split("=", 1) for pair in asked.set)
    print(explain_images(asked.store, asked.source, asked.out, asked.images, asked.show, asked.id, overrides))


if __name__ == "__main__":
    main()
