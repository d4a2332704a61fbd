"""Training of the decoder on stored features; the loop is in ``training_state``.

Features are computed once: encoding costs twenty times what a step of the decoder does. Their mirror images stand for the features of the
mirrored image, which the encoder gives nearly, not exactly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cefm_core.segmentation.feature_decoder import CELLS, COLOUR_SIDE_PX, FEATURE_CHANNELS, FeatureDecoder, FeatureEncoder
from cefm_core.segmentation.training import bce_dice_loss
from cefm_core.segmentation.training_data import TrainingRow
from cefm_core.segmentation.training_state import Recipe, Trained, TrainingState, Weights, draw_chances, run_training

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecoderRecipe(Recipe):
    """Everything that decides the trained decoder besides the data.

    Attributes:
        feature_noise: Standard deviation of the noise added to the features, in theirs.
    """

    steps: int = 2400
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 2e-2
    average_decay: float = 0.995
    tune_every: int = 200
    source_weights: Weights = (("ISIC_UDA1_native", 2.0), ("ISIC2017_256", 2.0), ("ISIC2018_task1_512crop", 1.5))
    feature_noise: float = 0.1


@dataclass
class DecoderData:
    """Images as the decoder sees them.

    Attributes:
        features: float16 (n, 256, 48, 48); may be a memory map.
        images: uint8 (n, 256, 256, 3).
        masks: uint8 (n, 256, 256), covered share as 0..255.
    """

    features: npt.NDArray[np.float16]
    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]

    def colours(self, picks: npt.NDArray[np.int64]) -> Tensor:
        """Return the images at the decoder's last resolution, float32 (n, 3, 96, 96), -1..1."""
        small = [cv2.resize(self.images[i], (COLOUR_SIDE_PX, COLOUR_SIDE_PX), interpolation=cv2.INTER_AREA) for i in picks]
        return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1

    def targets(self, picks: npt.NDArray[np.int64]) -> Tensor:
        """Return the masks at that resolution, float32 (n, 1, 96, 96), covered share 0..1."""
        small = [cv2.resize(self.masks[i], (COLOUR_SIDE_PX, COLOUR_SIDE_PX), interpolation=cv2.INTER_AREA) for i in picks]
        return torch.from_numpy(np.stack(small))[:, None].float() / 255

    def encoded(self, picks: npt.NDArray[np.int64]) -> Tensor:
        """Return the features, float32 (n, 256, 48, 48)."""
        return torch.from_numpy(np.stack([self.features[i] for i in picks])).float()


def encode_images(images: npt.NDArray[np.uint8], path: Path, device: str = "cpu") -> npt.NDArray[np.float16]:
    """Encode images into a file, or go on where an earlier call was cut off.

    Args:
        images: uint8 (n, 256, 256, 3).
        path: The ``.npy`` file; beside it ``.done`` counts the images it holds.
        device: torch device.

    Returns:
        float16 (n, 256, 48, 48), memory-mapped.
    """
    shape = (len(images), FEATURE_CHANNELS, CELLS, CELLS)
    counter = path.with_suffix(".done")
    fresh = not path.exists() or not counter.exists()
    features = np.lib.format.open_memmap(path, "w+" if fresh else "r+", dtype=np.float16, shape=shape if fresh else None)
    if features.shape != shape:
        raise ValueError(f"{path} holds the features of {features.shape[0]} other images; remove it")
    done = 0 if fresh else int(counter.read_text())
    encoder = FeatureEncoder.load(device) if done < len(images) else None
    while encoder is not None and done < len(images):
        for index in range(done, min(done + 100, len(images))):
            features[index] = encoder.encode(images[index])[0].cpu().half().numpy()
        done = min(done + 100, len(images))
        features.flush()
        counter.write_text(str(done))
        log.info("encoded %d of %d images", done, len(images))
    return features


def train_decoder(
    data: DecoderData,
    rows: list[TrainingRow],
    recipe: DecoderRecipe,
    *,
    tune: npt.NDArray[np.bool_],
    checkpoint: Path | None = None,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Trained:
    """Train the decoder, or go on from a checkpoint.

    Args:
        data: Features, images and masks of the rows.
        rows: What the images are.
        recipe: Everything else that decides the result.
        tune: Which rows are kept apart to choose the weights; their groups must not occur elsewhere.
        checkpoint: File to resume from where it exists, and to save to at each score.
        progress: Called with each row of the log.

    Raises:
        ValueError: A group lies on both sides of ``tune``, or one side is empty.
    """
    torch.manual_seed(recipe.seed)
    network = FeatureDecoder()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    chances = draw_chances(rows, recipe, tune)
    return run_training(
        TrainingState(network, optimiser),
        recipe,
        rows,
        tune,
        loss=lambda step: _loss(network, data, chances, recipe, step),
        score=lambda weights: _score(weights, data, np.flatnonzero(tune)),
        checkpoint=checkpoint,
        progress=progress,
    )


def _loss(network: FeatureDecoder, data: DecoderData, chances: npt.NDArray[np.float64], recipe: DecoderRecipe, step: int) -> Tensor:
    rng = np.random.default_rng([recipe.seed, step])
    torch.manual_seed(int(rng.integers(2**31)))
    picks = rng.choice(len(chances), size=recipe.batch, p=chances)
    features, colours, targets = data.encoded(picks), data.colours(picks), data.targets(picks)
    flips = [axis for axis in (2, 3) if rng.random() < 0.5]
    if flips:
        features, colours, targets = (tensor.flip(flips) for tensor in (features, colours, targets))
    features = features + recipe.feature_noise * features.std() * torch.randn_like(features)
    light, cast = 1 + 0.2 * torch.randn(recipe.batch, 1, 1, 1), 0.2 * torch.randn(recipe.batch, 3, 1, 1)
    return bce_dice_loss(network.train()(features, colours * light + cast), targets)


def _score(weights: dict[str, Tensor], data: DecoderData, picks: npt.NDArray[np.int64]) -> float:
    """Return the mean Dice at 256 px."""
    network = FeatureDecoder().eval()
    network.load_state_dict(weights)
    dice = []
    with torch.inference_mode():
        for index in picks:
            one = np.array([index])
            logits = network(data.encoded(one), data.colours(one))
            found = F.interpolate(logits, data.masks.shape[1:], mode="bilinear", align_corners=False)[0, 0].numpy() >= 0
            reference = data.masks[index] > 127
            total = int(found.sum()) + int(reference.sum())
            dice.append(2 * int((found & reference).sum()) / total if total else 1.0)
    return float(np.mean(dice))
