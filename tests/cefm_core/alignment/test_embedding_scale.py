import numpy as np
import pytest

from cefm_core.alignment.embedding_scale import EmbeddingScale
from cefm_core.alignment.novelty import fit_novelty


@pytest.fixture(scope="module")
def vectors():
    random = np.random.default_rng(0)
    return (random.normal(size=(300, 6)) @ random.normal(size=(6, 80)) + 0.1 * random.normal(size=(300, 80)) + 7).astype(np.float32)


def test_components_are_those_of_an_exact_decomposition(vectors):
    scale = EmbeddingScale.fit(vectors, 6)
    x = scale.standardise(vectors)
    exact = np.linalg.svd(x, full_matrices=False)[2][:6]
    np.testing.assert_allclose(np.abs(np.sum(exact * scale.components[:6], axis=1)), 1.0, atol=1e-6)
    reduced = scale.reduce(x)
    assert reduced.shape == (300, 6) and scale.width == 6
    assert (reduced**2).mean() == pytest.approx(1.0, rel=1e-4)


def test_a_row_is_reduced_alike_alone_and_among_others(vectors):
    scale = EmbeddingScale.fit(vectors, 6)
    together = scale.reduce(scale.standardise(vectors))
    assert scale.reduce(scale.standardise(vectors[7:8])).tobytes() == together[7:8].tobytes()


@pytest.mark.parametrize("components", [0, 80, 500])
def test_an_embedding_that_is_short_enough_enters_whole(vectors, components):
    scale = EmbeddingScale.fit(vectors, components)
    x = scale.standardise(vectors)
    np.testing.assert_allclose(scale.reduce(x), x, rtol=1e-6)
    assert scale.width == 80


def test_a_constant_dimension_stays_finite(vectors):
    flat = vectors.copy()
    flat[:, 3] = 2.5
    scale = EmbeddingScale.fit(flat, 6)
    assert np.isfinite(scale.reduce(scale.standardise(vectors))).all()


def test_scale_survives_a_checkpoint(vectors):
    scale = EmbeddingScale.fit(vectors, 6)
    back = EmbeddingScale.from_tensors(scale.tensors())
    assert back.reduce(back.standardise(vectors)).tobytes() == scale.reduce(scale.standardise(vectors)).tobytes()


def test_novelty_is_the_mahalanobis_distance_of_the_model_it_states(vectors):
    scale = EmbeddingScale.fit(vectors, 0)
    x = scale.standardise(vectors)
    model = fit_novelty(scale.components[:4], x, x)
    # The same Gaussian written as a covariance: the components with their variances, the residual spread over every other direction.
    outside = np.eye(80) - model.components.T @ model.components
    precision = model.components.T @ np.diag(1 / model.variance) @ model.components + outside / model.residual
    expected = np.sqrt(np.einsum("ni,ij,nj->n", x, precision, x)) / model.limit
    np.testing.assert_allclose(model.scores(x), expected, rtol=1e-8)
    assert (model.scores(x) > 1).sum() <= 2
    assert (model.scores(x + 5.0) > 1).all()
