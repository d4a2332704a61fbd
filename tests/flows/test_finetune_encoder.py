"""The fine-tuning flow writes a weight file that `embed.weights` takes."""

import numpy as np
import pytest

from cefm_core.imaging.decode import encode_jpeg


@pytest.mark.flow
def test_a_weight_file_comes_out_and_loads(prefect, tmp_path):
    from cefm_core.alignment.encoder import Encoder
    from cefm_core.config import EmbedConfig
    from flows.finetune_encoder import finetune_encoder

    lines = ["id,filename,mask_filename,split,diagnosis"]
    for i in range(12):
        rgb = np.full((64, 64, 3), (220, 180, 160) if i % 2 else (90, 60, 50), np.uint8)
        (tmp_path / f"i{i}.jpg").write_bytes(encode_jpeg(rgb, 90))
        lines.append(f"i{i},i{i}.jpg,,train,{'melanoma' if i % 2 else 'nevus'}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "tuned.safetensors"
    start = {"model": "vit_tiny_patch16_224", "weights": "random", "allow_random": True, "img_size": 32}
    settings = {"epochs": 1, "batch": 4, "tune_share": 0.4}
    made = finetune_encoder(str(tmp_path / "metadata.csv"), str(tmp_path / "work"), str(out), embed=start, settings=settings, device="cpu")
    assert made["train"] + made["tune"] == 12 and len(made["log"]) == 1
    encoder = Encoder.load(EmbedConfig(model="vit_tiny_patch16_224", weights=str(out)))
    assert encoder.spec.side_px == 32 and not encoder.source.random
    assert np.isfinite(encoder.embed([np.full((64, 64, 3), 128, np.uint8)])).all()
