"""The trained models at work: scaled inputs in, logits out; the same code after training and after loading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cefm_core.alignment.checkpoint import TrainedAlignment
from cefm_core.alignment.clinical_vector import ClinicalScale
from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.embedding_scale import EmbeddingScale
from cefm_core.alignment.linear import LinearEnsemble
from cefm_core.alignment.novelty import NoveltyModel
from cefm_core.errors import ConfigurationError

if TYPE_CHECKING:
    from cefm_core.alignment.fit_heads import Pairs
    from cefm_core.alignment.heads import AlignmentNetwork

_PREFIX = "network."
_CLINICAL = ("median", "mean", "std", "indicator")


@dataclass(frozen=True)
class Prepared:
    """Data on the models' scales.

    Attributes:
        image_ids: n images.
        standardised: float64 (n, d), standardised embeddings.
        embeddings: float32 (n, w), what enters the models.
        clinical: float32 (n, k), clinical vectors.
        measured: bool (n,), whether any measurement is there.
        groups: int64 (n,).
        labels: int64 (n,), -1 where there is none.
    """

    image_ids: Sequence[str]
    standardised: np.ndarray
    embeddings: np.ndarray
    clinical: np.ndarray
    measured: np.ndarray
    groups: np.ndarray
    labels: np.ndarray

    def pairs(self, rows: np.ndarray) -> Pairs:
        """Return the measured ones of these rows as training pairs."""
        import torch

        from cefm_core.alignment.fit_heads import Pairs

        rows = rows[self.measured[rows]]
        images, clinical = torch.from_numpy(self.embeddings[rows]), torch.from_numpy(self.clinical[rows])
        return Pairs([self.image_ids[i] for i in rows], images, clinical, torch.from_numpy(self.groups[rows]))


@dataclass(frozen=True)
class Scales:
    """The scales of embeddings and measurements."""

    embedding: EmbeddingScale
    clinical: ClinicalScale

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays that a checkpoint keeps."""
        return self.embedding.tensors() | {f"clinical.{name}": getattr(self.clinical, name) for name in _CLINICAL}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> Scales:
        """Inverse of :meth:`tensors`."""
        return cls(EmbeddingScale.from_tensors(tensors), ClinicalScale(*(tensors[f"clinical.{name}"] for name in _CLINICAL)))


def prepare(data: AlignmentData, scales: Scales) -> Prepared:
    """Put data on scales."""
    standardised = scales.embedding.standardise(data.embeddings)
    reduced, clinical = scales.embedding.reduce(standardised), scales.clinical.transform(data.clinical)
    return Prepared(data.image_ids, standardised, reduced, clinical, data.measured(), data.group_codes(), data.labels())


def project(network: AlignmentNetwork, prepared: Prepared, model: str, rows: np.ndarray) -> tuple[Any, Any]:
    """Return projections (seeds, n, 128) by the head of ``image`` or ``clinical``, and labels (n,), as tensors."""
    import torch

    from cefm_core.alignment.heads import apply_all

    head, inputs = (network.image_head, prepared.embeddings) if model == "image" else (network.clinical_head, prepared.clinical)
    projected = apply_all(head, torch.from_numpy(inputs[rows]), len(head.first.weight))
    return projected, torch.from_numpy(prepared.labels[rows])


def forward_logits(
    network: AlignmentNetwork, linear: LinearEnsemble, prepared: Prepared, rows: np.ndarray, models: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the logit of melanoma by each model, float64 (seeds, n)."""
    from cefm_core.alignment.heads import apply_all

    logits = {}
    for model, classifier in (("image", network.image_classifier), ("clinical", network.clinical_classifier)):
        if model in models:
            projected, _ = project(network, prepared, model, rows)
            both = apply_all(classifier, projected, projected.shape[0]).double().numpy()
            logits[model] = both[..., 1] - both[..., 0]
    if "linear" in models:
        logits["linear"] = linear.logits(prepared.embeddings[rows])
    return logits


def network_tensors(network: AlignmentNetwork, models: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the network's tensors for the checkpoint, without classifiers that were never trained."""
    untrained = tuple(f"{model}_classifier." for model in ("image", "clinical") if model not in models)
    kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(untrained)}
    return {f"{_PREFIX}{name}": tensor.numpy() for name, tensor in kept.items()}


@dataclass(frozen=True)
class LoadedModels:
    """A checkpoint ready to predict."""

    network: AlignmentNetwork
    linear: LinearEnsemble
    novelty: NoveltyModel
    scales: Scales
    facts: dict[str, Any]


def load_models(trained: TrainedAlignment) -> LoadedModels:
    """Build the models of a checkpoint.

    Raises:
        ConfigurationError: A tensor does not fit the architecture that the facts describe.
    """
    import torch

    from cefm_core.alignment.heads import AlignmentNetwork

    facts, tensors = trained.facts, trained.tensors
    scales = Scales.from_tensors(tensors)
    with torch.random.fork_rng(devices=[]):
        network = AlignmentNetwork(scales.embedding.width, scales.clinical.width, facts["seeds"])
    state = {name.removeprefix(_PREFIX): torch.from_numpy(array.copy()) for name, array in tensors.items() if name.startswith(_PREFIX)}
    untrained = {f"{model}_classifier" for model in ("image", "clinical") if model not in facts["models"]}
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ConfigurationError(f"checkpoint: {error}") from error
    lost = [name for name in missing if name.split(".")[0] not in untrained]
    if lost or unexpected:
        raise ConfigurationError(f"checkpoint: missing tensors {lost}, unexpected tensors {list(unexpected)}")
    none = np.zeros((len(facts["seeds"]), scales.embedding.width)), np.zeros(len(facts["seeds"]))
    weight, bias = (tensors["linear.weight"], tensors["linear.bias"]) if "linear" in facts["models"] else none
    variance, (residual, limit) = tensors["novelty.variance"], tensors["novelty.residual_limit"]
    return LoadedModels(
        network.eval(),
        LinearEnsemble(weight, bias, facts.get("linear_strength", 0.0)),
        NoveltyModel(scales.embedding.components[: len(variance)], variance, float(residual), float(limit)),
        scales,
        facts,
    )
