import dataclasses

import numpy as np
import pytest

from cefm_core.alignment.models import load_models, prepare, project
from cefm_core.alignment.neighbours import NEAREST, nearest_cases
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig


@pytest.fixture(scope="module")
def trained(world):
    return train_alignment(world, AlignmentConfig(seeds=(1, 2), epochs=2, classifier_epochs=2))


def test_nearest_are_training_images_of_other_groups_by_mean_cosine(world, trained):
    found = nearest_cases(trained, world)
    models = load_models(trained)
    points = project(models.network, prepare(world, models.scales), "image", np.arange(len(world.image_ids)))[0].double().numpy()
    cosines = np.einsum("snp,smp->nm", points, points) / len(points)
    train = [i for i, s in enumerate(world.split) if s == "train"]
    for row in (0, 17, 101):
        allowed = [i for i in train if world.group_id[i] != world.group_id[row]]
        expected = sorted(allowed, key=lambda i, row=row: -cosines[row, i])[:NEAREST]
        assert found[row]["nearest_cases"] == [world.image_ids[i] for i in expected]
        assert found[row]["nearest_cosines"] == pytest.approx([cosines[row, i] for i in expected], abs=1e-5)
        assert found[row]["nearest_reason"] is None


def test_without_training_images_the_reason_stands(world, trained):
    found = nearest_cases(trained, dataclasses.replace(world, split=["val"] * len(world.split)))
    assert found[0] == {"nearest_cases": None, "nearest_cosines": None, "nearest_reason": "no_training_case"}
