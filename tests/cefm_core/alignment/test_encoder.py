import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cefm_core.alignment.encoder import PARTS, Encoder, encoder_digest
from cefm_core.alignment.encoder_source import BUILTIN_WEIGHTS
from cefm_core.alignment.preprocess import normalise, resize_view
from cefm_core.config import EmbedConfig
from cefm_core.errors import ConfigurationError

TINY = {"model": "vit_tiny_patch16_224", "img_size": 32}
RANDOM = {**TINY, "weights": "random", "allow_random": True}


@pytest.fixture(scope="module")
def builtin():
    return Encoder.load(EmbedConfig())


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    images = [np.kron(random.integers(0, 255, (12, 16, 3)), np.ones((15, 15, 1))).astype(np.uint8) for _ in range(3)]
    mask = np.zeros((180, 240), bool)
    mask[60:120, 90:150] = True
    return images, [mask, np.roll(mask, 30, axis=1), np.zeros_like(mask)]


@pytest.fixture
def tiny_file(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_file(Encoder.load(EmbedConfig(**RANDOM)).network.state_dict(), path)
    return path


def test_an_embedding_does_not_depend_on_its_batch_mates_or_on_threads(builtin, pictures):
    images, masks = pictures
    together = builtin.embed(images, masks)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    alone = np.concatenate([builtin.embed([i], [m]) for i, m in zip(images[::-1], masks[::-1], strict=True)])[::-1]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert together.dtype == np.float32 and together.shape == (3, builtin.dimension)
    assert together.tobytes() == np.ascontiguousarray(alone).tobytes()


def test_both_is_frame_then_lesion_and_the_lesion_crop_is_another_view(builtin, pictures):
    images, masks = pictures
    both = builtin.embed(images[:1], masks[:1])[0]
    half = len(both) // 2
    frame, lesion = (Encoder(**{**vars(builtin), "config": EmbedConfig(view=view)}) for view in ("frame", "lesion"))
    assert both[:half].tobytes() == frame.embed(images[:1]).tobytes()
    assert both[half:].tobytes() == lesion.embed(images[:1], masks[:1]).tobytes()
    assert np.abs(both[:half] - both[half:]).max() > 0.1


def test_an_empty_mask_makes_the_frame_stand_in_and_says_so(builtin, pictures):
    images, masks = pictures
    rows = builtin.rows(images, masks)
    vector = rows[2]["vector"]
    assert vector[: len(vector) // 2].tobytes() == vector[len(vector) // 2 :].tobytes()
    assert [row["notes"] for row in rows] == [[], [], ["lesion_view_is_frame"]]


def test_shorter_embeddings_are_the_beginning_of_longer_ones(builtin, pictures):
    found = [Encoder(**{**vars(builtin), "config": EmbedConfig(view="frame", tokens=tokens)}) for tokens in PARTS]
    vectors = [encoder.embed(pictures[0][:1])[0] for encoder in found]
    assert [len(v) for v in vectors] == [384, 768, 1536] == [encoder.dimension for encoder in found]
    for vector in vectors:
        assert vector.tobytes() == vectors[-1][: len(vector)].tobytes()


def test_parts_of_an_embedding_are_pooled_from_the_tokens(builtin, pictures):
    pixels = normalise(resize_view(pictures[0][0], None, builtin.spec), builtin.spec)
    inside = []
    handle = builtin.network.blocks[2].register_forward_hook(lambda module, inputs, output: inside.append(output))
    with torch.inference_mode():
        tokens = builtin.network.forward_features(pixels[None])[0].double().numpy()
    handle.remove()
    middle = inside[0][0, 1:].double().numpy()
    middle = (middle - middle.mean(axis=1, keepdims=True)) / np.sqrt(middle.var(axis=1, keepdims=True) + 1e-5)
    expected = [tokens[0], tokens[1:].mean(0), tokens[1:].std(0, ddof=1), middle.std(0, ddof=1)]
    found = Encoder(**{**vars(builtin), "config": EmbedConfig(view="frame")}).embed(pictures[0][:1])[0]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-3)


def test_shipped_weights_are_small_frozen_half_precision_tensors(builtin):
    assert BUILTIN_WEIGHTS.stat().st_size <= 16_000_000
    assert {t.dtype for t in load_file(BUILTIN_WEIGHTS).values()} == {torch.float16}
    assert not builtin.network.training
    assert not any(p.requires_grad for p in builtin.network.parameters())


def test_no_images_give_no_rows(builtin):
    assert builtin.embed([], []).shape == (0, builtin.dimension)


def test_preprocessing_is_the_models_own_and_stands_in_the_facts():
    facts = Encoder.load(EmbedConfig(**{**RANDOM, "img_size": None})).facts
    assert facts["input"]["mean"] == [0.5, 0.5, 0.5] and facts["input"]["std"] == [0.5, 0.5, 0.5]
    assert facts["input"]["crop_pct"] == 0.9 and facts["input"]["side_px"] == 224
    assert json.loads(json.dumps(facts)) == facts


def test_changing_weights_view_tokens_or_size_changes_the_digest_and_nothing_else_does(tmp_path, tiny_file):
    base = EmbedConfig(**TINY, weights=str(tiny_file))
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(tiny_file.read_bytes())
    assert encoder_digest(EmbedConfig(**TINY, weights=str(copy))) == encoder_digest(base)
    state = load_file(tiny_file)
    state["norm.bias"] = state["norm.bias"] + 1
    save_file(state, copy)
    others = [
        EmbedConfig(**TINY, weights=str(copy)),
        EmbedConfig(**TINY, weights=str(tiny_file), view="frame"),
        EmbedConfig(**TINY, weights=str(tiny_file), tokens="class"),
        EmbedConfig(**{**TINY, "img_size": 64}, weights=str(tiny_file)),
        EmbedConfig(**RANDOM),
        EmbedConfig(),
    ]
    assert len({encoder_digest(c) for c in (base, *others)}) == len(others) + 1


def test_digest_needs_neither_torch_nor_timm():
    code = "import sys; from cefm_core.alignment.encoder import encoder_digest; from cefm_core.config import EmbedConfig; "
    code += "print(encoder_digest(EmbedConfig())); sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == encoder_digest(EmbedConfig())


def test_a_file_is_loaded_bit_for_bit(tiny_file, pictures):
    images, masks = pictures
    from_file = Encoder.load(EmbedConfig(**TINY, weights=str(tiny_file)))
    assert from_file.embed(images, masks).tobytes() == Encoder.load(EmbedConfig(**RANDOM)).embed(images, masks).tobytes()
    assert not from_file.facts["random_weights"]


def test_random_weights_need_leave_and_are_stamped(pictures):
    with pytest.raises(ConfigurationError, match="allow_random"):
        Encoder.load(EmbedConfig(**TINY, weights="random"))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    rows = Encoder.load(EmbedConfig(**RANDOM)).rows(*pictures)
    assert all(row["random_weights"] for row in rows)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_refused(tiny_file, change):
    state = load_file(tiny_file)
    if change == "missing":
        del state["blocks.3.mlp.fc1.weight"]
    elif change == "unexpected":
        state["blocks.12.mlp.fc1.weight"] = torch.zeros(2)
    else:
        state["blocks.3.mlp.fc1.weight"] = torch.zeros(2, 2)
    save_file(state, tiny_file)
    with pytest.raises(ConfigurationError, match="blocks"):
        Encoder.load(EmbedConfig(**TINY, weights=str(tiny_file)))


def test_a_classifier_head_in_the_file_is_left_out(tiny_file):
    state = load_file(tiny_file)
    save_file(state | {"head.weight": torch.zeros(10, 192), "head.bias": torch.zeros(10)}, tiny_file)
    Encoder.load(EmbedConfig(**TINY, weights=str(tiny_file)))


def test_pickles_other_files_and_absent_files_are_refused_by_name(tmp_path):
    pickle = tmp_path / "weights.pth"
    torch.save({}, pickle)
    text = tmp_path / "text.safetensors"
    text.write_text("not tensors")
    for path, words in ((pickle, "convert"), (text, "readable safetensors"), (tmp_path / "none.safetensors", "cannot read")):
        with pytest.raises(ConfigurationError, match=words) as caught:
            Encoder.load(EmbedConfig(**TINY, weights=str(path)))
        assert path.name in str(caught.value)


def test_models_that_are_unknown_or_no_transformer_are_refused():
    for name in ("vit_of_my_dreams", "resnet18"):
        with pytest.raises(ConfigurationError, match=name):
            Encoder.load(EmbedConfig(model=name, weights="random", allow_random=True))


def test_weights_with_another_activation_than_they_were_written_for_are_refused(tmp_path):
    with safe_open(BUILTIN_WEIGHTS, "pt") as file:
        header = json.loads(file.metadata()["cefm_encoder"])
    header["arguments"]["act_layer"] = "quick_gelu"
    wrong = tmp_path / "wrong.safetensors"
    save_file(load_file(BUILTIN_WEIGHTS), wrong, {"cefm_encoder": json.dumps(header)})
    right = tmp_path / "right.safetensors"
    del header["arguments"]["act_layer"]
    save_file(load_file(BUILTIN_WEIGHTS), right, {"cefm_encoder": json.dumps(header)})
    Encoder.load(EmbedConfig(model="vit_small_patch14_dinov2", weights=str(right)))
    header["reference"][0] += 1000
    save_file(load_file(BUILTIN_WEIGHTS), right, {"cefm_encoder": json.dumps(header)})
    with pytest.raises(ConfigurationError, match="reference image"):
        Encoder.load(EmbedConfig(model="vit_small_patch14_dinov2", weights=str(right)))
    with pytest.raises(ConfigurationError, match="reference image"):
        Encoder.load(EmbedConfig(model="vit_small_patch14_dinov2", weights=str(wrong)))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_hub_weights_absent_from_the_cache_fail_at_once_naming_file_and_remedy(tmp_path, monkeypatch, no_network):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    start = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"model\.safetensors of timm/vit_tiny_patch16_224.*hf download"):
        Encoder.load(EmbedConfig(model="vit_tiny_patch16_224"))
    assert time.monotonic() - start < 10


def test_hub_weights_in_the_cache_are_used_without_a_connection(tmp_path, monkeypatch, no_network, tiny_file, pictures):
    import timm

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / ("models--" + timm.get_pretrained_cfg(TINY["model"]).hf_hub_id.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "model.safetensors").write_bytes(tiny_file.read_bytes())
    found = Encoder.load(EmbedConfig(**TINY))
    expected = Encoder.load(EmbedConfig(**TINY, weights=str(tiny_file)))
    assert found.digest == expected.digest
    assert found.embed(*pictures).tobytes() == expected.embed(*pictures).tobytes()
