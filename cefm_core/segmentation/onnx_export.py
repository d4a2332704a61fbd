"""The trained coarse network as an ONNX file, for runtimes other than torch.

The file holds the network alone, from the transformed image to the probability of each pixel, with its sequences' steps written out:
256x256, batch 1. Resizing, the input transform and the clean-up of the mask are not in it; its metadata name them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.weights_io import WeightsFacts, load_weights, resolve_weights

OPSET = 20
NEEDED = "install the extra `onnx`: pip install 'cefm[onnx]'"


def export_onnx(weights: str, out: Path) -> WeightsFacts:
    """Write the network with its weights as one ONNX file, atomically.

    Input ``image``: float32 (1, 3, 256, 256), as `to_network_input` makes it. Output ``probability``: float32 (1, 1, 256, 256), 0..1.

    Args:
        weights: ``builtin``, or the path of a safetensors file.
        out: The file to write.

    Returns:
        What the weights are.

    Raises:
        ConfigurationError: The weights are missing or of another network, or the packages of the extra `onnx` are.
    """
    import torch

    from cefm_core.segmentation.ultralight_vmunet import INPUT_SIDE_PX, UltraLightVMUNet

    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(f"ONNX export: {error.name} is not there; {NEEDED}") from error
    network = UltraLightVMUNet()
    facts = load_weights(resolve_weights(weights), network)
    network.eval().requires_grad_(False)
    example = torch.zeros(1, 3, INPUT_SIDE_PX, INPUT_SIDE_PX)
    example[..., INPUT_SIDE_PX // 4 :] = 255
    program = torch.onnx.export(
        network, (example,), dynamo=True, opset_version=OPSET, input_names=["image"], output_names=["probability"], verbose=False
    )
    if program is None:
        raise ConfigurationError(f"ONNX export: torch returned no program; {NEEDED}")
    model = program.model_proto
    onnx.helper.set_model_props(
        model, {"weights_sha256": facts.sha256, "architecture": "UltraLight VM-UNet", "side_px": str(INPUT_SIDE_PX)}
    )
    partial = out.with_name(f".{out.name}.partial")
    partial.write_bytes(model.SerializeToString())
    partial.replace(out)
    return facts


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file: ``python -m cefm_core.segmentation.onnx_export OUT.onnx``."""
    parser = argparse.ArgumentParser(prog="python -m cefm_core.segmentation.onnx_export", description="Write the coarse network as ONNX.")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--weights", default="builtin", help="`builtin`, or the path of a safetensors file")
    chosen = parser.parse_args(arguments)
    print(f"{chosen.out}: weights {export_onnx(chosen.weights, chosen.out).sha256}")


if __name__ == "__main__":
    main()
