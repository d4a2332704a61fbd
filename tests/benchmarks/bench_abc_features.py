"""What measuring asymmetry, border, colour and structure costs, on one thread, beside scikit-image in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from cefm_core.abc_features.lesion import find_lesion
from cefm_core.abc_features.measure import measure_abc, measure_paper_row
from cefm_core.abc_features.structure import measure_structures
from cefm_core.abc_features.view import make_view
from cefm_core.config import AbcConfig
from cefm_core.imaging.artefacts import Artefacts, find_artefacts


def drawn_lesion(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw an irregular lesion over about a quarter of the frame, with two tones and texture."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    scale = height / 360
    angle, radius = np.arctan2(y - height / 2, x - width / 2), np.hypot(y - height / 2, x - width / 2) / scale
    mask = radius < 110 + 22 * np.cos(2 * angle + 0.5) + 12 * np.sin(3 * angle) + 6 * np.cos(7 * angle)
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 3 * scale)[..., None]
    tone = np.where((x < width * 0.45)[..., None], (105, 66, 50), (160, 105, 75)).astype(np.float32)
    noise = cv2.GaussianBlur(np.random.default_rng(7).normal(0, 40, (height, width)).astype(np.float32), (0, 0), 3)
    image = np.array((224, 182, 160), np.float32) * (1 - alpha) + (tone + noise[..., None]) * alpha
    return image.clip(0, 255).round().astype(np.uint8), mask


def cpu_ms(function: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return the median and the least CPU time of a call, in milliseconds, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append((time.process_time() - start) * 1e3)
    return float(np.median(times)), float(min(times))


def scikit_image_properties(rgb: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    """The peer: shape and intensity properties of scikit-image on H, S, V."""
    from skimage.color import rgb2hsv
    from skimage.measure import regionprops

    names = ("area", "perimeter", "eccentricity", "orientation", "solidity", "area_convex", "intensity_mean", "intensity_std")
    region = regionprops(mask.astype(np.uint8), intensity_image=rgb2hsv(rgb))[0]
    return {name: getattr(region, name) for name in names}


def run(quick: bool) -> str:
    """Time both profiles, the intervals, and the peer; return Markdown."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return _run(5 if quick else 20, ((1155, 866),) if quick else ((578, 433), (1155, 866), (2310, 1732)))
    finally:
        cv2.setNumThreads(threads)


def _run(repeats: int, sizes: tuple[tuple[int, int], ...]) -> str:
    lines = [
        "CPU time of one thread in milliseconds, median (least); a drawn lesion over a quarter of the frame. `clinical` is both",
        "profiles with D, the structures; the search for hair, vignette, ruler and glare stands apart.",
        "",
        "| image | paper | clinical | clinical, 20 masks | in these: view | in these: D | artefacts | scikit-image regionprops on HSV |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    plain, sampled = AbcConfig(mask_samples=0), AbcConfig(mask_samples=20)
    for width, height in sizes:
        rgb, mask = drawn_lesion(width, height)
        none = np.zeros(mask.shape, bool)
        artefacts = Artefacts(none, none, none, none)
        lesion, _ = find_lesion(mask, plain)
        view = make_view(rgb, lesion, none, plain)
        calls: list[Callable[[], Any]] = [
            lambda rgb=rgb, mask=mask: measure_paper_row(rgb, mask, plain),  # type: ignore[misc]
            lambda rgb=rgb, mask=mask, a=artefacts: measure_abc(rgb, mask, plain, a),  # type: ignore[misc]
            lambda rgb=rgb, mask=mask, a=artefacts: measure_abc(rgb, mask, sampled, a),  # type: ignore[misc]
            lambda rgb=rgb, lesion=lesion, none=none: make_view(rgb, lesion, none, plain),  # type: ignore[misc]
            lambda view=view: measure_structures(view),  # type: ignore[misc]
            lambda rgb=rgb: find_artefacts(rgb),  # type: ignore[misc]
            lambda rgb=rgb, mask=mask: scikit_image_properties(rgb, mask),  # type: ignore[misc]
        ]
        cells = [f"{median:.1f} ({least:.1f})" for median, least in (cpu_ms(call, repeats) for call in calls)]
        lines.append(f"| {width} x {height} ({width * height / 1e6:.2f} MP) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    import sys

    print(run("--quick" in sys.argv))
