"""What the alignment has achieved, on held-out pairs only: cosines, retrieval, alignment and uniformity."""

from __future__ import annotations

from typing import Any

import numpy as np

from cefm_core.alignment.checkpoint import TrainedAlignment
from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.models import load_models, prepare

HELD_OUT = ("val", "test", "external")
RANKS = (1, 5, 10)
MAX_NEGATIVES = 20_000


def diagnose(trained: TrainedAlignment, data: AlignmentData) -> dict[str, Any]:
    """Measure the alignment on the held-out pairs of the first of val, test, external that has at least two.

    Args:
        trained: Checkpoint.
        data: Embeddings and measurements, of the kind it was trained on.

    Returns:
        ``split``; arrays ``positive_cosines``, ``negative_cosines`` and the same with ``_before`` (untrained heads), pooled over
        seeds; numbers (mean over seeds) ``retrieval_image_to_clinical_r1`` ... ``r10``, ``retrieval_clinical_to_image_r1`` ...,
        ``retrieval_chance_r1`` ..., ``retrieval_shuffled_r10`` (pairs put together by chance), ``alignment``,
        ``uniformity_image``, ``uniformity_clinical``, ``pairs``. Empty where no split has two pairs.
    """
    measured = data.measured()
    for split in HELD_OUT:
        rows = data.rows_of(split)
        rows = rows[measured[rows]]
        if len(rows) > 1:
            return {"split": split, "pairs": len(rows), **_measure(trained, data, rows)}
    return {}


def _measure(trained: TrainedAlignment, data: AlignmentData, rows: np.ndarray) -> dict[str, Any]:
    from cefm_core.alignment.encoder import one_thread

    with one_thread():
        images, clinical = _projections(trained, data, rows, before=False)
        before = _projections(trained, data, rows, before=True)
    groups = data.group_codes()[rows]
    found: dict[str, Any] = {}
    found["positive_cosines"], found["negative_cosines"] = pair_cosines(images, clinical, groups)
    found["positive_cosines_before"], found["negative_cosines_before"] = pair_cosines(*before, groups)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    for rank in RANKS:
        found[f"retrieval_image_to_clinical_r{rank}"] = retrieval(images, clinical, rank)
        found[f"retrieval_clinical_to_image_r{rank}"] = retrieval(clinical, images, rank)
        found[f"retrieval_chance_r{rank}"] = min(1.0, rank / len(rows))
    found["retrieval_shuffled_r10"] = retrieval(images, clinical[:, shuffled], 10)
    found["alignment"] = float(((images - clinical) ** 2).sum(-1).mean())
    found["uniformity_image"], found["uniformity_clinical"] = uniformity(images), uniformity(clinical)
    return found


def _projections(trained: TrainedAlignment, data: AlignmentData, rows: np.ndarray, before: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return image and clinical projections, float64 (seeds, n, 128), by the trained heads or by those training began with."""
    import torch

    from cefm_core.alignment.heads import AlignmentNetwork, apply_all

    models, facts = load_models(trained), trained.facts
    network, seeds = models.network, facts["seeds"]
    if before:
        network = AlignmentNetwork(models.scales.embedding.width, models.scales.clinical.width, seeds)
    prepared = prepare(data, models.scales)
    images = apply_all(network.image_head, torch.from_numpy(prepared.embeddings[rows]), len(seeds))
    clinical = apply_all(network.clinical_head, torch.from_numpy(prepared.clinical[rows]), len(seeds))
    return images.double().numpy(), clinical.double().numpy()


def pair_cosines(images: np.ndarray, clinical: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines of true pairs and of pairs of different groups, pooled over seeds.

    Args:
        images: Unit vectors (seeds, n, p).
        clinical: Unit vectors (seeds, n, p).
        groups: int (n,); two images of one group are no negative pair.

    Returns:
        float64 (seeds * n,), and at most 20,000 of the negatives, evenly taken.
    """
    cosines = images @ clinical.transpose(0, 2, 1)
    different = groups[:, None] != groups[None, :]
    negatives = cosines[:, different].ravel()
    step = max(1, len(negatives) // MAX_NEGATIVES)
    return np.diagonal(cosines, axis1=1, axis2=2).ravel().copy(), negatives[::step].copy()


def retrieval(queries: np.ndarray, candidates: np.ndarray, rank: int) -> float:
    """Return the share of queries whose own partner is among the ``rank`` most similar candidates, mean over seeds.

    A tie counts against the partner, so that equal vectors for all do not look like success.

    Args:
        queries: Unit vectors (seeds, n, p).
        candidates: Unit vectors (seeds, n, p), row i the partner of query i.
        rank: How many candidates are looked at.
    """
    cosines = queries @ candidates.transpose(0, 2, 1)
    own = np.diagonal(cosines, axis1=1, axis2=2)[..., None]
    rivals = (cosines >= own - 1e-12).sum(axis=-1) - 1
    return float((rivals < rank).mean())


def uniformity(points: np.ndarray) -> float:
    """Return log mean exp(-2 |x - y|^2) over pairs of different points, mean over seeds (Wang & Isola 2020); lower is more even.

    Args:
        points: Unit vectors (seeds, n, p), n at least 2.
    """
    squared = np.maximum(2 - 2 * points @ points.transpose(0, 2, 1), 0)
    apart = ~np.eye(points.shape[1], dtype=np.bool_)
    return float(np.mean([np.log(np.exp(-2 * seed[apart]).mean()) for seed in squared]))
