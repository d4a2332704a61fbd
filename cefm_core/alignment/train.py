"""Training on cached embeddings: align the heads, fit classifiers and baseline, choose and calibrate on `tune`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cefm_core.alignment.balance import balance_weights
from cefm_core.alignment.checkpoint import TrainedAlignment, checkpoint_bytes, checkpoint_from_bytes
from cefm_core.alignment.clinical_vector import ClinicalScale
from cefm_core.alignment.conformal import fit_conformal
from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.embedding_scale import EmbeddingScale
from cefm_core.alignment.fusion import CANDIDATES, choose_blend, cross_fit, enough_labels, fit_blend, folds_of, operating_threshold
from cefm_core.alignment.linear import LinearEnsemble, fit_linear
from cefm_core.alignment.models import Prepared, Scales, forward_logits, network_tensors, prepare, project
from cefm_core.alignment.novelty import NoveltyModel, fit_novelty
from cefm_core.config import AlignmentConfig
from cefm_core.errors import ConfigurationError

__all__ = ["AlignmentData", "TrainedAlignment", "checkpoint_bytes", "checkpoint_from_bytes", "train_alignment"]

Progress = Callable[[dict[str, Any]], None]
MIN_PER_CLASS = 2


def train_alignment(data: AlignmentData, config: AlignmentConfig, progress: Progress | None = None) -> TrainedAlignment:
    """Train on the rows of split `train`; choose epochs, models and calibration on those of `tune`.

    The same data and settings give the same bytes on a CPU: training runs on one thread, under its own random state.

    Args:
        data: Embeddings and measurements; rows of other splits are not looked at.
        config: Settings of train_alignment.
        progress: Called after each epoch with phase, epoch and mean loss.

    Returns:
        Tensors, facts and log. Where train lacks labels of both classes there is no classifier and the facts say why
        (``classifier_reason``).

    Raises:
        ConfigurationError: Fewer than two training images of different groups have a measurement.
        CefmError: Training diverged, or too many batches had no pair to learn from.
    """
    import torch

    from cefm_core.alignment.encoder import one_thread

    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seeds[0])
        return _Training(data, config, progress).run()


@dataclass
class _Training:
    """One training run; its parts share data, settings and log."""

    data: AlignmentData
    config: AlignmentConfig
    progress: Progress | None

    def run(self) -> TrainedAlignment:
        from cefm_core.alignment.fit_heads import fit_heads
        from cefm_core.alignment.heads import AlignmentNetwork

        data, config = self.data, self.config
        train, tune = data.rows_of("train"), data.rows_of("tune")
        if not len(train):
            raise ConfigurationError("train_alignment: no image of split `train` has an embedding")
        _check_pairs(data, train)
        scales = _fit_scales(data, train, config)
        prepared = prepare(data, scales)
        pairs = {name: prepared.pairs(rows) for name, rows in (("train", train), ("tune", tune))}
        network = AlignmentNetwork(scales.embedding.width, scales.clinical.width, config.seeds)
        log = fit_heads(network, pairs["train"], pairs["tune"], config, self.progress)
        facts = self._facts(train, tune, pairs, scales)
        tensors = scales.tensors()
        log += self._classify(prepared, network, train, tune, facts, tensors)
        tensors |= network_tensors(network, facts["models"])
        tensors |= _novelty_tensors(fit_novelty(scales.embedding.components, prepared.standardised[train], prepared.standardised[tune]))
        facts["tensor_names"] = sorted(tensors)
        return TrainedAlignment(tensors, facts, log)

    def _facts(self, train: np.ndarray, tune: np.ndarray, pairs: dict[str, Any], scales: Scales) -> dict[str, Any]:
        data, labels = self.data, self.data.labels()
        counts = {
            name: {
                "images": len(rows),
                "pairs": len(pairs[name]),
                "melanoma": int((labels[rows] == 1).sum()),
                "nevus": int((labels[rows] == 0).sum()),
            }
            for name, rows in (("train", train), ("tune", tune))
        }
        return {
            "profile": self.config.profile,
            "settings": self.config.model_dump(mode="json"),
            "seeds": list(self.config.seeds),
            "encoder_sha256": data.encoder_sha256,
            "random_weights": data.random_weights,
            "embedding_width": int(data.embeddings.shape[1]),
            "components": scales.embedding.kept,
            "clinical_names": list(data.clinical_names),
            "clinical_width": scales.clinical.width,
            "clinical_indicators": [data.clinical_names[i] for i in scales.clinical.indicator],
            "counts": counts,
            "classifier_reason": _why_no_classifier(labels[train]),
            "models": [],
            "blends": {},
            "candidate_log_loss": {},
            "chosen": None,
            "threshold": 0.5,
            "conformal": {},
        }

    def _classify(
        self, prepared: Prepared, network: Any, train: np.ndarray, tune: np.ndarray, facts: dict[str, Any], tensors: dict[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        """Fit every model of melanoma, choose among them, calibrate; returns log rows."""
        if facts["classifier_reason"] is not None:
            return []
        import torch

        from cefm_core.alignment.fit_heads import fit_classifier

        config, labels, log = self.config, self.data.labels(), []
        facts["models"] = ["linear", "image"]
        for model, classifier in (("image", network.image_classifier), ("clinical", network.clinical_classifier)):
            usable = np.ones(len(labels), np.bool_) if model == "image" else prepared.measured
            fit_rows, tune_rows = (rows[(labels[rows] >= 0) & usable[rows]] for rows in (train, tune))
            if _why_no_classifier(labels[fit_rows]) is not None:
                continue
            facts["models"] = sorted({*facts["models"], model})
            parts = [project(network, prepared, model, rows) for rows in (fit_rows, tune_rows)]
            weights = torch.from_numpy(self._weights(fit_rows)).float()
            log += fit_classifier(classifier, model, parts[0], weights, parts[1], config, self.progress)
        rows = [rows[labels[rows] >= 0] for rows in (train, tune)]
        sets = [(prepared.embeddings[r], labels[r]) for r in rows]
        linear, linear_log = fit_linear(sets[0], self._weights(rows[0]), prepared.groups[rows[0]], sets[1], config.seeds)
        tensors |= {"linear.weight": linear.weight, "linear.bias": linear.bias}
        facts["linear_strength"] = linear.strength
        return log + linear_log + self._blend(prepared, network, linear, rows[1], facts)

    def _weights(self, rows: np.ndarray) -> np.ndarray:
        source = self.data.source or [None] * len(self.data.image_ids)
        return balance_weights(self.data.labels()[rows], [source[i] for i in rows], self.config.balance)

    def _blend(
        self, prepared: Prepared, network: Any, linear: LinearEnsemble, tune: np.ndarray, facts: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Choose and calibrate on the labelled, measured rows of tune."""
        labels = self.data.labels()
        by_seed = forward_logits(network, linear, prepared, tune, facts["models"])
        logits = {name: values.mean(axis=0) for name, values in by_seed.items()}
        paired = prepared.measured[tune] if "clinical" in facts["models"] else np.ones(len(tune), np.bool_)
        inside = {name: values[paired] for name, values in logits.items()}
        chosen, losses = choose_blend(inside, labels[tune][paired], prepared.groups[tune][paired])
        possible = {name: models for name, models in CANDIDATES.items() if set(models) <= set(inside)}
        blends = {name: fit_blend(models, inside, labels[tune][paired]) for name, models in possible.items()}
        # Where the measurements are missing the image has to do: the better of the two models that need none.
        without = min((name for name in ("linear", "image") if name in blends), key=lambda name: losses.get(name, 0.0))
        blended = 1 / (1 + np.exp(-blends[chosen].logits(inside)))
        facts |= {
            "chosen": chosen,
            "chosen_without_measurements": without,
            "blends": {name: blend.as_facts() for name, blend in blends.items()},
            "candidate_log_loss": losses,
            "threshold": operating_threshold(blended, labels[tune][paired]),
            "conformal": {
                name: self._conformal(CANDIDATES[name], {m: v[:, paired] for m, v in by_seed.items()}, tune[paired], prepared)
                for name in {chosen, without}
            },
        }
        reason = None if enough_labels(labels[tune][paired]) else "too_few_tune_labels"
        row = {"phase": "fusion", "epoch": 1, "loss": None, "seed": self.config.seeds[0], "skipped_batches": 0}
        reason = reason or "fitted_in_one_go"
        return [{**row, "model": n, "tune_loss": losses.get(n), "kept": n == chosen, "reason": reason} for n in sorted(blends)]

    def _conformal(self, models: tuple[str, ...], by_seed: dict[str, np.ndarray], tune: np.ndarray, prepared: Prepared) -> Any:
        """Calibrate prediction sets on tune by blends that did not see the image they judge; None where tune is too small."""
        labels = self.data.labels()[tune]
        if not enough_labels(labels):
            return None
        logits = cross_fit(models, by_seed, labels, folds_of(prepared.groups[tune]))
        conformal = fit_conformal((1 / (1 + np.exp(-logits))).mean(axis=0), labels, self.config.coverage)
        return None if conformal is None else conformal.as_facts()


