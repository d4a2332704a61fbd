"""The exported network in another runtime gives the same probabilities."""

import numpy as np
import pytest
import torch

from cefm_core.phantoms.render import render_phantom
from cefm_core.segmentation.coarse import to_network_side
from cefm_core.segmentation.onnx_export import export_onnx
from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet, to_network_input
from cefm_core.segmentation.weights_io import load_weights, resolve_weights


def test_exported_network_equals_the_one_it_was_made_from(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    facts = export_onnx("builtin", tmp_path / "network.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", options, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["weights_sha256"] == facts.sha256
    network = UltraLightVMUNet().eval()
    load_weights(resolve_weights("builtin"), network)
    for seed in (3, 4):
        pixels = torch.from_numpy(to_network_side(render_phantom(seed).rgb)).permute(2, 0, 1)[None]
        image = to_network_input(pixels)
        with torch.inference_mode():
            ours = network(image).numpy()
        (theirs,) = session.run(["probability"], {"image": image.numpy()})
        assert ours.max() > 0.9
        np.testing.assert_allclose(theirs, ours, atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["network.onnx"]
