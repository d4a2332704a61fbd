"""Which classes an image may belong to, at a stated coverage: split conformal prediction, class by class.

An image's set holds a class unless that class's probability is lower than for almost all images of the class that the models were
not fitted on (Vovk, Gammerman and Shafer 2005, Mondrian by label). For images exchangeable with those, the set misses the true class in at
most 1 - coverage of the nevi, and of the melanomas. A set of both classes, or of none, is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CLASSES = ("nevus", "melanoma")


@dataclass(frozen=True)
class Conformal:
    """What the sets are measured against.

    Attributes:
        coverage: Least share of each class whose set shall hold it, 0..1.
        scores: For nevus and melanoma, one less the probability of the class, of the images of it that calibrate, rising.
    """

    coverage: float
    scores: tuple[np.ndarray, np.ndarray]

    def p_values(self, probability: np.ndarray) -> np.ndarray:
        """Return, for nevus and melanoma, the share of calibrating images that fit their class no better, float64 (2, n)."""
        strange = (probability, 1 - probability)
        counts = [len(s) - np.searchsorted(s, values, side="left") for s, values in zip(self.scores, strange, strict=True)]
        return np.stack([(count + 1) / (len(s) + 1) for count, s in zip(counts, self.scores, strict=True)])

    def sets(self, probability: np.ndarray) -> list[list[str]]:
        """Return the classes that each image may belong to, for probabilities of melanoma (n,)."""
        held = self.p_values(probability) > 1 - self.coverage
        return [[name for name, inside in zip(CLASSES, row, strict=True) if inside] for row in held.T]

    def as_facts(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"coverage": self.coverage, "scores": [values.tolist() for values in self.scores]}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Conformal:
        """Inverse of :meth:`as_facts`."""
        nevus, melanoma = (np.asarray(values, np.float64) for values in facts["scores"])
        return cls(facts["coverage"], (nevus, melanoma))


def fit_conformal(probability: np.ndarray, labels: np.ndarray, coverage: float) -> Conformal | None:
    """Calibrate on images that decided neither the models nor the probabilities given here.

    Args:
        probability: float64 (n,), of melanoma.
        labels: int (n,), 0 nevus, 1 melanoma.
        coverage: Coverage asked for.

    Returns:
        None where a class has too few images to ever leave it out at that coverage.
    """
    needed = int(np.ceil(1 / (1 - coverage))) - 1
    if np.bincount(labels, minlength=2).min() < needed:
        return None
    return Conformal(coverage, (np.sort(probability[labels == 0]), np.sort(1 - probability[labels == 1])))
