"""Seconds an image and memory of every refinement backend, on drawn lesions of mixed sizes."""

from __future__ import annotations

import resource
import time

import cv2
import numpy as np

from cefm_core.config import RefineConfig
from cefm_core.segmentation.backends import RefinerBackend
from cefm_core.segmentation.classical_backend import ClassicalBackend
from cefm_core.segmentation.refine import MaskRefiner, ResolvedRefiner

SIDES = ((256, 256), (450, 600), (767, 1022), (512, 512), (1500, 2000))


def scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the image and a rough mask of a drawn lesion; sizes alternate."""
    height, width = SIDES[index % len(SIDES)]
    random = np.random.RandomState(index)
    centre = (width // 2 + int(random.randint(-20, 20)), height // 2)
    axes = (width // 5, height // 6)
    lesion = cv2.ellipse(np.zeros((height, width), np.uint8), centre, axes, 20, 0, 360, 1, -1)
    rough = cv2.dilate(lesion, np.ones((7, 7), np.uint8)) > 0
    rgb = np.where(lesion[..., None] > 0, (105, 70, 60), (222, 180, 165)).astype(np.float32)
    rgb = cv2.GaussianBlur(rgb, (0, 0), 2) + random.normal(0, 5, rgb.shape)
    return np.clip(rgb, 0, 255).astype(np.uint8), rough


def run(quick: bool) -> str:
    """Measure every backend that this machine can run.

    Args:
        quick: Few images and no SAM 2 (one embedding takes seconds on a CPU).

    Returns:
        A Markdown table.
    """
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    counts = {"classical": (5, 20)} if quick else {"classical": (20, 200), "medsam-lite": (20, 60), "sam2 tiny (random weights)": (2, 5)}
    lines = [
        "| backend | images | wall ms/image | CPU ms/image | resident MB after warm-up | at the end |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, (warm_up, total) in counts.items():
        lines.append(_line(name, warm_up, total))
    return "\n".join(lines) + "\n"


def _line(name: str, warm_up: int, total: int) -> str:
    refiner = _refiner(name)
    for index in range(warm_up):
        refiner.refine(*scene(index))
    before, wall, cpu = _resident_mb(), 0.0, 0.0
    for index in range(warm_up, total):
        rgb, mask = scene(index)
        start_wall, start_cpu = time.perf_counter(), time.process_time()
        refiner.refine(rgb, mask)
        wall, cpu = wall + time.perf_counter() - start_wall, cpu + time.process_time() - start_cpu
    measured = total - warm_up
    return f"| {name} | {total} | {1000 * wall / measured:.0f} | {1000 * cpu / measured:.0f} | {before:.0f} | {_resident_mb():.0f} |"


def _refiner(name: str) -> MaskRefiner:
    if name == "medsam-lite":
        return MaskRefiner.load(RefineConfig(refiner="medsam-lite"))
    backend: RefinerBackend = ClassicalBackend()
    if name.startswith("sam2"):
        import torch

        from cefm_core.segmentation.sam2_backend import Sam2Backend, build_model

        torch.manual_seed(0)
        backend = Sam2Backend(build_model("tiny", None, torch.device("cpu")), RefineConfig())
    return MaskRefiner(RefineConfig(), ResolvedRefiner(backend.name, "benchmark", None), backend)


def _resident_mb() -> float:
    """Return the resident memory of this process in MB (its peak where /proc is absent)."""
    try:
        with open("/proc/self/statm") as stream:  # noqa: PTH123
            return int(stream.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    print(run(quick=False))
