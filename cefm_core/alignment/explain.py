"""Which of asymmetry, border, colour and structures moves the clinical score, and by how much: exact Shapley values.

The four are players; the sixteen coalitions of them are all computed, so nothing is sampled or approximated (Shapley 1953; Lundberg and
Lee 2017). A player that is out has the measurements of a reference lesion, the median of the training images; one of which a profile holds
no measurement adds 0. The total score, which holds the first three, is computed anew for every coalition.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np

from cefm_core.abc_features.tds import WEIGHTS
from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.fusion import Blend
from cefm_core.alignment.models import LoadedModels, Scales

PLAYERS = ("asymmetry", "border", "colour", "structure")
_PREFIXES = {
    "asymmetry": ("asymmetry_", "a_grey"),
    "border": ("border_", "b2_"),
    "colour": ("colour_", "hue_", "saturation_", "value_"),
    "structure": ("structure_", "structureless_"),
}
TOTAL = "tds_without_structures"
_PARTS = ("asymmetry_score", "border_score", "colour_count")


def player_of(measurement: str) -> str | None:
    """Return whose a measurement is; None for the total, which is everyone's."""
    return next((player for player, prefixes in _PREFIXES.items() if measurement.startswith(prefixes)), None)


def shapley_values(values: dict[frozenset[str], np.ndarray]) -> dict[str, np.ndarray]:
    """Return each player's Shapley value from the worth of every coalition; together they are the whole less the empty one."""
    players = sorted(set().union(*values))
    n = len(players)
    shares = {}
    for player in players:
        others = [p for p in players if p != player]
        share = np.zeros_like(values[frozenset()])
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for chosen in combinations(others, size):
                without = frozenset(chosen)
                share = share + weight * (values[without | {player}] - values[without])
        shares[player] = share
    return shares


def coalition(clinical: np.ndarray, names: tuple[str, ...], reference: np.ndarray, inside: frozenset[str]) -> np.ndarray:
    """Return measurements (n, k) in which only the players ``inside`` keep their own values.

    Args:
        clinical: float64 (n, k), NaN where missing.
        names: The k measurements.
        reference: float64 (k,), of the reference lesion.
        inside: Players that keep theirs.
    """
    if inside == frozenset(PLAYERS):
        return clinical
    owned = np.array([player_of(name) in inside for name in names])
    mixed = np.where(owned, clinical, reference)
    if TOTAL in names:
        total = sum(WEIGHTS[part] * mixed[:, names.index(part)] for part in _PARTS)
        mixed[:, names.index(TOTAL)] = total
    return mixed


def explain_clinical(models: LoadedModels, data: AlignmentData) -> list[dict[str, Any]]:
    """Explain the clinical score of every image.

    Args:
        models: Loaded checkpoint.
        data: Measurements of the profile it was trained on.

    Returns:
        Columns of `predictions`, one dict an image: ``shift_asymmetry``, ``shift_border``, ``shift_colour``, ``shift_structure`` (log odds,
        natural units) and ``clinical_reference_log_odds``; their sum is the log odds of the clinical model, mean over seeds. All None
        where it has no prediction.
    """
    names = [f"shift_{player}" for player in PLAYERS]
    nothing: dict[str, Any] = dict.fromkeys((*names, "clinical_reference_log_odds"))
    measured = data.measured()
    if "clinical" not in models.facts["blends"] or not measured.any():
        return [dict(nothing) for _ in data.image_ids]
    rows = np.flatnonzero(measured)
    found = _shifts(models, data.clinical[rows], data.clinical_names)
    result = [dict(nothing) for _ in data.image_ids]
    for position, row in enumerate(rows):
        result[row] = {name: float(values[position]) for name, values in found.items()}
    return result


def _shifts(models: LoadedModels, clinical: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    reference = models.scales.clinical.median
    subsets = [frozenset(chosen) for size in range(len(PLAYERS) + 1) for chosen in combinations(PLAYERS, size)]
    worth = {inside: _log_odds(models, coalition(clinical, names, reference, inside)) for inside in subsets}
    shares = shapley_values(worth)
    return {f"shift_{player}": shares[player] for player in PLAYERS} | {"clinical_reference_log_odds": worth[frozenset()]}


def _log_odds(models: LoadedModels, clinical: np.ndarray) -> np.ndarray:
    """Return the calibrated log odds of the clinical model, mean over seeds, float64 (n,)."""
    import torch

    from cefm_core.alignment.heads import apply_all

    scales: Scales = models.scales
    seeds = len(models.facts["seeds"])
    projected = apply_all(models.network.clinical_head, torch.from_numpy(scales.clinical.transform(clinical)), seeds)
    both = apply_all(models.network.clinical_classifier, projected, seeds).double().numpy()
    return Blend.from_facts(models.facts["blends"]["clinical"]).logits({"clinical": both[..., 1] - both[..., 0]}).mean(axis=0)
