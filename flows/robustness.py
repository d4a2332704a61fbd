"""robustness: what worse photographs do to the predictions of a store's model, from the pixels on.

    python -m flows.robustness STORE --source IMAGES --out FOLDER [--images 100] [--foreign PICTURES] [--set stage.setting=value]

Labelled images of `val` are corrupted, segmented, measured, embedded and predicted anew, as `cefm predict` does it. Written are
`robustness.md` (the table), `robustness.parquet` (every prediction) and `corruptions.png` (what the corruptions look like).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cefm_core.config import CefmConfig
from cefm_core.config_file import load_config
from cefm_core.errors import ConfigurationError
from cefm_core.evaluation.corruption import CORRUPTIONS, corrupt
from cefm_core.evaluation.robustness import CLEAN, FOREIGN, robustness_page, robustness_rows
from cefm_core.imaging.decode import decode_image
from flows.commands.prediction import Predictor
from flows.upstream import needed_from
from storage.parquet import read_frame
from storage.source import Source
from storage.store import Store
from storage.versions import read_outputs

logger = logging.getLogger(__name__)


def robustness(store: str, source: str, out: Path, images: int, foreign: Path | None, config: CefmConfig) -> str:
    """Predict corrupted val images and write the table.

    Args:
        store: Store with a published model.
        source: Where the images of its manifest lie.
        out: Folder to write.
        images: Number of val images, melanomas and nevi in the proportion of val.
        foreign: Folder of pictures that are not dermoscopic, to see whether the model notices; None leaves them out.
        config: Settings; those of embedding must be the model's.

    Raises:
        ConfigurationError: Nothing is published, or val has no labelled image.
    """
    opened, read = Store.open(store), Source(source)
    manifest = read_frame(opened, needed_from(store, read_outputs(opened), "manifest")["manifest"])
    chosen = choose_images(manifest, images)
    predictor = Predictor.load(store, config)
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(chosen.to_dict("records"), start=1):
        rgb = decode_image(read.read_verified(item["uri"], item["image_sha256"]), max_pixels=config.manifest.max_pixels).rgb
        known = {name: item[name] for name in ("image_id", "group_id", "target", "source")}
        for name in (CLEAN, *CORRUPTIONS):
            seen = rgb if name == CLEAN else corrupt(rgb, name, item["image_id"])
            rows.append(known | {"corruption": name} | _prediction(predictor, item["image_id"], seen))
        logger.info("%d of %d images", number, len(chosen))
        if number == 1:
            _contact_sheet(rgb, item["image_id"], out)
    rows += [row | _prediction(predictor, row["image_id"], rgb) for row, rgb in _foreign(foreign, config)]
    scored = pd.DataFrame(rows)
    out.mkdir(parents=True, exist_ok=True)
    scored.to_parquet(out / "robustness.parquet")
    page = robustness_page(robustness_rows(scored, config.evaluation.bootstrap_samples, config.evaluation.bootstrap_seed))
    (out / "robustness.md").write_text(page + "\n", encoding="utf-8")
    return page


def choose_images(manifest: pd.DataFrame, images: int) -> pd.DataFrame:
    """Return labelled images of val in a fixed order by chance.

    Raises:
        ConfigurationError: There is none.
    """
    labelled = manifest[(manifest["split"] == "val") & manifest["target"].isin([0, 1])].sort_values("image_id")
    if labelled.empty:
        raise ConfigurationError("robustness: the store's manifest has no labelled image of val")
    return labelled.iloc[np.random.default_rng(0).permutation(len(labelled))[:images]]


def _prediction(predictor: Predictor, image_id: str, rgb: np.ndarray) -> dict[str, Any]:
    row = predictor.row(image_id, rgb)
    return {name: row[name] for name in ("p_melanoma", "ood_score", "abstain", "abstain_reasons")}


def _foreign(folder: Path | None, config: CefmConfig) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    for path in sorted(folder.iterdir()) if folder is not None else []:
        rgb = decode_image(path.read_bytes(), max_pixels=config.manifest.max_pixels).rgb
        yield {"image_id": path.stem, "group_id": None, "target": None, "source": None, "corruption": FOREIGN}, rgb


def _contact_sheet(rgb: np.ndarray, image_id: str, out: Path) -> None:
    """Write what every corruption makes of one image."""
    from cefm_core.evaluation import figure_style as fs

    figure, axes = fs.new_figure(10.5, 7.6, rows=3, columns=3)
    for ax, name in zip(axes, (CLEAN, *CORRUPTIONS), strict=True):
        ax.imshow(rgb if name == CLEAN else corrupt(rgb, name, image_id))
        ax.set_title(name, fontsize=10, loc="left")
        ax.axis("off")
    out.mkdir(parents=True, exist_ok=True)
    (out / "corruptions.png").write_bytes(fs.png(figure))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m flows.robustness", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", help="store with a published model")
    parser.add_argument("--source", required=True, help="where the images lie")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--images", type=int, default=100, help="number of val images")
    parser.add_argument("--foreign", type=Path, help="folder of pictures that are not dermoscopic")
    parser.add_argument("--set", action="append", default=[], help="one setting, stage.setting=value; may be given again")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    overrides = dict(pair.split("=", 1) for pair in asked.set)
    print(robustness(asked.store, asked.source, asked.out, asked.images, asked.foreign, load_config(None, overrides)))


if __name__ == "__main__":
    main()
