"""Fine-tuning of a tiny transformer on rendered lesions: it learns, goes on where it was cut off, and gives the same weights."""

import numpy as np
import pytest
import torch

from cefm_core.alignment.encoder import Encoder
from cefm_core.alignment.finetuning import FinetuneConfig, Finetuning, parameter_groups, rate_factor, split_tune
from cefm_core.alignment.labelled_crops import LabelledImage, augmented, plain, read_labelled
from cefm_core.config import EmbedConfig
from cefm_core.errors import ConfigurationError
from cefm_core.imaging.decode import encode_jpeg, encode_mask_png

TINY = EmbedConfig(model="vit_tiny_patch16_224", weights="random", allow_random=True, img_size=32)
QUICK = FinetuneConfig(epochs=3, patience=3, batch=8, learning_rate=1e-3, head_learning_rate=1e-2, layer_decay=0.9, jitter=False)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """Forty lesions: nevi brown, melanomas black with a blue part; two images a lesion."""
    folder = tmp_path_factory.mktemp("lesions")
    lines = ["id,filename,mask_filename,split,diagnosis,source,lesion_id"]
    y, x = np.mgrid[:64, :64]
    random = np.random.default_rng(0)
    for i in range(40):
        melanoma = i // 2 % 2
        inside = np.hypot(y - 32 + random.normal(0, 2), x - 32) < 14
        colour = np.where((x > 30)[..., None] & bool(melanoma), (60, 70, 110), (60, 45, 40) if melanoma else (130, 85, 60))
        rgb = np.where(inside[..., None], colour, (220, 180, 160)) + random.normal(0, 8, (64, 64, 3))
        (folder / f"i{i}.jpg").write_bytes(encode_jpeg(np.clip(rgb, 0, 255).astype(np.uint8), 95))
        (folder / f"m{i}.png").write_bytes(encode_mask_png(inside))
        lines.append(f"i{i},i{i}.jpg,m{i}.png,train,{'melanoma' if melanoma else 'nevus'},{'ab'[i % 3 > 0]},l{i // 2}")
    lines += ["v,i0.jpg,m0.png,val,nevus,a,l99", "o,i0.jpg,m0.png,train,other,a,l98"]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder / "metadata.csv"


@pytest.fixture(scope="module")
def parts(data_set):
    return split_tune(read_labelled(data_set, "train", None, 0), QUICK.model_copy(update={"tune_share": 0.3}))


def test_only_labelled_images_of_the_split_are_read_and_groups_stay_whole(data_set, parts):
    train, tune = parts
    assert len(train) + len(tune) == 40 and not {i.group for i in train} & {i.group for i in tune}
    assert len(read_labelled(data_set, "train", 11, 0)) == 11
    with pytest.raises(ConfigurationError, match="no melanoma or nevus"):
        read_labelled(data_set, "test", None, 0)
    with pytest.raises(ConfigurationError, match="lacks a class"):
        split_tune([i for i in train if i.label == 0], QUICK)


def run(parts, folder, config=QUICK, stop_after=None):
    encoder = Encoder.load(TINY)
    tuning = Finetuning(encoder, *parts, config, folder / "finetune.pt")

    def progress(told):
        if told["epoch"] == stop_after:
            raise KeyboardInterrupt

    return tuning, tuning.run(progress)


@pytest.fixture(scope="module")
def tuned(parts, tmp_path_factory):
    return run(parts, tmp_path_factory.mktemp("work"))


def test_it_learns_and_keeps_its_best_epoch(tuned):
    tuning, network = tuned
    losses = [entry["tune_loss"] for entry in tuning.log]
    assert tuning.log[-1]["loss"] < tuning.log[0]["loss"] and max(e["tune_auc"] for e in tuning.log) > 0.9
    best = torch.load(tuning.state_file, weights_only=True)["best"]
    assert all(torch.equal(best[name], tensor) for name, tensor in network.state_dict().items())
    assert tuning._best_epoch() == int(np.argmin(losses))


def test_cut_off_it_goes_on_and_ends_with_the_same_weights(parts, tuned, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(parts, tmp_path, stop_after=1)
    tuning, network = run(parts, tmp_path)
    assert tuning.log == tuned[0].log
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), tuned[1].state_dict().values(), strict=True))


def test_a_state_of_other_settings_is_refused(parts, tuned):
    folder = tuned[0].state_file.parent
    with pytest.raises(ConfigurationError, match="other images or settings"):
        run(parts, folder, QUICK.model_copy(update={"seed": 5}))


def test_rates_fall_towards_the_input_and_frozen_blocks_stay(parts):
    network = Encoder.load(TINY).network.requires_grad_(True)
    config = FinetuneConfig(layer_decay=0.5, frozen_blocks=10)
    peaks = {id(p): g["peak"] for g in parameter_groups(network, torch.nn.Linear(192, 2), config) for p in g["params"]}
    last, before = (peaks[id(network.blocks[i].mlp.fc1.weight)] for i in (11, 10))
    assert before == pytest.approx(last / 2)
    assert not network.patch_embed.proj.weight.requires_grad and not network.blocks[9].mlp.fc1.weight.requires_grad
    assert id(network.blocks[9].mlp.fc1.weight) not in peaks


def test_rate_warms_up_and_ends_near_nothing():
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == 1.0 and factors[-1] < 0.01


def test_jitter_changes_a_crop_but_keeps_its_shape(parts):
    image, spec = parts[0][0], Encoder.load(TINY).spec
    assert isinstance(image, LabelledImage)
    one, other = (augmented(image, spec, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.shape == other.shape == plain(image, spec).shape and not torch.equal(one, other)
    assert torch.equal(one, augmented(image, spec, np.random.default_rng(1)))
