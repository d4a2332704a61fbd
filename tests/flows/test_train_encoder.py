"""The encoder's training flow on a few drawn images: weights come out, load, and a second call has nothing left to compute."""

import numpy as np
import pytest

from cefm_core.imaging.decode import encode_jpeg, encode_mask_png

SETTINGS = {
    "teacher_side_px": 56,
    "student_side_px": 56,
    "first_side_px": 28,
    "first_epochs": 1,
    "epochs": 1,
    "batch": 4,
    "teacher_blocks": [0, 11],
}


@pytest.fixture
def data_set(tmp_path):
    lines = ["id,filename,mask_filename,split"]
    y, x = np.mgrid[:64, :64]
    for i in range(5):
        inside = np.hypot(y - 32, x - 28 - i) < 12
        rgb = np.where(inside[..., None], (90, 50, 40), (220, 180, 160)).astype(np.uint8)
        (tmp_path / f"i{i}.jpg").write_bytes(encode_jpeg(rgb, 90))
        (tmp_path / f"m{i}.png").write_bytes(encode_mask_png(inside))
        lines.append(f"i{i},i{i}.jpg,m{i}.png,{'train' if i < 4 else 'val'}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "metadata.csv"


@pytest.mark.flow
def test_an_encoder_is_made_and_loads(prefect, data_set, tmp_path):
    import timm
    from safetensors.torch import save_file

    from cefm_core.alignment.encoder import Encoder
    from cefm_core.config import EmbedConfig
    from flows.train_encoder import train_encoder

    teacher, out = tmp_path / "teacher.safetensors", tmp_path / "student.safetensors"
    network = timm.create_model("vit_small_patch14_dinov2", img_size=56, num_classes=0)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, teacher)
    arguments = (str(data_set), str(teacher), str(tmp_path / "work"), str(out))
    first = train_encoder(*arguments, settings=SETTINGS)
    assert (first["images"], first["computed"]) == (4, 4)
    data = out.read_bytes()
    out.unlink()
    again = train_encoder(*arguments, settings=SETTINGS)
    assert again["computed"] == 0 and again["sha256"] == first["sha256"]
    assert out.read_bytes() == data
    encoder = Encoder.load(EmbedConfig(model="vit_small_patch14_dinov2", weights=str(out)))
    assert encoder.facts["depth"] == 2 and encoder.digest
