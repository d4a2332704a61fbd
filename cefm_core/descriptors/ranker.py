"""open_clip gives every phrase of the vocabulary a score for an image.

Only what needs the network belongs here; which file is loaded is decided in ``weights``, which phrases exist in ``vocabulary``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cefm_core.config import DescriptorConfig
from cefm_core.descriptors.reference import check_reference
from cefm_core.descriptors.vocabulary import VERSION, load_prompts, scored_by
from cefm_core.descriptors.weights import ResolvedWeights, resolve_weights
from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError

LOGGER = logging.getLogger(__name__)
SCORE_DECIMALS = 5
"""Stored rounding of cosines: well above float32 noise, so that thread count does not decide a stored digit."""


class DescriptorRanker:
    """A loaded descriptor model with the vocabulary already embedded.

    Use :meth:`load`; the constructor is for parts that exist already.
    """

    def __init__(
        self, model: Any, preprocess: Callable[[Any], Any], text: np.ndarray, config: DescriptorConfig, facts: dict[str, Any]
    ) -> None:
        self._model = model
        self._preprocess = preprocess
        self._text = text
        self._config = config
        self.facts = facts

    @classmethod
    def load(cls, config: DescriptorConfig, device: str = "cpu") -> DescriptorRanker:
        """Load the model, embed the vocabulary once, and compare with the reference embedding where one is stored.

        Args:
            config: Model, weights and activation.
            device: torch device.

        Raises:
            ConfigurationError: The weights cannot be used (see ``resolve_weights``), do not fit the model, the model needs a
                tokenizer from a hub, or the embeddings are not those of the stored reference.
        """
        resolved = resolve_weights(config)
        model, preprocess = _load_model(config, resolved, device)
        text = _embed_vocabulary(model, _tokenizer(config), device)
        facts = {
            "model": config.model,
            "activation": "quickgelu" if resolved.quick_gelu else "gelu",
            "weights_sha256": file_sha256(resolved.path),
            "vocabulary_version": VERSION,
            "preprocess": dict(sorted(model.visual.preprocess_cfg.items())),
        }
        ranker = cls(model, preprocess, text, config, facts)
        check_reference(resolved.path, ranker.embed, text, facts)
        return ranker

    def embed(self, rgb: np.ndarray) -> np.ndarray:
        """Return the unit-length embedding of one image; uint8 (H, W, 3) to float32 (d,)."""
        import torch
        from PIL import Image

        device = next(self._model.parameters()).device
        with torch.inference_mode():
            pixels = self._preprocess(Image.fromarray(rgb)).unsqueeze(0).to(device)
            vector = self._model.encode_image(pixels, normalize=True)
        return vector[0].float().cpu().numpy()

    def score(self, rgb: np.ndarray) -> np.ndarray:
        """Return the cosine of one image with every phrase, in the order of the vocabulary; (phrases,)."""
        return np.round(self._text @ self.embed(rgb), SCORE_DECIMALS).astype(np.float64)

    def rank(self, images: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Rank the vocabulary for each image.

        Images go through the network one by one: the row of an image does not depend on its batch mates.

        Args:
            images: uint8 (H, W, 3) each.

        Returns:
            One row of the ``descriptors`` table an image, without the columns that the row driver fills.
        """
        return [self._row(self.score(rgb)) for rgb in images]

    def _row(self, cosines: np.ndarray) -> dict[str, Any]:
        ranked = rank_scores(cosines, self._config.top_k)
        return {
            "phrases": [phrase for phrase, _ in ranked],
            "scores": [score for _, score in ranked],
            "vocabulary_scores": cosines.tolist(),
            "vocabulary_version": VERSION,
            "scorer": "clip",
            "model": f"{self.facts['model']} ({self.facts['activation']})",
            "weights_sha256": self.facts["weights_sha256"],
            "reason": None,
        }


def rank_scores(cosines: np.ndarray, top_k: int) -> list[tuple[str, float]]:
    """Choose the best phrases: by score, ties by vocabulary order, none that contradicts a better one or may not be reported.

    Args:
        cosines: Cosine with every phrase, in the order of the vocabulary.
        top_k: Most phrases returned.

    Returns:
        Phrase and score (cosine less the mean over the vocabulary), best first.
    """
    centred = np.round(cosines - cosines.mean(), SCORE_DECIMALS)
    vocabulary = scored_by("clip")
    chosen: list[tuple[str, float]] = []
    excluded: set[str] = set()
    for index in sorted(range(len(vocabulary)), key=lambda i: (-centred[i], i)):
        entry = vocabulary[index]
        if entry.reportable and entry.phrase not in excluded:
            chosen.append((entry.phrase, float(centred[index])))
            excluded.update(entry.contradicts, (other.phrase for other in vocabulary if entry.phrase in other.contradicts))
        if len(chosen) == top_k:
            break
    return chosen


def _load_model(config: DescriptorConfig, resolved: ResolvedWeights, device: str) -> tuple[Any, Callable[[Any], Any]]:
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    _require_plain_tokenizer(config)
    try:
        model = open_clip.create_model(
            config.model,
            pretrained=str(resolved.path.resolve()),
            device=device,
            force_preprocess_cfg=dict(resolved.preprocess) or None,
            pretrained_text=False,
            require_pretrained=True,
            quick_gelu=resolved.quick_gelu,
        )
    except Exception as error:
        raise ConfigurationError(f"descriptors.weights: {_brief(resolved.path, config.model, error)}") from error
    model.eval().requires_grad_(False)
    return model, image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)


def _brief(path: Path, model: str, error: Exception) -> str:
    """Say in one line why a checkpoint was refused."""
    first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return f"{path.name} is not a checkpoint of {model}: {first}"


def _require_plain_tokenizer(config: DescriptorConfig) -> None:
    """Refuse models whose tokenizer or text tower would be fetched from a hub."""
    import open_clip

    own = open_clip.get_model_config(config.model)
    if own is None:
        raise ConfigurationError(f"descriptors.model: open_clip has no model {config.model!r}")
    text = own.get("text_cfg", {})
    if text.get("hf_tokenizer_name") or text.get("hf_model_name") or "siglip" in config.model.lower():
        raise ConfigurationError(f"descriptors.model: {config.model} needs a tokenizer from a hub; use a model with the CLIP tokenizer")


def _tokenizer(config: DescriptorConfig) -> Callable[[list[str]], Any]:
    import open_clip

    return open_clip.get_tokenizer(config.model)


def _embed_vocabulary(model: Any, tokenizer: Callable[[list[str]], Any], device: str) -> np.ndarray:
    """Embed every phrase as the unit-length mean of its prompts' unit-length embeddings; float32 (phrases, d)."""
    import torch

    prompts = load_prompts()
    rows = []
    with torch.inference_mode():
        for entry in scored_by("clip"):
            tokens = tokenizer([prompt.format(phrase=entry.phrase) for prompt in prompts]).to(device)
            mean = model.encode_text(tokens, normalize=True).float().mean(dim=0)
            rows.append((mean / mean.norm()).cpu().numpy())
    return np.stack(rows)
