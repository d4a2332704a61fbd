"""How close each reading of the paper's formulas comes to the authors' released table.

python -m cefm_core.abc_features.parity METADATA.csv TABLE.csv [TABLE.csv ...] [--aspect 1.3333]

METADATA.csv as in ``dataset``; TABLE.csv has image_name, target, A, B2 and three standard deviations. Lesions that touch the
frame are left out. ``--aspect`` widens square crops to the frame they were cut from, with white.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import pearsonr, spearmanr

from cefm_core.abc_features import paper_profile as paper
from cefm_core.abc_features.border import resample_closed
from cefm_core.abc_features.dataset import load_lesions, read_records
from cefm_core.abc_features.lesion import Lesion, find_lesion
from cefm_core.config import AbcConfig

COLUMNS = ("A", "B2", "H", "S", "V")
Reading = Callable[[np.ndarray, Lesion], float]


def read_table(paths: list[Path]) -> dict[str, tuple[float, ...]]:
    """Read the authors' tables: image name to A, B2 and the spreads of H, S, V."""
    table = {}
    for path in paths:
        with path.open(encoding="utf-8", newline="") as lines:
            for row in list(csv.reader(lines))[1:]:
                table[row[0].removesuffix(".jpg")] = tuple(float(v) for v in row[2:7])
    return table


