"""Speed of decoding, encoding, artefact search, quality rows and phantom rendering on rendered pictures of one megapixel.

``run(quick)`` returns a Markdown table; times are the median over repeats, in milliseconds of one thread's CPU time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from cefm_core.config import QualityConfig
from cefm_core.imaging.artefacts import find_artefacts
from cefm_core.imaging.decode import decode_image, decode_mask, encode_jpeg, encode_mask_png
from cefm_core.imaging.quality import assess_image
from cefm_core.phantoms.render import render_phantom

SIZE = (866, 1155)


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Return the median CPU time of ``work`` in milliseconds, after one call to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - begin))
    return statistics.median(times)


def run(quick: bool) -> str:
    """Measure each step on rendered pictures; ``quick`` takes fewer repeats."""
    repeats = 5 if quick else 25
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        phantom = render_phantom(1, SIZE)
        jpeg, mask_png = encode_jpeg(phantom.rgb, 90), encode_mask_png(phantom.mask)
        config = QualityConfig()
        steps: dict[str, Callable[[], object]] = {
            f"decode_image, JPEG of {len(jpeg) // 1000} kB": lambda: decode_image(jpeg, max_pixels=10**8),
            "decode_mask, PNG": lambda: decode_mask(mask_png, SIZE),
            "encode_jpeg, quality 90": lambda: encode_jpeg(phantom.rgb, 90),
            "encode_mask_png": lambda: encode_mask_png(phantom.mask),
            "find_artefacts": lambda: find_artefacts(phantom.rgb),
            "assess_image": lambda: assess_image(phantom.rgb, config),
        }
        rows = [(name, "1155 x 866", median_ms(work, repeats)) for name, work in steps.items()]
        seeds = iter(range(10_000))
        rows.append(("render_phantom", "600 x 450", median_ms(lambda: render_phantom(next(seeds)), repeats)))
    finally:
        cv2.setNumThreads(threads)
    lines = ["| step | picture | CPU ms |", "| --- | --- | ---: |"]
    lines += [f"| {name} | {size} | {ms:.1f} |" for name, size, ms in rows]
    lines.append(f"\nOpenCV {cv2.__version__}, NumPy {np.__version__}, one thread, median of {repeats}.")
    return "\n".join(lines)


if __name__ == "__main__":
    print(run(quick=False))
