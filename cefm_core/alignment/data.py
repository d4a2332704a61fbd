"""What training and prediction work on: embeddings and clinical measurements of the same images, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cefm_core.alignment.clinical_vector import clinical_matrix, clinical_names
from cefm_core.errors import ConfigurationError

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class AlignmentData:
    """Images in a fixed order, with everything that training may know about them.

    Attributes:
        image_ids: Images, n of them.
        embeddings: float32 (n, d), of one encoder.
        clinical: float64 (n, k), NaN where a measurement is missing.
        clinical_names: The k measurements.
        target: 1 melanoma, 0 nevus, None where neither or unknown; n of them.
        split: train, tune, val, test, external or None; n of them.
        group_id: Images with the same text show the same lesion or patient; None stands alone.
        source: Where an image comes from; not an input of any model.
        encoder_sha256: Digest of the encoder, "" where it is not known.
        random_weights: Whether the encoder had random weights.
    """

    image_ids: Sequence[str]
    embeddings: np.ndarray
    clinical: np.ndarray
    clinical_names: tuple[str, ...]
    target: Sequence[int | None]
    split: Sequence[str | None]
    group_id: Sequence[str | None]
    source: Sequence[str | None] = field(default=())
    encoder_sha256: str = ""
    random_weights: bool = False

    def __post_init__(self) -> None:
        n = len(self.image_ids)
        lengths = {
            "embeddings": len(self.embeddings),
            "clinical": len(self.clinical),
            "target": len(self.target),
            "split": len(self.split),
            "group_id": len(self.group_id),
        }
        wrong = [f"{name} has {length}" for name, length in lengths.items() if length != n]
        if wrong or self.clinical.shape[1:] != (len(self.clinical_names),):
            raise ValueError(f"{n} images, but {', '.join(wrong) or 'another number of clinical columns than names'}")

    @classmethod
    def from_rows(cls, manifest: Rows, embeddings: Rows, abc_features: Rows, profile: str) -> AlignmentData:
        """Join three tables on image_id; an image without a measurement keeps its place, with all of them missing.

        Args:
            manifest: Rows of `manifest`.
            embeddings: Rows of `embeddings`; they decide which images there are.
            abc_features: Rows of `abc_features`.
            profile: ``clinical`` or ``paper``.

        Raises:
            ConfigurationError: There is no embedding, or the embeddings are not all of one encoder and of finite numbers.
        """
        known = {str(row["image_id"]): row for row in manifest}
        vectors = sorted((row for row in embeddings if str(row["image_id"]) in known), key=lambda row: str(row["image_id"]))
        matrix = _one_encoder(vectors)
        measured = {str(row["image_id"]): row for row in abc_features}
        ids = [str(row["image_id"]) for row in vectors]
        return cls(
            image_ids=ids,
            embeddings=matrix,
            clinical=clinical_matrix([measured.get(i, {}) for i in ids], profile),
            clinical_names=clinical_names(profile),
            target=[_label(known[i].get("target")) for i in ids],
            split=[known[i].get("split") for i in ids],
            group_id=[known[i].get("group_id") for i in ids],
            source=[known[i].get("source") for i in ids],
            encoder_sha256=str(vectors[0]["encoder_sha256"]),
            random_weights=bool(vectors[0]["random_weights"]),
        )

    def rows_of(self, *splits: str) -> np.ndarray:
        """Return the indices of the images of these splits, int64."""
        return np.flatnonzero(np.isin(np.array([s or "" for s in self.split]), splits))

    def labels(self) -> np.ndarray:
        """Return the targets as int64 (n,), -1 where there is none."""
        return np.array([-1 if t is None else int(t) for t in self.target], np.int64)

    def group_codes(self) -> np.ndarray:
        """Return a number per group, int64 (n,); an image without a group is one of its own."""
        names = [f"g:{g}" if g is not None else f"i:{i}" for g, i in zip(self.group_id, self.image_ids, strict=True)]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    def measured(self) -> np.ndarray:
        """Return which images have at least one clinical measurement, bool (n,)."""
        return np.isfinite(self.clinical).any(axis=1)


def _label(value: Any) -> int | None:
    """Return 0, 1 or None (also for NaN, which a data frame makes of a null)."""
    return None if value is None or value != value else int(value)


def _one_encoder(rows: list[Mapping[str, Any]]) -> np.ndarray:
    """Stack the vectors, float32 (n, d), after checking that they can stand in one matrix."""
    if not rows:
        raise ConfigurationError("train_alignment: no image has both a manifest row and an embedding")
    encoders = sorted({str(row["encoder_sha256"]) for row in rows})
    if len(encoders) > 1:
        mixed = ", ".join(encoder[:12] for encoder in encoders)
        raise ConfigurationError(f"train_alignment: embeddings of {len(encoders)} encoders are mixed ({mixed})")
    lengths = sorted({len(row["vector"]) for row in rows})
    if len(lengths) > 1:
        raise ConfigurationError(f"train_alignment: embeddings have different lengths {lengths}")
    matrix = np.asarray([row["vector"] for row in rows], np.float32)
    bad = [str(rows[i]["image_id"]) for i in np.flatnonzero(~np.isfinite(matrix).all(axis=1))]
    if bad:
        raise ConfigurationError(f"train_alignment: embeddings of {len(bad)} images hold NaN or infinity: {', '.join(bad[:10])}")
    return matrix