def widen(image: np.ndarray, aspect: float) -> np.ndarray:
    """Pad an image on both sides with zeros to width / height = ``aspect``; wider ones stay as they are."""
    missing = max(0, round(image.shape[0] * aspect) - image.shape[1])
    return cv2.copyMakeBorder(image, 0, 0, missing // 2, missing - missing // 2, cv2.BORDER_CONSTANT, value=0)


def _box(rgb: np.ndarray, lesion: Lesion) -> np.ndarray:
    height, width = lesion.mask.shape
    return rgb[lesion.y0 : lesion.y0 + height, lesion.x0 : lesion.x0 + width]


def _white_mirror(rgb: np.ndarray, lesion: Lesion, turn: float, fill: int) -> float:
    """Grey difference over lesion and mirror image together, on a plain background, per pixel of the lesion."""
    side = 2 * max(lesion.mask.shape) + 1
    top, left = (side - lesion.mask.shape[0]) // 2, (side - lesion.mask.shape[1]) // 2
    canvas = np.full((side, side), fill, np.uint8)
    area = canvas[top : top + lesion.mask.shape[0], left : left + lesion.mask.shape[1]]
    cv2.copyTo(cv2.cvtColor(_box(rgb, lesion), cv2.COLOR_RGB2GRAY), lesion.mask, area)
    x, y, angle, _ = paper.principal_axis(lesion.mask)
    matrix = paper.reflection(x + left, y + top, angle + turn)
    mirror = cv2.warpAffine(canvas, matrix, canvas.shape, flags=cv2.INTER_LINEAR, borderValue=fill)
    return float(cv2.norm(canvas, mirror, cv2.NORM_L1) / lesion.area_px)


def _mask_mirror(rgb: np.ndarray, lesion: Lesion, turn: float) -> float:
    """The same with the mask itself as grey picture, counted over the lesion only."""
    return _white_mirror(np.full_like(rgb, 255), lesion, turn, 0) / 2


def _spread(channel: int, frame: Callable[[Lesion], int], trim: bool = False) -> Reading:
    def read(rgb: np.ndarray, lesion: Lesion) -> float:
        mask = paper.trim_rim(lesion.mask, max(lesion.frame)) if trim else lesion.mask
        return paper.frame_spreads(cv2.cvtColor(_box(rgb, lesion), cv2.COLOR_RGB2HSV), mask, frame(lesion))[channel]

    return read


def _mean_signed_turning(rgb: np.ndarray, lesion: Lesion) -> float:
    points = resample_closed(lesion.contour * (paper.FRAME_SIDE_PX / max(lesion.frame)), paper.CONTOUR_POINTS)
    turn, step = paper.turning(points)
    return abs(float((turn / step).mean()))


def _raw_turning(rgb: np.ndarray, lesion: Lesion) -> float:
    turn, step = paper.turning(lesion.contour.astype(float))
    return float((np.abs(turn) / step).mean())


def _profile(name: str) -> Reading:
    return lambda rgb, lesion: paper.measure_paper(rgb, lesion)[name]


def readings() -> dict[str, dict[str, Reading]]:
    """Return every reading that is compared, by the authors' column; the last of each is the one the profile uses."""
    quarter = np.pi / 2
    asymmetry: dict[str, Reading] = {
        "grey, principal axis, over the lesion (written)": _profile("a_grey_written"),
        "grey on black, principal axis, over the union": lambda r, s: _white_mirror(r, s, 0, 0),
        "grey on white, principal axis, over the union": lambda r, s: _white_mirror(r, s, 0, 255),
        "grey on white, lesser of both axes": lambda r, s: min(_white_mirror(r, s, 0, 255), _white_mirror(r, s, quarter, 255)),
        "mask, principal axis": lambda r, s: _mask_mirror(r, s, 0),
        "mask, lesser of both axes": lambda r, s: min(_mask_mirror(r, s, 0), _mask_mirror(r, s, quarter)),
        "mask, least of 64 axes (released)": _profile("a_grey"),
    }
    curvature: dict[str, Reading] = {
        "signed mean, contour smoothed by 6 px (written)": _profile("b2_written"),
        "absolute mean, raw contour": _raw_turning,
        "signed mean, 100 points": _mean_signed_turning,
        "absolute mean, 100 points, frame of 600 px (released)": _profile("b2_mean_curvature"),
    }
    table = {"A": asymmetry, "B2": curvature}
    for number, (column, name) in enumerate(zip("HSV", ("hue_std", "saturation_std", "value_std"), strict=True)):
        table[column] = {
            "inside the lesion (written)": _profile(f"{name}_written"),
            "lesion's box on white": _spread(number, lambda s: s.mask.size),
            "image frame on white": _spread(number, lambda s: s.frame[0] * s.frame[1]),
            "square frame on white": _spread(number, lambda s: max(s.frame) ** 2),
            "square frame on white, rim trimmed (released)": _profile(name),
        }
    return table


def lesions(metadata: Path, table: dict[str, tuple[float, ...]], aspect: float) -> Iterator[tuple[str, np.ndarray, Lesion]]:
    """Yield id, image and lesion of every image that stands in the table and whose lesion lies whole in the frame."""
    records = [record for record in read_records(metadata) if record["id"] in table]
    for record, rgb, mask in load_lesions(records, metadata.parent):
        lesion, _ = find_lesion(mask, AbcConfig(mask_samples=0))
        if lesion is None or lesion.touches_frame:
            continue
        wide, _ = find_lesion(widen(mask.astype(np.uint8), aspect) > 0, AbcConfig(mask_samples=0))
        if wide is not None:
            yield record["id"], widen(rgb, aspect), wide


def compare(metadata: Path, tables: list[Path], aspect: float) -> str:
    """Return the Markdown table of every reading: n, Pearson r, rank correlation, and median of theirs over ours."""
    table = read_table(tables)
    values: dict[tuple[str, str], list[float]] = {}
    theirs: dict[str, list[float]] = {column: [] for column in COLUMNS}
    for name, rgb, lesion in lesions(metadata, table, aspect):
        for column, value in zip(COLUMNS, table[name], strict=True):
            theirs[column].append(value)
        for column, variants in readings().items():
            for label, read in variants.items():
                values.setdefault((column, label), []).append(read(rgb, lesion))
    lines = ["| column | reading | n | r | rank r | theirs / ours |", "| --- | --- | --- | --- | --- | --- |"]
    for (column, label), ours in values.items():
        wanted = np.array(theirs[column])
        ratio = np.median(wanted / np.maximum(ours, 1e-9))
        figures = f"{pearsonr(ours, wanted)[0]:.3f} | {spearmanr(ours, wanted)[0]:.3f} | {ratio:.2f}"
        lines.append(f"| {column} | {label} | {len(ours)} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table of readings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--aspect", type=float, default=1.0)
    arguments = parser.parse_args()
    print(compare(arguments.metadata, arguments.tables, arguments.aspect))


if __name__ == "__main__":
    main()
