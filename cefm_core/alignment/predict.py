"""From a checkpoint and embeddings to the rows of `predictions`."""

from __future__ import annotations

from typing import Any

import numpy as np

from cefm_core.alignment.checkpoint import TrainedAlignment
from cefm_core.alignment.conformal import Conformal
from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.explain import explain_clinical
from cefm_core.alignment.fusion import Blend
from cefm_core.alignment.models import LoadedModels, Prepared, forward_logits, load_models, prepare
from cefm_core.errors import ConfigurationError

NEEDS_CLINICAL = "clinical"


def predict(trained: TrainedAlignment, data: AlignmentData) -> list[dict[str, Any]]:
    """Predict every image, labelled or not, of whatever split.

    Args:
        trained: Checkpoint.
        data: Embeddings of the encoder the checkpoint was trained with, and measurements of the same profile.

    Returns:
        Rows of `predictions` in the order of ``data`` (lineage columns are the caller's to add).

    Raises:
        ConfigurationError: The embeddings or the measurements are not of the kind the checkpoint was trained on.
    """
    from cefm_core.alignment.encoder import one_thread

    _check_kind(trained.facts, data)
    with one_thread():
        models = load_models(trained)
        prepared = prepare(data, models.scales)
        columns = _columns(models, prepared)
        shifts = explain_clinical(models, data)
    sets = _conformal_sets(models.facts, columns)
    return [_row(data, columns, sets[i], models.facts, i) | shifts[i] for i in range(len(data.image_ids))]


def check_encoder(facts: dict[str, Any], encoder_sha256: str) -> None:
    """Refuse embeddings of another encoder than the checkpoint's.

    Raises:
        ConfigurationError: The digests differ.
    """
    if encoder_sha256 != facts["encoder_sha256"]:
        raise ConfigurationError(
            f"checkpoint: trained on embeddings of encoder {facts['encoder_sha256'][:12]}, these are of {encoder_sha256[:12]}; "
            "train again, or embed with the settings of the training run"
        )


def _check_kind(facts: dict[str, Any], data: AlignmentData) -> None:
    check_encoder(facts, data.encoder_sha256)
    if data.embeddings.shape[1] != facts["embedding_width"]:
        raise ConfigurationError(f"checkpoint: embeddings have length {data.embeddings.shape[1]}, trained with {facts['embedding_width']}")
    if list(data.clinical_names) != facts["clinical_names"]:
        raise ConfigurationError(f"checkpoint: trained on measurements {facts['clinical_names']}, these are {list(data.clinical_names)}")


def _columns(models: LoadedModels, prepared: Prepared) -> dict[str, np.ndarray]:
    """Return every numeric column, float64 (n,); NaN where a model has nothing to say."""
    n, facts = len(prepared.image_ids), models.facts
    columns = {"ood_score": models.novelty.scores(prepared.standardised), "measured": prepared.measured}
    names = ("p_image", "p_clinical", "p_linear", "p_melanoma", "p_low", "p_high")
    columns |= {name: np.full(n, np.nan) for name in names}
    if facts["chosen"] is None:
        return columns
    logits = forward_logits(models.network, models.linear, prepared, np.arange(n), facts["models"])
    for model in facts["models"]:
        columns[f"p_{model}"] = _probabilities(facts, model, logits, prepared.measured).mean(axis=0)
    by_seed = _probabilities(facts, facts["chosen"], logits, prepared.measured)
    without = _probabilities(facts, facts["chosen_without_measurements"], logits, prepared.measured)
    by_seed = np.where(np.isnan(by_seed), without, by_seed)
    return columns | {"p_melanoma": by_seed.mean(axis=0), "p_low": by_seed.min(axis=0), "p_high": by_seed.max(axis=0)}


def _probabilities(facts: dict[str, Any], name: str, logits: dict[str, np.ndarray], measured: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities (seeds, n); NaN where the blend needs measurements and there are none."""
    blend = Blend.from_facts(facts["blends"][name])
    values = 1 / (1 + np.exp(-blend.logits(logits)))
    return np.where(measured, values, np.nan) if NEEDS_CLINICAL in blend.models else values


def _conformal_sets(facts: dict[str, Any], columns: dict[str, np.ndarray]) -> list[list[str] | None]:
    """Return the classes each image may belong to, by the blend that predicted it; None where there are no sets."""
    sets: list[list[str] | None] = [None] * len(columns["p_melanoma"])
    for measured, name in ((True, facts["chosen"]), (False, facts.get("chosen_without_measurements"))):
        fitted = facts["conformal"].get(name)
        rows = np.flatnonzero((columns["measured"] == measured) & np.isfinite(columns["p_melanoma"]))
        if fitted is not None and len(rows):
            for row, found in zip(rows, Conformal.from_facts(fitted).sets(columns["p_melanoma"][rows]), strict=True):
                sets[row] = found
    return sets


def _abstain_reasons(p: dict[str, float | None], held: list[str] | None, novelty: float, threshold: float) -> list[str]:
    """Return why a prediction should not be relied on; empty where nothing speaks against it."""
    reasons = []
    low, high = p["p_low"], p["p_high"]
    if low is None or high is None:
        reasons.append("no_prediction")
    elif held is not None and len(held) != 1:
        reasons.append("undecided" if held else "unlike_both")
    if low is not None and high is not None and low < threshold <= high:
        reasons.append("seeds_disagree")
    if novelty > 1:
        reasons.append("out_of_distribution")
    return reasons


def _row(data: AlignmentData, columns: dict[str, np.ndarray], held: list[str] | None, facts: dict[str, Any], i: int) -> dict[str, Any]:
    p = {name: _number(values[i]) for name, values in columns.items() if name.startswith("p_")}
    novelty = float(columns["ood_score"][i])
    reasons = _abstain_reasons(p, held, novelty, facts["threshold"])
    reason = facts["classifier_reason"]
    if reason is None and not columns["measured"][i]:
        reason = "no_clinical_features"
    elif reason is None and NEEDS_CLINICAL not in facts["models"]:
        reason = "no_clinical_classifier"
    return {
        "image_id": data.image_ids[i],
        "split": data.split[i],
        "target": data.target[i],
        **p,
        "p_left_out": None,
        "left_out_reason": "not_asked",
        "nearest_cases": None,
        "nearest_cosines": None,
        "nearest_reason": "not_asked",
        "conformal_set": held,
        "conformal_reason": None if held is not None else "no_prediction" if p["p_melanoma"] is None else "too_few_tune_labels",
        "ood_score": novelty,
        "abstain": bool(reasons),
        "abstain_reasons": reasons,
        "reason": reason,
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(min(max(value, 0.0), 1.0))
