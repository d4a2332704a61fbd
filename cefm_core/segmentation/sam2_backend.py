"""SAM 2.1 (package ``sam2``) prompted by points, a box or the coarse mask.

The sizes, configuration names, hub names and digests are those that Meta published. Hole filling by the package's CUDA extension is
never used: the clean-up of masks is ours, so that results do not depend on whether ``sam2._C`` was compiled.
"""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cefm_core.config import RefineConfig
from cefm_core.device import resolve_device
from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.backends import Proposal
from cefm_core.segmentation.prior import prior_mask, weigh_against_prior
from cefm_core.segmentation.prompts import PromptSet, mask_logits

if TYPE_CHECKING:
    import torch

_MODEL_SIDE = 1024
_PRIOR_SIDE = 512  # long side in pixels at which the model is weighed against the coarse mask
_HYDRA_LOCK = threading.Lock()


@dataclass(frozen=True)
class Sam2Size:
    """What Meta published for one SAM 2.1 size.

    Attributes:
        config_name: Name in the package's Hydra search path (a name, not a file path).
        hub_name: Repository on the Hugging Face hub.
        filename: File in that repository, the same as at https://dl.fbaipublicfiles.com/segment_anything_2/092824/.
        sha256: Digest of that file, hex.
    """

    config_name: str
    hub_name: str
    filename: str
    sha256: str


