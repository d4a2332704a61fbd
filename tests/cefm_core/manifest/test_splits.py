from collections import Counter

import pytest

from cefm_core.errors import GateFailedError
from cefm_core.manifest.splits import assign_splits, check_leaks, group_id, group_images

SHARES = {"val_share": 0.15, "tune_share": 0.12, "seed": 999}


def image(name, **named):
    return [*named.items(), ("image", name)]


def test_shared_ids_unite_and_chains_are_followed():
    keys = group_images([image("a", lesion="L1"), image("b", lesion="L1", patient="P"), image("c", patient="P"), image("d")], [])
    assert keys[0] == keys[1] == keys[2] == ("patient", "P")
    assert keys[3] == ("image", "d")


def test_missing_ids_are_not_one_giant_group():
    assert len(set(group_images([image(str(i)) for i in range(5)], []))) == 5


def test_same_text_as_lesion_and_as_patient_is_not_the_same():
    assert len(set(group_images([image("a", lesion="7"), image("b", patient="7")], []))) == 2


def test_pairs_and_bytes_unite_but_do_not_name():
    keys = group_images([[("image", "b"), ("bytes", "x")], [("image", "c"), ("bytes", "x")], image("a"), image("z")], [(1, 2)])
    assert keys[:3] == [("image", "a")] * 3
    assert keys[3] == ("image", "z")


def test_group_ids_do_not_show_what_they_are_made_of():
    assert "P17" not in group_id(("patient", "P17"))
    assert group_id(("patient", "7")) != group_id(("lesion", "7"))


def drawn(n, labels=("melanoma", "nevus", "unlabelled"), extra=0):
    groups = [f"g{i:05d}" for i in range(n)] + [f"new{i:05d}" for i in range(extra)]
    strata = [labels[i % len(labels)] for i in range(len(groups))]
    splits, _, notes = assign_splits(groups, [None] * len(groups), strata, **SHARES)
    return dict(zip(groups, splits, strict=True)), dict(zip(groups, strata, strict=True)), notes


def test_shares_are_kept_in_every_class():
    split, stratum, notes = drawn(6000)
    for label in ("melanoma", "nevus", "unlabelled"):
        counts = Counter(split[g] for g in split if stratum[g] == label)
        assert counts["val"] / 2000 == pytest.approx(0.15, abs=0.03)
        assert counts["tune"] / (counts["tune"] + counts["train"]) == pytest.approx(0.12, abs=0.03)
    assert notes == []


def test_new_images_move_no_old_group():
    before, _, _ = drawn(3000)
    after, _, _ = drawn(3000, extra=300)
    assert {g: after[g] for g in before} == before


def test_order_has_no_influence():
    groups = [f"g{i}" for i in range(50)]
    strata = ["melanoma" if i % 3 else "nevus" for i in range(50)]
    forward = dict(zip(groups, assign_splits(groups, [None] * 50, strata, **SHARES)[0], strict=True))
    backward = dict(zip(groups[::-1], assign_splits(groups[::-1], [None] * 50, strata[::-1], **SHARES)[0], strict=True))
    assert forward == backward


@pytest.mark.parametrize("n", [6, 8, 12, 20])
def test_small_sets_have_both_classes_in_train_tune_and_val(n):
    for seed in range(20):
        groups = [f"s{seed}_{i}" for i in range(n)]
        strata = ["melanoma" if i % 2 else "nevus" for i in range(n)]
        splits, _, _ = assign_splits(groups, [None] * n, strata, val_share=0.15, tune_share=0.12, seed=seed)
        for name in ("train", "val", "tune") if n > 4 else ("train", "val"):
            assert {label for label, split in zip(strata, splits, strict=True) if split == name} == {"melanoma", "nevus"}


def test_a_class_with_one_group_is_said():
    splits, _, notes = assign_splits(["a", "b", "c", "d"], [None] * 4, ["melanoma", "nevus", "nevus", "nevus"], **SHARES)
    assert splits[0] == "train"
    assert any("melanoma" in note for note in notes)


def test_the_tables_own_split_stands_and_tune_is_part_of_train():
    groups = [f"g{i}" for i in range(300)]
    official = ["train"] * 200 + ["val"] * 60 + ["external"] * 40
    splits, moved, _ = assign_splits(groups, official, ["nevus"] * 300, **SHARES)
    assert splits[200:] == official[200:]
    assert set(splits[:200]) == {"train", "tune"}
    assert not any(moved)


def test_an_own_tune_split_is_not_drawn_again():
    groups = [f"g{i}" for i in range(100)]
    official = ["train"] * 80 + ["tune"] * 20
    assert assign_splits(groups, official, ["nevus"] * 100, **SHARES)[0] == official


@pytest.mark.parametrize(
    ("official", "wanted"),
    [
        (["train", "val"], "val"),
        (["val", "external"], "external"),
        (["train", "test"], "test"),
        (["train", None, "val"], "val"),
        ([None, "train"], "train"),
    ],
)
def test_a_crossing_group_goes_to_its_most_held_out_split(official, wanted):
    splits, moved, _ = assign_splits(["g"] * len(official), official, ["nevus"] * len(official), val_share=0.15, tune_share=0.12, seed=1)
    assert set(splits) == {wanted}
    assert moved == [own is not None and own != wanted for own in official]


def row(image_id, split, **named):
    return {"image_id": image_id, "split": split, "group_id": image_id, "image_sha256": image_id, **named}


@pytest.mark.parametrize("name", ["group_id", "lesion_id", "image_sha256"])
def test_a_leak_stops_the_run_and_names_both_images(name):
    with pytest.raises(GateFailedError) as caught:
        check_leaks([row("a", "train", **{name: "L1"}), row("b", "val", **{name: "L1"}), row("c", "val")])
    assert "a in train" in str(caught.value) and "b in val" in str(caught.value) and "L1" in str(caught.value)


def test_rows_without_a_lesion_do_not_leak():
    check_leaks(
        [
            row("a", "train", lesion_id=None),
            row("b", "val", lesion_id=None),
            row("c", "train", lesion_id="L"),
            row("d", "train", lesion_id="L"),
        ]
    )
