"""SAM 2.1 (package ``sam2``) prompted by points, a box or the coarse mask.

Hole filling by the package's CUDA extension is never used: the clean-up of masks is ours, so that results do not depend on whether
``sam2._C`` was compiled.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cefm_core.config import RefineConfig
from cefm_core.device import resolve_device
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.backends import Proposal
from cefm_core.segmentation.prior import weigh_against_prior
from cefm_core.segmentation.prompts import PromptSet, jittered, mask_logits
from cefm_core.segmentation.sam2_checkpoint import SIZES, checkpoint_sha256, downloaded, sam2_location

if TYPE_CHECKING:
    import torch

_Answer = tuple[np.ndarray, np.ndarray]  # logits (candidates, h, w) and predicted IoU (candidates,)

_MODEL_SIDE = 1024
_PRIOR_SIDE = 512  # long side in pixels at which the model is weighed against the coarse mask
_HYDRA_LOCK = threading.Lock()


class Sam2Backend:
    """SAM 2.1 behind its own image predictor; one image embedding per image on a CPU, one per batch on a GPU."""

    name = "sam2"

    def __init__(self, model: Any, config: RefineConfig) -> None:
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the package scripts its transforms, which newer PyTorch deprecates
            self._predictor = SAM2ImagePredictor(model)
        self._lock = threading.Lock()  # the predictor holds one image's state at a time
        self._on_gpu = model.device.type == "cuda"
        self.device = model.device.type
        self.precision = "bfloat16" if self._on_gpu else "float32"
        self.prompt_kinds: tuple[str, ...] = config.sam2_prompts
        self._prior_weight = config.sam2_prior_weight
        self._samples = config.prompt_samples

    @classmethod
    def load(cls, config: RefineConfig, device: str = "cpu") -> Sam2Backend:
        """Build the configured size with its checkpoint, from a file or from the hub.

        Raises:
            ConfigurationError: See :func:`sam2_location` and :func:`checkpoint_sha256`; or the download failed, the file is not a
                SAM 2.1 checkpoint of that size, or the device does not exist.
        """
        import torch

        sam2_location()
        resolved = torch.device(resolve_device(device))
        expected = checkpoint_sha256(config)
        checkpoint = Path(str(config.sam2_checkpoint))
        if not checkpoint.is_file():
            checkpoint = downloaded(SIZES[config.sam2_size], expected)
        return cls(build_model(config.sam2_size, checkpoint, resolved), config)

    def propose(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], prompts: Sequence[PromptSet]) -> list[Proposal]:
        """Return one proposal an image; see :class:`~cefm_core.segmentation.backends.RefinerBackend`."""
        views = [_reduced(image) for image in images]
        inputs = [
            [self._inputs(view.shape, mask, variant) for variant in (prompt, *jittered(prompt, self._samples))]
            for view, mask, prompt in zip(views, masks, prompts, strict=True)
        ]
        with self._lock, self._inference():
            try:
                answers = self._predict_batch(views, inputs) if self._on_gpu and len(views) > 1 else self._predict_each(views, inputs)
            finally:
                self._predictor.reset_predictor()
        return [_proposal(found, mask, self._prior_weight) for found, mask in zip(answers, masks, strict=True)]

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """No gradients, and autocast only in here: bfloat16 on a GPU, none on a CPU whatever the caller has switched on."""
        import torch

        with torch.inference_mode(), torch.autocast(self.device, dtype=torch.bfloat16, enabled=self._on_gpu):
            yield

    def _inputs(self, view_shape: tuple[int, ...], mask: np.ndarray, prompts: PromptSet) -> dict[str, np.ndarray | None]:
        """Return the keyword arguments of the predictor, in pixels of the reduced view."""
        scale = np.array([view_shape[1] / mask.shape[1], view_shape[0] / mask.shape[0]])
        points = np.concatenate([prompts.positive, prompts.negative])
        labels = np.array([1] * len(prompts.positive) + [0] * len(prompts.negative), dtype=np.int32)
        use = self.prompt_kinds
        return {
            "point_coords": points * scale if "points" in use else None,
            "point_labels": labels if "points" in use else None,
            "box": np.array(prompts.box) * np.tile(scale, 2) if "box" in use else None,
            "mask_input": mask_logits(mask) if "mask" in use else None,
        }

    def _predict_each(self, views: list[np.ndarray], inputs: list[list[dict[str, Any]]]) -> list[list[_Answer]]:
        """Return the answers to every variant of the prompts, image by image; an image is embedded once."""
        answers = []
        for view, variants in zip(views, inputs, strict=True):
            self._predictor.set_image(view)
            found = [self._predictor.predict(**given, multimask_output=True, return_logits=True) for given in variants]
            answers.append([(logits, iou) for logits, iou, _ in found])
        return answers

    def _predict_batch(self, views: list[np.ndarray], inputs: list[list[dict[str, Any]]]) -> list[list[_Answer]]:
        """Return the same with all images embedded in one call."""
        self._predictor.set_image_batch(views)
        answers: list[list[_Answer]] = [[] for _ in views]
        for given in zip(*inputs, strict=True):
            columns = {f"{name}_batch": _column([arguments[name] for arguments in given]) for name in given[0]}
            logits, iou, _ = self._predictor.predict_batch(**columns, multimask_output=True, return_logits=True)
            for index, answer in enumerate(zip(logits, iou, strict=True)):
                answers[index].append(answer)
        return answers


def build_model(size: str, checkpoint: Path | None, device: torch.device) -> Any:
    """Build one SAM 2.1 model through the package's own builder.

    Hydra keeps one global search path a process; it is set to the package's for the time of the build and given back afterwards, so
    that neither an earlier user of Hydra nor the working directory matters, and so that a second build works.

    Args:
        size: A key of ``SIZES``.
        checkpoint: Checkpoint file, or None for random weights (timing and tests).
        device: Where the model runs.

    Raises:
        ConfigurationError: The size is unknown, or the file is no SAM 2.1 checkpoint of this size.
    """
    if size not in SIZES:
        raise ConfigurationError(f"refine.sam2_size={size!r} is not one of {', '.join(SIZES)}")
    from sam2.build_sam import build_sam2

    with _sam2_search_path():
        try:
            return build_sam2(SIZES[size].config_name, ckpt_path=None if checkpoint is None else str(checkpoint), device=str(device))
        except Exception as error:  # a file that is no checkpoint makes PyTorch's reader raise almost any class
            if checkpoint is None:
                raise
            raise ConfigurationError(f"{checkpoint} is not a SAM 2.1 checkpoint of size {size}: {error or 'keys differ'}") from error


@contextmanager
def _sam2_search_path() -> Iterator[None]:
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    with _HYDRA_LOCK:
        earlier = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            with initialize_config_module("sam2", version_base="1.2"):
                yield
        finally:
            GlobalHydra.instance().hydra = earlier


def _reduced(rgb: np.ndarray) -> np.ndarray:
    """Return the image with its long side at most the model's: it looks at 1024 x 1024 px, and memory stays bounded."""
    scale = _MODEL_SIDE / max(rgb.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(rgb)
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def _column(values: list[np.ndarray | None]) -> list[np.ndarray] | None:
    return None if values[0] is None else [value for value in values if value is not None]


def _proposal(answers: list[_Answer], prior: np.ndarray, weight: float) -> Proposal:
    """Return the mask of the first answer, and the votes of the others, weighed against the prior, at the image's size."""
    chosen = np.stack([np.asarray(logits[int(np.argmax(iou))], dtype=np.float32) for logits, iou in answers], axis=2)
    side = max(chosen.shape[:2]) if weight == 0 else min(_PRIOR_SIDE, max(chosen.shape[:2]))
    evidence = weigh_against_prior(chosen, prior, weight, long_side_px=side)
    size = (prior.shape[1], prior.shape[0])
    marked = [cv2.resize(np.ascontiguousarray(evidence[..., k]), size, interpolation=cv2.INTER_LINEAR) > 0 for k in range(len(answers))]
    votes = np.asarray(np.mean(marked[1:], axis=0), dtype=np.float32) if len(marked) > 1 else None
    iou = answers[0][1]
    return Proposal(mask=marked[0], predicted_iou=float(np.max(iou)), candidates=len(iou), votes=votes)
