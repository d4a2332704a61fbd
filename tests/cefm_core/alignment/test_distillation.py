import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cefm_core.alignment.distillation import DistillationConfig, fill_targets, open_targets, wanted_views
from cefm_core.alignment.encoder import Encoder
from cefm_core.alignment.encoder_training import compute_targets, read_training_images, train_student
from cefm_core.alignment.preprocess import InputSpec
from cefm_core.alignment.student import batch_of, distil, epoch_sides, new_student, rate_at, target_scale, token_loss
from cefm_core.config import EmbedConfig
from cefm_core.errors import ConfigurationError
from cefm_core.imaging.decode import encode_jpeg, encode_mask_png

CONFIG = DistillationConfig(
    teacher_side_px=56,
    student_side_px=56,
    first_side_px=28,
    first_epochs=1,
    epochs=2,
    batch=4,
    teacher_blocks=(0, 2),
    both_views=3,
)
SPEC = InputSpec(56, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def teacher():
    import timm

    torch.manual_seed(0)
    network = timm.create_model(CONFIG.teacher_model, img_size=56, depth=3, num_classes=0).eval()
    for block in network.blocks:  # trained layer scales are not tiny
        torch.nn.init.constant_(block.ls1.gamma, 0.5)
        torch.nn.init.constant_(block.ls2.gamma, 0.5)
    return network


def picture(row):
    rgb = np.random.default_rng(row).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    mask = np.zeros((70, 90), bool)
    mask[10:40, 20 + row : 50 + row] = True
    return rgb, mask if row != 1 else None


@pytest.fixture(scope="module")
def store(tmp_path_factory, teacher):
    store = open_targets(tmp_path_factory.mktemp("targets"), [f"i{i}" for i in range(6)], CONFIG, "t")
    assert list(fill_targets(store, wanted_views(6, 3), picture, teacher, SPEC, CONFIG)) == list(range(6))
    return store


@pytest.fixture
def student(teacher):
    return new_student(teacher, CONFIG)


def views_of(store):
    return np.flatnonzero(np.asarray(store.done).ravel())


def test_both_views_of_the_first_images_then_one_in_turn():
    assert wanted_views(6, 3).astype(int).tolist() == [[1, 1], [1, 1], [1, 1], [0, 1], [1, 0], [0, 1]]


def test_targets_are_the_teachers_tokens(store, teacher):
    from cefm_core.alignment.preprocess import lesion_box, normalise, resize_view

    rgb, mask = picture(2)
    with torch.inference_mode():
        tokens = teacher.forward_features(normalise(resize_view(rgb, lesion_box(mask), SPEC), SPEC)[None])[0].numpy()
    # bfloat16 inside, float16 stored
    np.testing.assert_allclose(store.class_tokens[2, 1], tokens[0], atol=0.05)
    np.testing.assert_allclose(store.patches[2, 1].reshape(16, -1), tokens[1:], atol=0.1)


def test_views_that_nobody_learns_from_are_not_computed_and_a_second_call_has_nothing_to_do(store, teacher):
    assert np.array_equal(store.done, wanted_views(6, 3))
    assert list(fill_targets(store, wanted_views(6, 3), picture, teacher, SPEC, CONFIG)) == []


def test_a_folder_of_other_images_is_refused(tmp_path):
    open_targets(tmp_path, ["a"], CONFIG, "t")
    open_targets(tmp_path, ["a"], CONFIG, "t")
    for ids, teacher in ((["b"], "t"), (["a"], "u")):
        with pytest.raises(ConfigurationError, match="other images or settings"):
            open_targets(tmp_path, ids, CONFIG, teacher)


def test_the_student_starts_as_the_chosen_blocks_of_the_teacher(teacher, student):
    assert len(student.blocks) == 2
    for new, old in enumerate(CONFIG.teacher_blocks):
        assert torch.equal(student.blocks[new].mlp.fc1.weight, teacher.blocks[old].mlp.fc1.weight)
    assert torch.equal(student.patch_embed.proj.weight, teacher.patch_embed.proj.weight)


def test_a_student_of_all_blocks_at_the_teachers_size_is_the_teacher_and_has_no_loss(teacher, store):
    config = CONFIG.model_copy(update={"teacher_blocks": (0, 1, 2)})
    student = new_student(teacher, config).eval()
    views = views_of(store)
    inputs, targets = batch_of(store, views, 56, SPEC, None)
    with torch.inference_mode():
        same = token_loss(student.forward_features(inputs), targets, target_scale(store, views))
        half = token_loss(new_student(teacher, CONFIG).eval().forward_features(inputs), targets, target_scale(store, views))
    assert float(same) < 0.02 < 0.2 < float(half)


def test_patch_targets_turn_with_the_image(store):
    class Fixed:
        def __init__(self, *values):
            self.values = list(values)

        def integers(self, high):
            return self.values.pop(0)

    views = np.array([0])
    straight, targets = batch_of(store, views, 56, SPEC, None)
    turned, moved = batch_of(store, views, 56, SPEC, Fixed(1, 1))
    assert torch.equal(torch.rot90(straight, 1, (2, 3)).flip(3), turned)
    grid = targets["patch"].view(1, 4, 4, -1)
    assert torch.equal(torch.rot90(grid, 1, (1, 2)).flip(2).flatten(1, 2), moved["patch"])
    assert torch.equal(targets["class_token"], moved["class_token"])


def test_small_inputs_come_with_small_grids(store):
    inputs, targets = batch_of(store, np.array([0, 1]), 28, SPEC, None)
    assert inputs.shape == (2, 3, 28, 28) and targets["patch"].shape == (2, 4, 384)


def test_learning_rate_rises_then_falls_to_nothing():
    rates = [rate_at(step, 100, CONFIG) for step in range(100)]
    assert rates.index(max(rates)) in (4, 5) and max(rates) == pytest.approx(CONFIG.learning_rate, rel=0.01)
    assert rates[0] < 0.3 * CONFIG.learning_rate and rates[-1] < 0.001 * CONFIG.learning_rate
    assert epoch_sides(CONFIG) == [28, 56, 56]


def test_training_lowers_the_loss(store, student):
    views = views_of(store)
    inputs, targets = batch_of(store, views, 56, SPEC, None)
    scale = target_scale(store, views)
    with torch.no_grad():
        before = float(token_loss(student.eval().forward_features(inputs), targets, scale))
    trained = distil(student, store, views, SPEC, CONFIG.model_copy(update={"epochs": 12}))
    with torch.no_grad():
        assert float(token_loss(trained.forward_features(inputs), targets, scale)) < 0.8 * before


def test_a_run_cut_off_and_resumed_gives_the_weights_of_an_unbroken_one(store, teacher, tmp_path, monkeypatch):
    from cefm_core.alignment import student as module

    views, path, step, calls = views_of(store), tmp_path / "student.pt", module._step, []
    unbroken = distil(new_student(teacher, CONFIG), store, views, SPEC, CONFIG)

    def cut_off_in_the_second_epoch(*args):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(module, "_step", cut_off_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        distil(new_student(teacher, CONFIG), store, views, SPEC, CONFIG, path)
    monkeypatch.setattr(module, "_step", step)
    resumed = distil(new_student(teacher, CONFIG), store, views, SPEC, CONFIG, path)
    for name, tensor in unbroken.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.fixture
def data_set(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    lines = ["id,filename,mask_filename,split"]
    for row in range(4):
        rgb, mask = picture(row)
        (folder / f"{row}.jpg").write_bytes(encode_jpeg(rgb, 90))
        if mask is not None:
            (folder / f"{row}.png").write_bytes(encode_mask_png(mask))
        lines.append(f"i{row},{row}.jpg,{'' if mask is None else f'{row}.png'},{'val' if row == 3 else 'train'}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder / "metadata.csv"


def test_only_the_split_asked_for_is_read(data_set):
    images = read_training_images(data_set, "train", 999)
    assert sorted(image.image_id for image in images) == ["i0", "i1", "i2"]
    assert [image.mask is None for image in sorted(images, key=lambda image: image.image_id)] == [False, True, False]
    with pytest.raises(ConfigurationError, match="no image of split 'test'"):
        read_training_images(data_set, "test", 999)


def test_metadata_without_the_columns_is_refused(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("id,split\na,train\n")
    with pytest.raises(ConfigurationError, match="filename"):
        read_training_images(path, "train", 1)
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_training_images(tmp_path / "none.csv", "train", 1)


def test_from_a_data_set_to_a_weight_file_that_the_encoder_loads(data_set, tmp_path, teacher):
    import timm

    config = CONFIG.model_copy(update={"epochs": 1, "both_views": 2})
    whole = timm.create_model(CONFIG.teacher_model, img_size=56, num_classes=0)
    weights = tmp_path / "teacher.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in whole.state_dict().items()}, weights)
    images = read_training_images(data_set, "train", config.seed)
    with pytest.raises(ConfigurationError, match="missing"):
        train_student(images, weights, tmp_path / "work", config, tmp_path / "out.safetensors", "none")
    assert compute_targets(images, weights, tmp_path / "work", config) == {"images": 3, "views": 5, "computed": 3}
    assert compute_targets(images, weights, tmp_path / "work", config)["computed"] == 0
    made = train_student(images, weights, tmp_path / "work", config, tmp_path / "out.safetensors", "none")
    assert made["bytes"] == (tmp_path / "out.safetensors").stat().st_size
    encoder = Encoder.load(EmbedConfig(model=CONFIG.teacher_model, weights=str(tmp_path / "out.safetensors")))
    assert encoder.facts["depth"] == 2 and encoder.spec.side_px == 56
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        header = json.loads(file.metadata()["cefm_encoder"])
    assert header["made"]["images"] == 3 and header["made"]["licence"] == "none"


def test_a_mask_that_cannot_be_meant_is_left_out(tmp_path):
    from cefm_core.alignment.encoder_training import read_mask

    (tmp_path / "all.png").write_bytes(encode_mask_png(np.ones((70, 90), bool)))
    (tmp_path / "right.png").write_bytes(encode_mask_png(picture(0)[1]))
    assert read_mask(tmp_path / "all.png", (70, 90)) is None
    assert np.array_equal(read_mask(tmp_path / "right.png", (70, 90)), picture(0)[1])
