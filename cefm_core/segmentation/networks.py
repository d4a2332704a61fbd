"""The coarse networks by name: where each is built, and which weights are shipped with it. Importing this imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cefm_core.segmentation.coarse_network import CoarseNetwork

_WEIGHTS = Path(__file__).parent.parent / "weights"
_SHIPPED = {"ultralight": "ultralight_vmunet.safetensors", "lesion-vit": "lesion_vit.safetensors"}


def builtin_weights(network: str) -> Path:
    """Return the weight file shipped for a network, by the name that ``coarse.network`` has for it."""
    return _WEIGHTS / _SHIPPED[network]


def new_network(network: str) -> CoarseNetwork:
    """Return a network with untrained weights.

    Args:
        network: ``ultralight`` or ``lesion-vit``.

    Raises:
        ConfigurationError: The encoder that LesionViT stands on is not installed.
    """
    if network == "lesion-vit":
        from cefm_core.segmentation.lesion_vit import LesionViT

        return LesionViT()
    from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet

    return UltraLightVMUNet()
