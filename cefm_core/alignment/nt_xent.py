"""NT-Xent between images and their clinical vectors, in its right form and in the paper's."""

from __future__ import annotations

import torch
from torch import Tensor

FORMS = ("cross_modal", "paper")


def nt_xent(images: Tensor, clinical: Tensor, temperature: float, same_group: Tensor | None = None, form: str = "cross_modal") -> Tensor:
    """Normalised temperature-scaled cross entropy of pairs, averaged over both directions.

    For pair i and similarity s = cosine / temperature, the loss is -s_ii + log sum_j exp s_ij, in the form ``cross_modal`` over
    every other pair once and the positive once (Chen et al. 2020, over two modalities as in Radford et al. 2021). The form ``paper``
    has the positive in the denominator a second time, as in the authors' code; it cannot go below log 2.

    Args:
        images: Unit vectors (..., n, p).
        clinical: Unit vectors (..., n, p), row i of the same image.
        temperature: Positive number.
        same_group: bool (..., n, n), true where two rows show the same lesion or patient: they are no negatives of each
            other. Not used by the form ``paper``.
        form: ``cross_modal`` or ``paper``.

    Returns:
        Mean loss (...,), one per leading index. A batch of one pair has no negative and gives 0 (or log 2): see
        :func:`has_negatives`.
    """
    similarity = images @ clinical.transpose(-1, -2) / temperature
    positive = similarity.diagonal(dim1=-2, dim2=-1)
    if form == "paper":
        rows = torch.logaddexp(similarity.logsumexp(-1), positive)
        columns = torch.logaddexp(similarity.logsumexp(-2), positive)
    else:
        if same_group is not None:
            diagonal = torch.eye(similarity.shape[-1], dtype=torch.bool)
            similarity = similarity.masked_fill(same_group & ~diagonal, float("-inf"))
        rows, columns = similarity.logsumexp(-1), similarity.logsumexp(-2)
    return ((rows + columns) / 2 - positive).mean(-1)


def has_negatives(groups: Tensor) -> Tensor:
    """Return whether a batch has anything to learn from, bool (...,): at least two groups among its rows (..., n)."""
    if groups.shape[-1] < 2:
        return torch.zeros(groups.shape[:-1], dtype=torch.bool)
    return (groups != groups[..., :1]).any(-1)