SIZES: dict[str, Sam2Size] = {
    "tiny": Sam2Size(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        "facebook/sam2.1-hiera-tiny",
        "sam2.1_hiera_tiny.pt",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ),
    "small": Sam2Size(
        "configs/sam2.1/sam2.1_hiera_s.yaml",
        "facebook/sam2.1-hiera-small",
        "sam2.1_hiera_small.pt",
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    "base_plus": Sam2Size(
        "configs/sam2.1/sam2.1_hiera_b+.yaml",
        "facebook/sam2.1-hiera-base-plus",
        "sam2.1_hiera_base_plus.pt",
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    "large": Sam2Size(
        "configs/sam2.1/sam2.1_hiera_l.yaml",
        "facebook/sam2.1-hiera-large",
        "sam2.1_hiera_large.pt",
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
}


def sam2_location() -> Path:
    """Return the folder that ``import sam2`` resolves to, without importing it; preflight prints it.

    Raises:
        ConfigurationError: The package is missing, or a folder called ``sam2`` (a clone, or data) hides it; the text names the folder.
    """
    spec = importlib.util.find_spec("sam2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("refine.refiner=sam2 needs the package sam2: pip install sam2")
    folder = Path(next(iter(spec.submodule_search_locations))).resolve()
    needed = [folder / "build_sam.py", folder / "sam2_image_predictor.py", *(folder / size.config_name for size in SIZES.values())]
    missing = [path.name for path in needed if not path.is_file()]
    if missing or (folder / "sam2" / "build_sam.py").is_file():
        detail = f"it lacks {', '.join(missing)}" if missing else "it holds a clone of the repository"
        raise ConfigurationError(
            f"the package sam2 is shadowed by the folder {folder} ({detail}); start from another working directory or rename that folder"
        )
    return folder


def checkpoint_sha256(config: RefineConfig) -> str:
    """Return the digest that the configured checkpoint must have; for a hub name nothing is downloaded.

    Raises:
        ConfigurationError: No checkpoint is configured, its file is missing or has another digest, or the hub name is unknown or of
            another size than ``sam2_size``.
    """
    size, checkpoint = SIZES[config.sam2_size], config.sam2_checkpoint
    if checkpoint is None:
        raise ConfigurationError(
            f"refine.refiner=sam2 needs refine.sam2_checkpoint: the file {size.filename} (SHA-256 {size.sha256}) or {size.hub_name}"
        )
    if Path(checkpoint).is_file():
        return _checked_file(Path(checkpoint), config.sam2_checkpoint_sha256)
    if checkpoint == size.hub_name:
        return config.sam2_checkpoint_sha256 or size.sha256
    names = {known.hub_name: name for name, known in SIZES.items()}
    if checkpoint in names:
        raise ConfigurationError(
            f"refine.sam2_checkpoint={checkpoint} is of size {names[checkpoint]}; set refine.sam2_size={names[checkpoint]}"
        )
    raise ConfigurationError(f"refine.sam2_checkpoint={checkpoint!r} is neither a file nor one of {', '.join(sorted(names))}")


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
            checkpoint = _downloaded(SIZES[config.sam2_size], expected)
        return cls(build_model(config.sam2_size, checkpoint, resolved), config)

    def propose(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], prompts: Sequence[PromptSet]) -> list[Proposal]:
        """Return one proposal an image; see :class:`~cefm_core.segmentation.backends.RefinerBackend`."""
        views = [_reduced(image) for image in images]
        inputs = [self._inputs(view.shape, mask, prompt) for view, mask, prompt in zip(views, masks, prompts, strict=True)]
        with self._lock, self._inference():
            try:
                answers = self._predict_batch(views, inputs) if self._on_gpu and len(views) > 1 else self._predict_each(views, inputs)
            finally:
                self._predictor.reset_predictor()
        weight = self._prior_weight
        priors = masks if weight == 0 else [prior_mask(*given) for given in zip(images, masks, prompts, strict=True)]
        return [_best(logits, iou, prior, weight) for (logits, iou), prior in zip(answers, priors, strict=True)]

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

    def _predict_each(self, views: list[np.ndarray], inputs: list[dict[str, Any]]) -> list[tuple[np.ndarray, np.ndarray]]:
        answers = []
        for view, arguments in zip(views, inputs, strict=True):
            self._predictor.set_image(view)
            logits, iou, _ = self._predictor.predict(**arguments, multimask_output=True, return_logits=True)
            answers.append((logits, iou))
        return answers

    def _predict_batch(self, views: list[np.ndarray], inputs: list[dict[str, Any]]) -> list[tuple[np.ndarray, np.ndarray]]:
        self._predictor.set_image_batch(views)
        columns = {f"{name}_batch": _column([arguments[name] for arguments in inputs]) for name in inputs[0]}
        columns["point_labels_batch"] = columns.pop("point_labels_batch")
        logits, iou, _ = self._predictor.predict_batch(**columns, multimask_output=True, return_logits=True)
        return list(zip(logits, iou, strict=True))


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


def _checked_file(path: Path, expected: str | None) -> str:
    digest = file_sha256(path)
    if expected is not None and digest != expected.lower():
        raise ConfigurationError(f"refine.sam2_checkpoint {path} has SHA-256 {digest}, but refine.sam2_checkpoint_sha256 is {expected}")
    return digest


def _downloaded(size: Sam2Size, expected: str) -> Path:
    """Return the checkpoint from the hub's cache or the hub."""
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(repo_id=size.hub_name, filename=size.filename))
    except Exception as error:  # the hub client raises many unrelated classes; each means that the file cannot be had
        raise ConfigurationError(
            f"refine.sam2_checkpoint={size.hub_name}: {size.filename} cannot be fetched ({error}); give a file"
        ) from error
    _checked_file(path, expected)
    return path


def _reduced(rgb: np.ndarray) -> np.ndarray:
    """Return the image with its long side at most the model's: it looks at 1024 x 1024 px, and memory stays bounded."""
    scale = _MODEL_SIDE / max(rgb.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(rgb)
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def _column(values: list[np.ndarray | None]) -> list[np.ndarray] | None:
    return None if values[0] is None else [value for value in values if value is not None]


def _best(logits: np.ndarray, iou: np.ndarray, prior: np.ndarray, weight: float) -> Proposal:
    """Return the candidate of highest predicted IoU, weighed against the prior, at the image's size."""
    best = int(np.argmax(iou))
    chosen = np.asarray(logits[best], dtype=np.float32)
    side = max(chosen.shape) if weight == 0 else min(_PRIOR_SIDE, max(chosen.shape))
    evidence = weigh_against_prior(chosen, prior, weight, long_side_px=side)
    full = cv2.resize(evidence, (prior.shape[1], prior.shape[0]), interpolation=cv2.INTER_LINEAR)
    return Proposal(mask=full > 0, predicted_iou=float(iou[best]), candidates=len(iou))
