"""Training on a handful of drawn pairs: it learns, resumes exactly, and keeps groups apart."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.training import TrainingRecipe, bce_dice_loss, draw_batch, train_segmenter
from cefm_core.segmentation.training_data import TrainingRow, is_tuning, load_arrays, read_rows
from cefm_core.segmentation.training_state import draw_chances, learning_rate_at

RECIPE = TrainingRecipe(steps=12, batch=2, tune_every=6, sides=((0.0, (64,), (1.0,)),))


def drawn(count=6, side=64):
    rng = np.random.default_rng(0)
    images, masks = np.empty((count, side, side, 3), np.uint8), np.empty((count, side, side), np.uint8)
    y, x = np.mgrid[:side, :side]
    for i in range(count):
        inside = np.hypot(y - rng.uniform(24, 40), x - rng.uniform(24, 40)) < rng.uniform(8, 16)
        images[i] = np.where(inside[..., None], (90, 50, 40), (220, 180, 160)) + rng.integers(0, 9, (side, side, 3))
        masks[i] = inside * 255
    return images, masks


def row(name, group=None, source="A", diagnosis="nevus"):
    return TrainingRow(name, None, None, source, diagnosis, "train", group or name)


ROWS = [row(f"i{i}") for i in range(6)]
TUNE = np.array([False, False, False, False, True, True])


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path):
    images, masks = drawn()
    whole = train_segmenter(images, masks, ROWS, RECIPE, tune=TUNE)

    class Stop(Exception):
        pass

    def interrupt(entry):
        if entry["step"] == 6:
            raise Stop

    with pytest.raises(Stop):
        train_segmenter(images, masks, ROWS, RECIPE, tune=TUNE, checkpoint=tmp_path / "c.pt", progress=interrupt)
    resumed = train_segmenter(images, masks, ROWS, RECIPE, tune=TUNE, checkpoint=tmp_path / "c.pt")
    assert [entry["step"] for entry in resumed.log_rows] == [6, 12]
    assert resumed.log_rows == whole.log_rows
    assert all(torch.equal(resumed.tensors[k], v) for k, v in whole.tensors.items())
    assert resumed.facts["trained_on"] == 4


def test_checkpoint_of_another_recipe_is_not_taken_up(tmp_path):
    images, masks = drawn()
    short = dataclasses.replace(RECIPE, steps=1)
    train_segmenter(images, masks, ROWS, short, tune=TUNE, checkpoint=tmp_path / "c.pt")
    with pytest.raises(ValueError, match="another recipe"):
        train_segmenter(images, masks, ROWS, RECIPE, tune=TUNE, checkpoint=tmp_path / "c.pt")


def test_training_learns():
    images, masks = drawn()
    recipe = dataclasses.replace(RECIPE, steps=60, tune_every=30, batch=4, learning_rate=1e-2, average_decay=0.9)
    result = train_segmenter(images, masks, ROWS, recipe, tune=TUNE)
    assert result.facts["tune_dice"] > 0.6


def test_a_group_on_both_sides_is_refused():
    images, masks = drawn()
    rows = [row(f"i{i}", group="one lesion" if i in (0, 5) else None) for i in range(6)]
    with pytest.raises(ValueError, match="1 shared"):
        train_segmenter(images, masks, rows, RECIPE, tune=TUNE)


def test_draws_follow_weights_and_never_touch_tune():
    rows = [row("a"), row("b", source="S"), row("c", diagnosis="melanoma"), row("d")]
    recipe = dataclasses.replace(RECIPE, source_weights=(("S", 3.0),), diagnosis_weights=(("melanoma", 2.0),))
    chances = draw_chances(rows, recipe, np.array([False, False, False, True]))
    assert chances == pytest.approx([1 / 6, 3 / 6, 2 / 6, 0])


def test_a_batch_depends_on_seed_and_step_alone():
    images, masks = drawn()
    chances = draw_chances(ROWS, RECIPE, TUNE)
    first, again = (draw_batch(images, masks, chances, RECIPE, 3) for _ in range(2))
    other = draw_batch(images, masks, chances, RECIPE, 4)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (2, 3, 64, 64)
    assert first[1].shape == (2, 1, 64, 64)
    assert 0 <= first[1].min() <= first[1].max() <= 1


def test_loss_of_empty_targets_falls_with_the_false_area():
    target = torch.zeros(1, 1, 32, 32)
    small, large = torch.full_like(target, -9.0), torch.full_like(target, -9.0)
    small[..., :2, :2], large[..., :16, :16] = 3, 3
    none = torch.full_like(target, -9.0)
    assert bce_dice_loss(none, target) < bce_dice_loss(small, target) < bce_dice_loss(large, target)
    assert bce_dice_loss(torch.where(torch.eye(32) > 0, 20.0, -20.0)[None, None], torch.eye(32)[None, None]) < 1e-4


def test_learning_rate_rises_to_the_peak_and_falls():
    recipe = TrainingRecipe(steps=100, warm_up=0.1, learning_rate=1.0)
    rates = [learning_rate_at(step, recipe) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 10
    assert rates[0] < 0.05
    assert rates[-1] < 0.01


HEADER = "id,filename,mask_filename,source,diagnosis,split,lesion_id,dup_group\n"


def test_groups_join_through_lesions_and_duplicates(tmp_path):
    lines = ["a,a.png,a_m.png,S,nevus,train,L1,", "b,b.png,b_m.png,S,nevus,train,L1,D1", "c,c.png,c_m.png,S,nevus,train,,D1"]
    lines += ["d,d.png,,S,nevus,train,,", "e,e.png,e_m.png,S,nevus,train,,", "f,f.png,f_m.png,S,nevus,val,,"]
    (tmp_path / "m.csv").write_text(HEADER + "\n".join(lines) + "\n")
    rows = read_rows(tmp_path / "m.csv", ("train",))
    assert {r.image_id: r.group for r in rows} == {"a": "a", "b": "a", "c": "a", "e": "e"}
    with pytest.raises(ConfigurationError, match="no row"):
        read_rows(tmp_path / "m.csv", ("absent",))


def test_missing_columns_are_named(tmp_path):
    (tmp_path / "m.csv").write_text("id,filename\na,a.png\n")
    with pytest.raises(ConfigurationError, match=r"mask_filename, source"):
        read_rows(tmp_path / "m.csv", ("train",))


def test_share_kept_apart_is_about_what_was_asked_for():
    share = np.mean([is_tuning(f"group {i}", 0.05) for i in range(4000)])
    assert 0.035 < share < 0.065


def test_arrays_shrink_by_area_and_unequal_sizes_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8, 3), (10, 20, 30), np.uint8))
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :3] = 255
    cv2.imwrite(str(tmp_path / "a_m.png"), mask)
    cv2.imwrite(str(tmp_path / "b_m.png"), mask[:4])
    good = TrainingRow("a", tmp_path / "a.png", tmp_path / "a_m.png", "S", "nevus", "train", "a")
    images, masks = load_arrays([good], 4, tmp_path / "cache.npz")
    assert images[0, 0, 0].tolist() == [30, 20, 10]
    assert masks[0, 0].tolist() == [255, 128, 0, 0]
    (tmp_path / "a.png").unlink()
    assert np.array_equal(load_arrays([good], 4, tmp_path / "cache.npz")[0], images)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    bad = dataclasses.replace(good, image_id="b", mask=tmp_path / "b_m.png")
    with pytest.raises(ConfigurationError, match=": b"):
        load_arrays([good, bad], 4)


def test_a_second_training_begins_from_the_given_weights():
    from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet

    torch.manual_seed(5)
    start = {k: v.clone() for k, v in UltraLightVMUNet().state_dict().items()}
    images, masks = drawn()
    still = dataclasses.replace(RECIPE, steps=1, learning_rate=0.0)
    result = train_segmenter(images, masks, ROWS, still, tune=TUNE, start=start)
    assert all(torch.equal(result.tensors[k], v) for k, v in start.items())
