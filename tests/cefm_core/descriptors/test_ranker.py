"""The real open_clip with random weights: saved to a file, loaded back, ranked."""

import json
import socket

import numpy as np
import pytest

from cefm_core.config import DescriptorConfig
from cefm_core.descriptors import weights_digests
from cefm_core.descriptors.ranker import DescriptorRanker, rank_scores
from cefm_core.descriptors.reference import reference_path, reference_text
from cefm_core.descriptors.vocabulary import scored_by
from cefm_core.errors import ConfigurationError
from cefm_core.tables.descriptors import TABLE

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny CLIP architecture known to open_clip under a plain and a quickgelu name, and random weights of it in a file."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("clip")
    (folder / "cefm-tiny.json").write_text(json.dumps(TINY))
    (folder / "cefm-tiny-quickgelu.json").write_text(json.dumps({**TINY, "quick_gelu": True}))
    open_clip.add_model_config(folder)
    torch.manual_seed(7)
    model = open_clip.create_model("cefm-tiny")
    with torch.no_grad():  # larger weights than at initialisation, so that the activation matters
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and ".mlp." in name:
                parameter.mul_(8 if "c_proj" in name else 2)
    path = folder / "tiny.pt"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def config(checkpoint):
    return DescriptorConfig(model="cefm-tiny", weights=str(checkpoint), activation="gelu", top_k=4)


@pytest.fixture(scope="module")
def ranker(config):
    return DescriptorRanker.load(config)


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 255, (40 + 10 * i, 60, 3), dtype=np.uint8) for i in range(count)]


def test_rows_fit_the_table_and_phrases_the_vocabulary(ranker, config):
    rows = ranker.rank(images(3))
    lineage = {"image_sha256": "0", "row_key": "0"}
    table = TABLE.to_arrow([{"image_id": str(i), **row, **lineage} for i, row in enumerate(rows)])
    assert table.num_rows == 3
    phrases = {entry.phrase for entry in scored_by("clip")}
    for row in rows:
        assert len(row["phrases"]) == 4 and set(row["phrases"]) <= phrases
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert len(row["vocabulary_scores"]) == len(scored_by("clip"))
        assert row["weights_sha256"] == weights_digests(config)["clip"]


def test_loaded_weights_are_those_of_the_file(ranker, checkpoint):
    import open_clip
    import torch
    from PIL import Image

    model = open_clip.create_model("cefm-tiny")
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    model.eval()
    preprocess = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    rgb = images(1)[0]
    with torch.inference_mode():
        expected = model.encode_image(preprocess(Image.fromarray(rgb)).unsqueeze(0), normalize=True)[0].numpy()
    assert np.allclose(ranker.embed(rgb), expected, atol=1e-6)


def test_row_does_not_depend_on_batch_mates(ranker):
    batch = images(3)
    assert ranker.rank(batch)[2] == ranker.rank([batch[2]])[0]


def test_other_activation_gives_other_embeddings_and_the_reference_stops_it(ranker, config, checkpoint):
    path = reference_path(checkpoint)
    path.write_text(reference_text(ranker.embed, ranker._text, ranker.facts))
    try:
        DescriptorRanker.load(config)
        with pytest.raises(ConfigurationError, match="activation"):
            DescriptorRanker.load(config.model_copy(update={"activation": "quickgelu"}))
    finally:
        path.unlink()


def test_activation_of_a_file_is_never_guessed(checkpoint):
    with pytest.raises(ConfigurationError, match="set gelu or quickgelu"):
        DescriptorRanker.load(DescriptorConfig(model="cefm-tiny", weights=str(checkpoint)))
    ranker = DescriptorRanker.load(DescriptorConfig(model="cefm-tiny-quickgelu", weights=str(checkpoint)))
    assert ranker.facts["activation"] == "quickgelu"


def test_a_tag_that_is_not_cached_fails_at_once_without_a_connection(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"open_clip_model\.safetensors of timm/vit_base_patch16_clip_224\.openai"):
        DescriptorRanker.load(DescriptorConfig(model="ViT-B-16", weights="openai"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "no/such/file.pt"}, "there is no file"),
        ({"weights": "nonsense"}, "neither a file nor a tag"),
        ({"model": "no-such-model"}, "no model"),
        ({"model": "ViT-B-16-SigLIP"}, "tokenizer from a hub"),
        ({"weights_sha256": "0" * 64}, "has digest"),
        ({"model": "ViT-S-32"}, "not a checkpoint of ViT-S-32"),
    ],
)
def test_unusable_settings_are_named(config, change, message):
    with pytest.raises(ConfigurationError, match=message):
        DescriptorRanker.load(config.model_copy(update=change))


def test_a_whole_model_pickle_is_refused(tmp_path, config):
    import torch

    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ConfigurationError, match="not a checkpoint"):
        DescriptorRanker.load(config.model_copy(update={"weights": str(path)}))


def test_no_phrase_beside_its_contradiction_and_no_size():
    phrases = [entry.phrase for entry in scored_by("clip")]
    cosines = np.zeros(len(phrases))
    for rank, phrase in enumerate(("small size", "symmetric shape", "asymmetric shape", "red areas")):
        cosines[phrases.index(phrase)] = 0.9 - 0.1 * rank
    chosen = [phrase for phrase, _ in rank_scores(cosines, 2)]
    assert chosen == ["symmetric shape", "red areas"]


def test_a_cached_tag_brings_its_activation_and_preprocessing_without_a_connection(monkeypatch, tmp_path):
    from cefm_core.descriptors.weights import resolve_weights

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--timm--vit_base_patch16_clip_224.openai"
    for path, text in (("refs/main", "abc"), ("snapshots/abc/open_clip_model.safetensors", "weights")):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
    config = DescriptorConfig(model="ViT-B-16", weights="openai")
    resolved = resolve_weights(config)
    assert resolved.path.read_text() == "weights" and resolved.quick_gelu
    assert resolved.preprocess["interpolation"] == "bicubic"
    with pytest.raises(ConfigurationError, match="trained with quickgelu"):
        resolve_weights(config.model_copy(update={"activation": "gelu"}))
