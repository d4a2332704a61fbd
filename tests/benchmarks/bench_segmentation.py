"""Speed of the coarse network: our selective scan against a plain loop and mambapy's two, in one run on one thread.

Run it by itself: ``OMP_NUM_THREADS=1 python tests/benchmarks/bench_segmentation.py [--quick]``. Variants take turns within each round and
the fastest round counts, so that a busy machine slows all of them alike. Times are processor time of the one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import MethodType

import torch
from torch import Tensor

from cefm_core.config import CoarseConfig
from cefm_core.imaging.decode import decode_image, encode_jpeg, encode_mask_png
from cefm_core.segmentation import litemedsam_backend
from cefm_core.segmentation.coarse import CoarseSegmenter
from cefm_core.segmentation.training import bce_dice_loss
from cefm_core.segmentation.ultralight_vmunet import PVMLayer, UltraLightVMUNet
from tests.benchmarks.bench_abc_features import drawn_lesion

_MAX_PIXELS = 100_000_000
NAMES = {"loop": "plain loop over time", "seq": "mambapy, sequential", "pscan": "mambapy, parallel scan", "ours": "ours"}


def run(quick: bool) -> str:
    """Time all variants; return a Markdown section.

    Args:
        quick: Two rounds instead of ten, without training steps of the slow variants.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _report(2 if quick else 10, quick)
    finally:
        torch.set_num_threads(threads)


def _report(rounds: int, quick: bool) -> str:
    networks = build_networks()
    images = {1: torch.rand(1, 3, 256, 256) * 255, 8: torch.rand(8, 3, 256, 256) * 255}
    difference = _largest_difference(networks, images[1])
    cases: dict[str, dict[str, Callable[[], object]]] = {"batch 1": {}, "batch 8": {}, "training step, batch 8": {}}
    for name, network in networks.items():
        cases["batch 1"][name] = _inference(network, images[1])
        cases["batch 8"][name] = _inference(network, images[8])
        if not quick or name in ("pscan", "ours"):
            cases["training step, batch 8"][name] = _training(network, images[8])
    lines = [f"256x256, {sum(p.numel() for p in networks['ours'].parameters()):,} parameters, one thread, "]
    lines[-1] += f"milliseconds of processor time per image, best of {rounds} rounds; torch {torch.__version__}."
    lines += [f"Largest difference between the variants' probabilities: {difference:.1e}.", ""]
    lines += ["| scan | " + " | ".join(cases) + " |", "| --- |" + " ---: |" * len(cases)]
    times = {case: fastest(variants, rounds, 1 if case == "batch 1" else 8) for case, variants in cases.items()}
    for name, title in NAMES.items():
        cells = [_cell(times[case].get(name), times[case]["ours"]) for case in cases]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["", "In brackets: how many times slower than ours in the same run.", "", *_whole_stage(rounds)]
    return "\n".join(lines) + "\n"


def _whole_stage(rounds: int) -> list[str]:
    """Time the stage as users run it, from the bytes of a photograph to those of a mask, with one network and with both."""
    rgb, _ = drawn_lesion(1022, 767)
    data = encode_jpeg(rgb, 92)
    variants: dict[str, Callable[[], object]] = {"decode the photograph": lambda: decode_image(data, max_pixels=_MAX_PIXELS)}
    for title, second in (("whole stage, first network alone", "none"), ("whole stage, both networks", "litemedsam")):
        if second == "none" or litemedsam_backend.weights_path() is not None:
            variants[title] = _stage(data, CoarseSegmenter.load(CoarseConfig(second=second, second_below=1.0)))  # type: ignore[arg-type]
    times = fastest(variants, max(2, rounds // 2), 1)
    rows = [f"| {title} | {value:.1f} |" for title, value in times.items()]
    return ["A drawn lesion of 1022 x 767 pixels, JPEG to PNG:", "", "| step | ms an image |", "| --- | ---: |", *rows]


def _stage(data: bytes, segmenter: CoarseSegmenter) -> Callable[[], object]:
    return lambda: encode_mask_png(segmenter.segment([decode_image(data, max_pixels=_MAX_PIXELS).rgb])[0].mask)


def _cell(value: float | None, ours: float) -> str:
    if value is None:
        return "not run"
    return f"{value:.1f}" if value == ours else f"{value:.1f} ({value / ours:.1f}x)"


def fastest(variants: dict[str, Callable[[], object]], rounds: int, images: int) -> dict[str, float]:
    """Return the least processor time per image in milliseconds; variants take turns."""
    best = dict.fromkeys(variants, float("inf"))
    for name in variants:
        variants[name]()
    for _ in range(rounds):
        for name, call in variants.items():
            start = time.thread_time()
            call()
            best[name] = min(best[name], (time.thread_time() - start) * 1000 / images)
    return best


def build_networks() -> dict[str, UltraLightVMUNet]:
    """Return one network per scan, all with the same weights."""
    from mambapy.mamba import MambaBlock, MambaConfig

    torch.manual_seed(999)
    ours = UltraLightVMUNet().to(memory_format=torch.channels_last)
    networks = {}
    for kind in ("loop", "seq", "pscan"):
        other = UltraLightVMUNet()
        other.load_state_dict(ours.state_dict())
        for layer in [m for m in other.modules() if isinstance(m, PVMLayer)]:
            block = MambaBlock(MambaConfig(d_model=layer.input_dim // 4, n_layers=1, pscan=kind == "pscan"))
            block.load_state_dict(layer.mamba.state_dict())
            if kind == "loop":
                block.selective_scan_seq = MethodType(_plain_loop, block)
            layer.mamba = block
            layer.forward = MethodType(_published_forward, layer)
        networks[kind] = other.to(memory_format=torch.channels_last)
    return {**networks, "ours": ours}


def _published_forward(layer: PVMLayer, x: Tensor) -> Tensor:
    """Run the layer as published: the four quarters one after the other."""
    batch, channels, height, width = x.shape
    tokens = layer.norm(x.reshape(batch, channels, height * width).transpose(1, 2))
    mixed = torch.cat([layer.mamba(quarter) + layer.skip_scale * quarter for quarter in tokens.chunk(4, dim=2)], dim=2)
    out: Tensor = layer.proj(layer.norm(mixed))
    return out.transpose(1, 2).reshape(batch, -1, height, width)


def _plain_loop(block: object, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Run the recurrence one step at a time, everything computed within the step."""
    h = x.new_zeros(x.shape[0], *A.shape)
    outputs = []
    for t in range(x.shape[1]):
        step = delta[:, t, :, None]
        h = torch.exp(step * A) * h + step * B[:, t, None] * x[:, t, :, None]
        outputs.append((h * C[:, t, None]).sum(-1))
    return torch.stack(outputs, dim=1) + D * x


def _inference(network: UltraLightVMUNet, x: Tensor) -> Callable[[], object]:
    x = x.contiguous(memory_format=torch.channels_last)

    def call() -> object:
        with torch.inference_mode():
            return network(x)

    return call


def _training(network: UltraLightVMUNet, x: Tensor) -> Callable[[], object]:
    x, target = x.contiguous(memory_format=torch.channels_last), (x.mean(1, keepdim=True) > 127).float()

    def call() -> object:
        network.zero_grad()
        return bce_dice_loss(network.logits(x), target).backward()

    return call


def _largest_difference(networks: dict[str, UltraLightVMUNet], x: Tensor) -> float:
    with torch.inference_mode():
        reference = networks["ours"](x)
        return max(float((network(x) - reference).abs().max()) for network in networks.values())


if __name__ == "__main__":
    print(run("--quick" in sys.argv))
