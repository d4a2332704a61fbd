"""BERTScore: how near two texts are in the contextual embeddings of a language model (Zhang and others, 2020; no idf weights, no baseline).

Nearness to a reference text says nothing of truth: a report with a flipped level scores almost as high as the right one. It stands beside
the checker's scores because the literature reports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cefm_core.errors import ConfigurationError


class BertScorer:
    """A language model from a local folder; make one with :meth:`load`."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self._tokenizer, self._model = tokenizer, model

    @classmethod
    def load(cls, folder: Path) -> BertScorer:
        """Load model and tokenizer, from the folder alone and without running any code in it.

        Args:
            folder: As ``transformers`` saves a model: ``config.json``, ``model.safetensors`` and the tokenizer's files.

        Raises:
            ConfigurationError: The package ``transformers`` is missing, or the folder holds no model it can read.
        """
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise ConfigurationError("BERTScore needs the package transformers: pip install 'cefm[bertscore]'") from error
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(f"BERTScore: {folder} holds no model with safetensors weights and tokenizer ({reason})") from error
        return cls(tokenizer, model)

    def f1(self, candidate: str, reference: str) -> float:
        """Return F1 of precision (each word of the candidate with its nearest of the reference) and recall (the other way round).

        Args:
            candidate: The text to be judged.
            reference: The text to compare with. Both are cut to what the model can read.

        Returns:
            -1..1; 1 for equal texts, 0 where one of them is empty.
        """
        ours, theirs = self._embed(candidate), self._embed(reference)
        if not len(ours) or not len(theirs):
            return 0.0
        cosines = ours @ theirs.T
        precision, recall = float(cosines.max(axis=1).mean()), float(cosines.max(axis=0).mean())
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def _embed(self, text: str) -> np.ndarray:
        """Return the unit vectors of a text's tokens, float32 (n, d); marks of beginning and end are left out."""
        import torch

        longest = min(self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", 512))
        tokens = self._tokenizer(text, return_tensors="pt", truncation=True, max_length=longest, return_special_tokens_mask=True)
        special = tokens.pop("special_tokens_mask")[0].bool().numpy()
        with torch.inference_mode():
            vectors = self._model(**tokens).last_hidden_state[0].float().numpy()[~special]
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))
