"""A second opinion on coarse masks: LiteMedSAM's frozen encoder under the shipped decoder, asked where the first network is unsure.

It costs some fifty times what the first network costs and errs elsewhere; the two logits are averaged. Importing this module does not
import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cefm_core.config import CoarseConfig
from cefm_core.digests import file_sha256
from cefm_core.segmentation import litemedsam_backend
from cefm_core.segmentation.weights_io import WEIGHTS_FOLDER, WeightsFacts, load_weights, resolve_weights

if TYPE_CHECKING:
    from cefm_core.segmentation.feature_decoder import FeatureDecoder, FeatureEncoder

BUILTIN = WEIGHTS_FOLDER / "litemedsam_decoder.safetensors"
SETTING = "coarse.second_weights"
FIRST_ALONE, BOTH = "ultralight_vmunet", "ultralight_vmunet+litemedsam_decoder"
_CERTAIN = 1e-4


def has_second(config: CoarseConfig) -> bool:
    """Return whether a second network is asked: ``auto`` means where its encoder is installed.

    Raises:
        ConfigurationError: ``litemedsam`` is named, and the package or its weights are missing.
    """
    if config.second == "auto":
        return litemedsam_backend.weights_path() is not None
    if config.second == "litemedsam":
        litemedsam_backend.check_weights()
    return config.second == "litemedsam"


def second_digests(config: CoarseConfig) -> dict[str, str]:
    """Return the SHA-256 of encoder and decoder, hex, by name, without importing torch; nothing where no second network is asked.

    Raises:
        ConfigurationError: A file is missing, a pickle, or not the published one.
    """
    if not has_second(config):
        return {}
    _, encoder = litemedsam_backend.check_weights()
    return {"litemedsam": encoder, "litemedsam_decoder": file_sha256(resolve_weights(config.second_weights, BUILTIN, SETTING))}


class SecondNetwork:
    """The loaded encoder and decoder; keep one per thread."""

    def __init__(self, encoder: FeatureEncoder, decoder: FeatureDecoder, facts: WeightsFacts, device: str) -> None:
        self._encoder, self._decoder, self._device = encoder, decoder, device
        self.facts = facts

    @classmethod
    def load(cls, config: CoarseConfig, device: str = "cpu") -> SecondNetwork:
        """Load encoder and decoder.

        Raises:
            ConfigurationError: Weights are missing, damaged, a pickle or of another network.
        """
        from cefm_core.segmentation.feature_decoder import FeatureDecoder, FeatureEncoder

        decoder = FeatureDecoder()
        facts = load_weights(resolve_weights(config.second_weights, BUILTIN, SETTING), decoder, SETTING)
        return cls(FeatureEncoder.load(device), decoder.eval().requires_grad_(False).to(device), facts, device)

    def logits(self, square: np.ndarray) -> np.ndarray:
        """Return lesion logits of one image, float32 of its size; ``square`` is uint8 (side, side, 3) in RGB."""
        import torch
        import torch.nn.functional as F

        from cefm_core.segmentation.feature_decoder import colour_input

        with torch.inference_mode():
            found: Any = self._decoder(self._encoder.encode(square), colour_input(square).to(self._device))
            found = F.interpolate(found, square.shape[:2], mode="bilinear", align_corners=False)
            logits: np.ndarray = found[0, 0].float().cpu().numpy()
        return logits


def averaged(probability: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the probability whose logit is the mean of a probability's logit and given logits; float32, 0..1.

    The first is limited to 0.0001..0.9999, so that it cannot outvote the second by being certain.
    """
    clipped = np.clip(probability, _CERTAIN, 1 - _CERTAIN)
    mean = (np.log(clipped / (1 - clipped)) + logits) / 2
    return np.asarray(1 / (1 + np.exp(-mean)), dtype=np.float32)
