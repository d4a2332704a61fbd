"""Coarse lesion masks: the networks around one image, from pixels to a cleaned mask at the image's own size.

Every image passes the network by itself, so that its mask cannot depend on the images beside it; on a CPU a larger batch would not
be faster. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from cefm_core.config import CoarseConfig
from cefm_core.digests import file_sha256
from cefm_core.imaging.artefacts import vignette_mask
from cefm_core.segmentation.postprocess import CleanMask, clean_mask, touches_border
from cefm_core.segmentation.second_network import BOTH, FIRST_ALONE, SecondNetwork, averaged, has_second, second_digests
from cefm_core.segmentation.weights_io import WeightsFacts, load_weights, resolve_weights

if TYPE_CHECKING:
    from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet

Image = np.ndarray  # uint8 (H, W, 3), RGB
Probability = np.ndarray  # float32 (H, W), 0..1

SIDE_PX = 256
LOW_CONFIDENCE = 0.8
ON_VIGNETTE_SHARE = 0.01
FULL_FRAME_SHARE = 0.9


@dataclass(frozen=True)
class CoarseMask:
    """One image's coarse mask.

    Attributes:
        mask: bool (H, W), True inside the lesion.
        probability_mean: Mean lesion probability, 0..1.
        row: Row of the table ``coarse_masks`` without image id, mask key, reference scores and lineage.
    """

    mask: npt.NDArray[np.bool_]
    probability_mean: float
    row: dict[str, Any]


def weights_digests(config: CoarseConfig) -> dict[str, str]:
    """Return the SHA-256, hex, of the weights that :meth:`CoarseSegmenter.load` would use, by name, without importing torch.

    Raises:
        ConfigurationError: There is no such file, or it is a pickle.
    """
    return {"ultralight_vmunet": file_sha256(resolve_weights(config.weights))} | second_digests(config)


def deciding_settings(config: CoarseConfig) -> dict[str, Any]:
    """Return the settings that decide a mask besides the weights."""
    second = {"second_below"} if has_second(config) else set()
    named = config.model_dump(mode="json", exclude={"weights", "second", "second_weights", "second_below"})
    return named | config.model_dump(mode="json", include=second)


class CoarseSegmenter:
    """The loaded network with its settings; keep one per thread."""

    def __init__(
        self, network: UltraLightVMUNet, facts: WeightsFacts, config: CoarseConfig, device: str, second: SecondNetwork | None = None
    ) -> None:
        self._network, self.facts, self._config, self._device, self._second = network, facts, config, device, second

    @classmethod
    def load(cls, config: CoarseConfig, device: str = "cpu") -> CoarseSegmenter:
        """Load the weights named by the settings.

        Args:
            config: Settings of the stage.
            device: A torch device, e.g. ``cpu`` or ``cuda:0``.

        Raises:
            ConfigurationError: The weights are missing, damaged, a pickle or of another network.
        """
        import torch

        from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet

        network = UltraLightVMUNet()
        facts = load_weights(resolve_weights(config.weights), network)
        network = network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(network, facts, config, device, SecondNetwork.load(config, device) if has_second(config) else None)

    @property
    def weights(self) -> str:
        """The weights in use, for people: name and first digits of the digest of each."""
        return ", ".join(f"{name} {digest[:12]}" for name, digest in weights_digests(self._config).items())

    def segment(self, images: list[Image]) -> list[CoarseMask]:
        """Segment images, each by itself.

        Args:
            images: uint8 (H, W, 3) in RGB; sizes may differ.

        Returns:
            One mask an image, in order. An image of one colour has an empty mask and the flag ``constant_image``.
        """
        return [self._segment_one(rgb) for rgb in images]

    def probabilities(self, rgb: Image) -> Probability:
        """Return lesion probabilities at the network's size, float32 (256, 256), 0..1; 0 throughout for an image of one colour."""
        return self._infer(to_network_side(rgb))[0]

    def _segment_one(self, rgb: Image) -> CoarseMask:
        small = to_network_side(rgb)
        if int(small.max()) == int(small.min()):
            return _finish(np.zeros(small.shape[:2], np.float32), FIRST_ALONE, None, rgb.shape[:2], self._config, constant=True)
        probability, networks = self._infer(small)
        return _finish(probability, networks, vignette_mask(small), rgb.shape[:2], self._config, constant=False)

    def _infer(self, small: Image) -> tuple[Probability, str]:
        """Run the first network and, where it is unsure, the second, over four flips where the settings ask for it; say whose it is."""
        if int(small.max()) == int(small.min()):
            return np.zeros(small.shape[:2], np.float32), FIRST_ALONE
        first = self._over_flips(self._forward, small)
        sure = confidence(first, self._config.threshold)
        if self._second is None or (sure is not None and sure >= self._config.second_below):
            return first, FIRST_ALONE
        with _one_thread():
            both = averaged(first, self._over_flips(self._second.logits, small))
        # A second opinion may move an outline or name another lesion; it may not leave an image without one.
        return (both, BOTH) if bool((both >= self._config.threshold).any()) else (first, FIRST_ALONE)

    def _over_flips(self, run: Callable[[Image], Probability], small: Image) -> Probability:
        flips: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1)) if self._config.test_time_augmentation else ((),)
        total = np.zeros(small.shape[:2], np.float32)
        for axes in flips:
            total += np.flip(run(np.ascontiguousarray(np.flip(small, axes))), axes)
        return total / len(flips)

    def _forward(self, small: Image) -> Probability:
        import torch

        from cefm_core.segmentation.ultralight_vmunet import to_network_input

        pixels = torch.from_numpy(small).to(self._device).permute(2, 0, 1)[None]
        with torch.inference_mode(), _one_thread():
            found: Probability = self._network(to_network_input(pixels))[0, 0].cpu().numpy()
        return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch in one thread: sums split over threads round otherwise, and a mask must not depend on the machine's cores.

    The network is too small to gain from more; images side by side in several workers are how to use several cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def to_network_side(rgb: Image) -> Image:
    """Resize to the network's square: by area when shrinking, bilinear when enlarging either side."""
    shrinking = min(rgb.shape[:2]) >= SIDE_PX
    return cv2.resize(rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def confidence(probability: Probability, threshold: float) -> float | None:
    """Return the soft Dice between probabilities and the mask made of them: 2 sum(p m) / (sum p + sum m); None for an empty mask.

    It is the Dice to expect if the probabilities were calibrated and independent.
    """
    marked = probability >= threshold
    if not marked.any():
        return None
    inside = float(probability[marked].sum(dtype=np.float64))
    return 2 * inside / (float(probability.sum(dtype=np.float64)) + int(np.count_nonzero(marked)))


def _finish(
    probability: Probability,
    networks: str,
    vignette: npt.NDArray[np.bool_] | None,
    shape: tuple[int, ...],
    config: CoarseConfig,
    *,
    constant: bool,
) -> CoarseMask:
    """Bring probabilities to the image's size, apply the clean-up rule and describe the result."""
    height, width = shape[:2]
    marked = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR) >= config.threshold
    dark = None
    if vignette is not None and vignette.any():
        dark = cv2.resize(vignette.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
    clean = clean_mask(
        marked,
        dark,
        min_component_share=config.min_component_share,
        min_component_of_largest=config.min_component_of_largest,
        max_hole_share=config.max_hole_share,
    )
    certain = confidence(probability, config.threshold) if clean.components else None
    mean = float(probability.mean(dtype=np.float64))
    area = int(np.count_nonzero(clean.mask))
    row = {
        "networks": networks,
        "area_px": area,
        "area_share": area / clean.mask.size,
        "touches_border": touches_border(clean.mask),
        "components": clean.components,
        "components_removed": clean.components_removed,
        "removed_px": clean.removed_px,
        "filled_px": clean.filled_px,
        "vignette_removed_px": clean.vignette_removed_px,
        "probability_mean": mean,
        "confidence": certain,
        "confidence_reason": "empty_mask" if certain is None else None,
        "flags": sorted(_flags(clean, area, certain, constant)),
    }
    return CoarseMask(clean.mask, mean, row)


def _flags(clean: CleanMask, area: int, certain: float | None, constant: bool) -> list[str]:
    found = {
        "constant_image": constant,
        "empty_mask": area == 0,
        "holes_filled": clean.filled_px > 0,
        "low_confidence": certain is not None and certain < LOW_CONFIDENCE,
        "mask_on_vignette": clean.vignette_removed_px > ON_VIGNETTE_SHARE * max(area, 1),
        "multiple_lesions": clean.several,
        "nearly_full_frame": area > FULL_FRAME_SHARE * clean.mask.size,
        "specks_removed": clean.components_removed > 0,
    }
    return [name for name, applies in found.items() if applies]