def _check_pairs(data: AlignmentData, train: np.ndarray) -> None:
    """Raise ConfigurationError unless at least two groups of training images have a measurement."""
    measured = train[data.measured()[train]]
    if len(np.unique(data.group_codes()[measured])) < 2:
        raise ConfigurationError(
            f"train_alignment: {len(measured)} training images of fewer than two groups have a measurement; "
            "alignment needs at least two lesions"
        )


def _why_no_classifier(labels: np.ndarray) -> str | None:
    """Return why no classifier can be trained on these labels (-1 = none), or None."""
    counts = np.bincount(labels[labels >= 0], minlength=2)
    if counts.min() == 0:
        return "no_classifier_single_class"
    return "no_classifier_too_few_labels" if counts.min() < MIN_PER_CLASS else None


def _fit_scales(data: AlignmentData, train: np.ndarray, config: AlignmentConfig) -> Scales:
    """Fit the scales of embeddings and measurements on training rows."""
    measured = train[data.measured()[train]]
    return Scales(
        EmbeddingScale.fit(data.embeddings[train], config.components), ClinicalScale.fit(data.clinical[measured], config.standardise)
    )


def _novelty_tensors(model: NoveltyModel) -> dict[str, np.ndarray]:
    return {
        "novelty.variance": model.variance,
        "novelty.residual_limit": np.array([model.residual, model.limit]),
    }
