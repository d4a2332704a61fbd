"""A small world in which images and measurements share hidden causes, some of which decide the label."""

import numpy as np
import pytest

from cefm_core.alignment.clinical_vector import clinical_names
from cefm_core.alignment.data import AlignmentData


def make_world(n=240, d=24, seed=0, labelled=True, profile="clinical") -> AlignmentData:
    random = np.random.default_rng(seed)
    causes = random.normal(size=(n, 5))
    label = (causes[:, 0] + 0.4 * random.normal(size=n) > 0.3).astype(int)
    names = clinical_names(profile)
    embeddings = causes @ random.normal(size=(5, d)) + 0.3 * random.normal(size=(n, d))
    clinical = causes @ random.normal(size=(5, len(names))) + 0.3 * random.normal(size=(n, len(names)))
    clinical[random.random(clinical.shape) < 0.02] = np.nan
    split = random.choice(["train", "tune", "val"], n, p=[0.6, 0.2, 0.2]).tolist()
    return AlignmentData(
        image_ids=[f"image{i:04d}" for i in range(n)],
        embeddings=embeddings.astype(np.float32),
        clinical=clinical,
        clinical_names=names,
        target=[int(v) if labelled else None for v in label],
        split=split,
        group_id=[f"lesion{i // 2}" for i in range(n)],
        source=["one"] * n,
        encoder_sha256="e" * 64,
    )


@pytest.fixture(scope="session")
def world_of():
    return make_world


@pytest.fixture(scope="session")
def world():
    return make_world()
