"""Where the thresholds of image quality come from: real photographs, and the same photographs with one known fault each.

``python -m cefm_core.imaging.threshold_study IMAGES [--images N] [--out PAGE.md]`` writes how each measure is distributed on the
photographs, which threshold divides them best from their faulty copies, and what the configured one does. Nothing is fitted here:
the settings stay what they are until a person changes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cefm_core.config import QualityConfig
from cefm_core.errors import BadItemError
from cefm_core.imaging.decode import decode_image
from cefm_core.imaging.quality import assess_image

Fault = Callable[[np.random.Generator, np.ndarray], np.ndarray]
_SIDE_PX = 512
_SEED = 20240601


@dataclass(frozen=True)
class Measure:
    """One measure, the fault that must move it, and the flag and setting that judge it.

    Attributes:
        column: Column of ``image_quality``.
        flag: Flag that it raises.
        setting: Field of :class:`cefm_core.config.QualityConfig` with its threshold.
        above: Whether values above the threshold are flagged.
        fault: What is done to a photograph, in words.
        spoil: Makes the faulty copy, uint8 (H, W, 3).
    """

    column: str
    flag: str
    setting: str
    above: bool
    fault: str
    spoil: Fault


def _scaled(factor: float, towards: float) -> Fault:
    return lambda rng, rgb: np.rint(towards + factor * (rgb.astype(np.float32) - towards)).clip(0, 255).astype(np.uint8)


def _blurred(rng: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(rgb, (0, 0), max(rgb.shape[:2]) / 100)


def _flat(rng: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
    return _scaled(0.15, float(rgb.mean()))(rng, rgb)


def _overlay(draw: Callable[[np.random.Generator, np.ndarray], object]) -> Fault:
    def spoil(rng: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
        linear = (rgb.astype(np.float32) / 255) ** np.float32(2.2)
        draw(rng, linear)
        return np.rint(255 * linear.clip(0, 1) ** (1 / 2.2)).astype(np.uint8)

    return spoil


def _hairs(rng: np.random.Generator, linear: np.ndarray) -> None:
    from cefm_core.phantoms.overlays import add_hairs

    add_hairs(rng, linear, 30)


def _ruler(rng: np.random.Generator, linear: np.ndarray) -> None:
    from cefm_core.phantoms.overlays import add_ruler

    add_ruler(rng, linear)


def _corners(rng: np.random.Generator, linear: np.ndarray) -> None:
    height, width = linear.shape[:2]
    yy, xx = np.mgrid[0:height, 0:width]
    distance = np.hypot(yy - height / 2, xx - width / 2) / (0.52 * max(height, width))
    linear *= (1 / (1 + np.exp((distance - 1) * 60)))[..., None].astype(np.float32)


MEASURES: tuple[Measure, ...] = (
    Measure("sharpness", "blurred", "blur_threshold", False, "blur of 1 % of the long side", _blurred),
    Measure("exposure", "too_dark", "dark_threshold", False, "light x 0.3", _scaled(0.3, 0.0)),
    Measure("exposure", "too_bright", "bright_threshold", True, "distance from white x 0.25", _scaled(0.25, 255.0)),
    Measure("contrast", "low_contrast", "contrast_threshold", False, "contrast x 0.15", _flat),
    Measure("hair_share", "hair", "hair_share_threshold", True, "30 drawn hairs", _overlay(_hairs)),
    Measure("ink_share", "ink_or_ruler", "ink_share_threshold", True, "a drawn ruler", _overlay(_ruler)),
    Measure("vignette_share", "vignette", "vignette_share_threshold", True, "dark corners", _overlay(_corners)),
    Measure(
        "skin_hue_share",
        "unusual_colour",
        "skin_hue_share_threshold",
        False,
        "red and blue exchanged",
        lambda rng, rgb: rgb[..., ::-1].copy(),
    ),
)


def study(pictures: Sequence[np.ndarray], config: QualityConfig) -> list[dict[str, Any]]:
    """Measure photographs and their faulty copies.

    Args:
        pictures: uint8 (H, W, 3) each.
        config: The thresholds to judge.

    Returns:
        A row for each of ``MEASURES``: ``quantiles`` (1, 5, 50, 95, 99 %) and ``flagged`` of the photographs, ``faulty_median`` and
        ``caught`` of the copies (shares 0..1), ``configured`` threshold, ``best`` threshold (largest sum of caught and spared) with
        ``best_caught`` and ``best_flagged``.
    """
    plain = [assess_image(rgb, config) for rgb in pictures]
    rng = np.random.default_rng(_SEED)
    rows = []
    for measure in MEASURES:
        spoiled = [assess_image(measure.spoil(rng, rgb), config) for rgb in pictures]
        before, after = (np.array([row[measure.column] for row in found]) for found in (plain, spoiled))
        best = _best(before, after, measure.above)
        configured = float(getattr(config, measure.setting))
        rows.append(
            {
                "measure": measure,
                "quantiles": np.quantile(before, (0.01, 0.05, 0.5, 0.95, 0.99)).tolist(),
                "faulty_median": float(np.median(after)),
                "configured": configured,
                "flagged": float(np.mean([measure.flag in row["flags"] for row in plain])),
                "caught": float(np.mean([measure.flag in row["flags"] for row in spoiled])),
                "best": best,
                "best_flagged": _beyond(before, best, measure.above),
                "best_caught": _beyond(after, best, measure.above),
            }
        )
    return rows


def _beyond(values: np.ndarray, threshold: float, above: bool) -> float:
    return float(np.mean(values > threshold if above else values < threshold))


def _best(before: np.ndarray, after: np.ndarray, above: bool) -> float:
    """Return the threshold with the largest Youden index, halfway between two values that occur."""
    values = np.unique(np.concatenate([before, after]))
    candidates = (values[1:] + values[:-1]) / 2
    return float(max(candidates, key=lambda t: _beyond(after, t, above) - _beyond(before, t, above)))


def study_markdown(rows: Sequence[dict[str, Any]], count: int, name: str) -> str:
    """Return the page of a study of ``count`` photographs of the folder ``name``."""
    lines = [
        "# Where the thresholds of image quality come from",
        "",
        f"Made by `python -m cefm_core.imaging.threshold_study`, on {count} photographs of `{name}` and, for each fault, a copy of each",
        "with that fault. Photographs have faults of their own, so some that are flagged are flagged rightly. The best threshold has the",
        "largest difference between faults caught and photographs flagged. Shares have half-widths of at most",
        f"{98 / np.sqrt(count):.0f} points (95 %).",
        "",
        "| measure | photographs: 1 %, 5 %, median, 95 %, 99 % | fault | faulty median | configured: photographs flagged, faults caught "
        "| best: photographs flagged, faults caught |",
        "| --- | --- | --- | ---: | --- | --- |",
    ]
    for row in rows:
        measure, sign = row["measure"], ">" if row["measure"].above else "<"
        spread = ", ".join(f"{value:.3g}" for value in row["quantiles"])
        lines.append(
            f"| {measure.column} (`{measure.flag}`) | {spread} | {measure.fault} | {row['faulty_median']:.3g} "
            f"| {sign} {row['configured']:g}: {row['flagged']:.0%}, {row['caught']:.0%} "
            f"| {sign} {row['best']:.3g}: {row['best_flagged']:.0%}, {row['best_caught']:.0%} |"
        )
    return "\n".join([*lines, ""])


def read_pictures(folder: Path, count: int) -> list[np.ndarray]:
    """Return up to ``count`` photographs of a folder, evenly over its names, at most 512 pixels long; bad ones are passed over."""
    names = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp"))
    pictures = []
    for path in names[:: max(1, len(names) // count)][:count]:
        try:
            rgb = decode_image(path.read_bytes(), max_pixels=10**8).rgb
        except BadItemError:
            continue
        scale = min(1.0, _SIDE_PX / max(rgb.shape[:2]))
        pictures.append(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return pictures


def main() -> None:
    """Write the page, or print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--images", dest="count", type=int, default=200)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    pictures = read_pictures(asked.images, asked.count)
    page = study_markdown(study(pictures, QualityConfig()), len(pictures), asked.images.resolve().parent.name)
    if asked.out is None:
        print(page)
    else:
        asked.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
