import math

import numpy as np
import pytest

from cefm_core.alignment.clinical_vector import PAPER
from cefm_core.alignment.data import AlignmentData
from cefm_core.errors import ConfigurationError


def manifest(*ids, **more):
    return [{"image_id": i, "target": 1, "split": "train", "group_id": None, "source": "s", **more} for i in ids]


def vectors(*ids, length=3, encoder="e"):
    return [{"image_id": i, "vector": [float(n)] * length, "encoder_sha256": encoder, "random_weights": False} for n, i in enumerate(ids)]


def test_tables_are_joined_by_image_in_one_order_whatever_theirs():
    abc = [dict.fromkeys(PAPER, 2.0) | {"image_id": "b"}]
    one = AlignmentData.from_rows(manifest("a", "b", "c"), vectors("c", "a", "b"), abc, "paper")
    assert one.image_ids == ["a", "b", "c"]
    assert one.embeddings[:, 0].tolist() == [1.0, 2.0, 0.0]
    assert one.measured().tolist() == [False, True, False]


def test_an_image_without_embedding_is_out_and_one_without_measurement_stays():
    found = AlignmentData.from_rows(manifest("a", "b"), vectors("b", "z"), [], "paper")
    assert found.image_ids == ["b"] and np.isnan(found.clinical).all()


@pytest.mark.parametrize("value", [None, math.nan])
def test_an_unknown_target_is_no_nevus(value):
    found = AlignmentData.from_rows(manifest("a", target=value), vectors("a"), [], "paper")
    assert found.target == [None] and found.labels().tolist() == [-1]


def test_images_without_a_group_stand_alone():
    rows = manifest("a", "b") + manifest("c", "d", group_id="a")
    codes = AlignmentData.from_rows(rows, vectors("a", "b", "c", "d"), [], "paper").group_codes()
    assert len(set(codes.tolist())) == 3 and codes[2] == codes[3]


@pytest.mark.parametrize(
    ("embeddings", "words"),
    [
        ([], "no image has both"),
        (vectors("a") + vectors("b", encoder="f"), "2 encoders are mixed"),
        (vectors("a") + vectors("b", length=4), r"different lengths \[3, 4\]"),
        ([{**vectors("a")[0], "vector": [1.0, math.nan]}], "NaN or infinity: a"),
    ],
)
def test_embeddings_that_cannot_stand_together_are_refused(embeddings, words):
    with pytest.raises(ConfigurationError, match=words):
        AlignmentData.from_rows(manifest("a", "b"), embeddings, [], "paper")
