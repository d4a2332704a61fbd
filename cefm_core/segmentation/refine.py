"""Redraw a coarse lesion mask with a promptable model, and keep the better of the two.

The backends and the gate have modules of their own; here they are put together and one row an image is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np

from cefm_core.config import RefineConfig
from cefm_core.errors import BadItemError
from cefm_core.imaging.artefacts import vignette_mask
from cefm_core.segmentation.backends import Proposal, RefinerBackend
from cefm_core.segmentation.confidence import mask_confidence, stability
from cefm_core.segmentation.gate import GateEvidence, failed_checks, gather_evidence
from cefm_core.segmentation.postprocess import LESION_CONNECTIVITY, clean_mask
from cefm_core.segmentation.prompts import PromptSet, make_prompts
from cefm_core.segmentation.refiner_choice import ResolvedRefiner, describe_refiner, resolve_refiner

__all__ = ["MaskRefiner", "RefinedMask", "ResolvedRefiner", "clean_proposal", "describe_refiner", "resolve_refiner"]

_VIGNETTE_SIDE = 256  # long side in pixels at which dark corners are looked for
_COMPONENT_SHARE = 0.01  # a component below this share of the proposal's area is not counted


@dataclass(frozen=True)
class RefinedMask:
    """The mask to go on with.

    Attributes:
        mask: bool (H, W): the refined mask where the gate accepted it, else the coarse one, unchanged.
        row: Columns of ``refined_masks`` without identifiers, keys and the comparison with a reference.
        prompts: The prompts, as they stand on the row; None where none were made.
        proposal: The cleaned refined mask, accepted or not; None where there is none.
        votes: float32 (H, W), 0..1: how many of the moved prompts call a pixel lesion; None where none was moved.
    """

    mask: np.ndarray
    row: dict[str, Any]
    prompts: PromptSet | None = None
    proposal: np.ndarray | None = None
    votes: np.ndarray | None = None


class MaskRefiner:
    """A backend, the prompts and the gate; build it once a worker."""

    def __init__(self, config: RefineConfig, resolved: ResolvedRefiner, backend: RefinerBackend | None) -> None:
        self.config = config
        self.resolved = resolved
        self._backend = backend

    @classmethod
    def load(cls, config: RefineConfig, device: str = "cpu") -> MaskRefiner:
        """Resolve the backend and load its model.

        Args:
            config: Settings of the stage.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            ConfigurationError: As :func:`resolve_refiner`; or the device does not exist.
        """
        resolved = resolve_refiner(config)
        return cls(config, resolved, _load_backend(resolved.name, config, device))

    def refine(self, rgb: np.ndarray, coarse_mask: np.ndarray, coarse_confidence: float | None = None) -> RefinedMask:
        """Refine one mask.

        Args:
            rgb: uint8 (H, W, 3).
            coarse_mask: bool (H, W); may be empty, which is kept with reason ``empty_mask``.
            coarse_confidence: Confidence of the coarse mask, 0..1; without it the refined one has none.

        Raises:
            BadItemError: ``shape_mismatch``, or ``out_of_memory`` where even a single image does not fit.
        """
        [result] = self.refine_many([rgb], [coarse_mask], [coarse_confidence])
        if isinstance(result, BadItemError):
            raise result
        return result

    def refine_many(
        self, images: Sequence[np.ndarray], coarse_masks: Sequence[np.ndarray], coarse_confidences: Sequence[float | None] | None = None
    ) -> list[RefinedMask | BadItemError]:
        """Refine a batch (on a GPU, SAM 2 embeds it in one call); a bad item is returned as its error, the others go on.

        Args:
            images: uint8 (H, W, 3), of any sizes.
            coarse_masks: bool (H, W), one an image.
            coarse_confidences: Confidences of the coarse masks, 0..1, one an image.
        """
        confidences = coarse_confidences if coarse_confidences is not None else [None] * len(images)
        results: list[RefinedMask | BadItemError | None] = [
            self._without_model(*given) for given in zip(images, coarse_masks, confidences, strict=True)
        ]
        waiting = [index for index, result in enumerate(results) if result is None]
        prompts = [make_prompts(coarse_masks[index], self.config) for index in waiting]
        proposals = self._propose([images[i] for i in waiting], [coarse_masks[i] for i in waiting], prompts)
        for index, prompt, proposal in zip(waiting, prompts, proposals, strict=True):
            if isinstance(proposal, BadItemError):
                results[index] = proposal
                continue
            judged = self._judge(images[index], coarse_masks[index], prompt, proposal)
            results[index] = self._with_confidence(judged, confidences[index])
        return [result for result in results if result is not None]

    def _without_model(self, rgb: np.ndarray, coarse: np.ndarray, confidence: float | None) -> RefinedMask | BadItemError | None:
        """Return the answer where no model is needed, or None."""
        if rgb.shape[:2] != coarse.shape:
            return BadItemError("shape_mismatch", f"image {rgb.shape[:2]} and coarse mask {coarse.shape} differ in size")
        if not coarse.any():
            return self._kept(coarse, "empty_mask")
        if self._backend is None:
            return self._with_confidence(self._kept(coarse, "no_refiner"), confidence)
        if confidence is not None and confidence > self.config.max_coarse_confidence:
            return self._with_confidence(self._kept(coarse, "sure_coarse_mask"), confidence)
        return None

    def _propose(self, images: list[np.ndarray], masks: list[np.ndarray], prompts: list[PromptSet]) -> Sequence[Proposal | BadItemError]:
        """Ask the backend; a batch that does not fit into memory is halved, down to one image."""
        if not images or self._backend is None:
            return []
        try:
            return self._backend.propose(images, masks, prompts)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        _free_memory()
        if len(images) == 1:
            return [BadItemError("out_of_memory", f"an image of {images[0].shape[1]} x {images[0].shape[0]} px does not fit; reduce it")]
        half = len(images) // 2
        return [
            *self._propose(images[:half], masks[:half], prompts[:half]),
            *self._propose(images[half:], masks[half:], prompts[half:]),
        ]

    def _judge(self, rgb: np.ndarray, coarse: np.ndarray, prompts: PromptSet, proposal: Proposal) -> RefinedMask:
        refined, components = clean_proposal(proposal.mask, coarse, self.config, _vignette(rgb))
        model_row = {**prompts.row(), "predicted_iou": proposal.predicted_iou, "candidates": proposal.candidates, "components": components}
        if not refined.any() or np.array_equal(refined, coarse):
            reason = "identical" if refined.any() else "empty_proposal"
            return self._kept(coarse, reason, prompts, refined if refined.any() else None, model_row)
        evidence = gather_evidence(rgb, coarse, refined, components=components, predicted_iou=proposal.predicted_iou)
        failed = failed_checks(evidence, self.config)
        row = {**model_row, **_evidence_row(evidence), "failed_checks": failed}
        if failed:
            return self._kept(coarse, failed[0], prompts, refined, row, proposal.votes)
        return RefinedMask(refined, self._row(refined, "accepted", "better_evidence", row), prompts, refined, proposal.votes)

    def _with_confidence(self, judged: RefinedMask, coarse_confidence: float | None) -> RefinedMask:
        """Complete the row by how sure its mask is."""
        steady = stability(judged.votes, judged.mask)
        known = {**judged.row, "coarse_confidence": coarse_confidence, "stability": steady}
        value, reason = mask_confidence(known, self.resolved.name)
        row = {**judged.row, "stability": steady, "mask_confidence": value, "mask_confidence_reason": reason}
        return replace(judged, row=row)

    def _kept(
        self,
        coarse: np.ndarray,
        reason: str,
        prompts: PromptSet | None = None,
        proposal: np.ndarray | None = None,
        row: dict[str, Any] | None = None,
        votes: np.ndarray | None = None,
    ) -> RefinedMask:
        return RefinedMask(coarse, self._row(coarse, "kept", reason, row or {}), prompts, proposal, votes)

    def _row(self, mask: np.ndarray, decision: str, reason: str, measured: dict[str, Any]) -> dict[str, Any]:
        area, backend = int(np.count_nonzero(mask)), self._backend
        ran = bool(measured)
        estimate_missing = "backend_gives_none" if ran else "not_run"
        empty: dict[str, Any] = dict.fromkeys(_MEASURED)
        return {
            **empty,
            "failed_checks": [],
            "candidates": 0,
            "prompt_kinds": list(backend.prompt_kinds) if backend is not None and ran else [],
            **measured,
            "refiner": self.resolved.name,
            "refiner_reason": self.resolved.reason,
            "device": backend.device if backend is not None else "cpu",
            "precision": backend.precision if backend is not None else "none",
            "decision": decision,
            "decision_reason": reason,
            "mask_confidence_reason": "no_evidence",
            "predicted_iou_reason": estimate_missing if measured.get("predicted_iou") is None else None,
            "area_px": area,
            "area_share": area / mask.size,
        }


_MEASURED = (
    "agreement_dice",
    "area_ratio",
    "components",
    "border_contact_before_share",
    "border_contact_after_share",
    "edge_contrast_before",
    "edge_contrast_after",
    "predicted_iou",
    "stability",
    "mask_confidence",
    "positive_points",
    "negative_points",
    "box",
)


def clean_proposal(
    proposal: np.ndarray, coarse: np.ndarray, config: RefineConfig, vignette: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """Drop what does not meet the coarse mask, then apply the project's one clean-up rule for masks.

    A refinement redraws the lesions that were found; it finds no new ones.

    Args:
        proposal: bool (H, W).
        coarse: bool (H, W).
        config: Sizes of the specks and holes to remove.
        vignette: bool (H, W), pixels that are never lesion, or None.

    Returns:
        The cleaned mask, bool (H, W), empty where nothing of the proposal meets the coarse mask; and the number of components of the
        proposal that are not specks.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(proposal.astype(np.uint8), connectivity=LESION_CONNECTIVITY)
    areas = stats[1:, cv2.CC_STAT_AREA]
    components = int((areas >= _COMPONENT_SHARE * areas.sum()).sum()) if count > 1 else 0
    meets = np.bincount(labels[coarse], minlength=count) > 0
    meets[0] = False
    cleaned = clean_mask(
        meets[labels],
        vignette,
        min_component_share=config.min_component_share,
        min_component_of_largest=config.min_component_of_largest,
        max_hole_share=config.max_hole_share,
    )
    return cleaned.mask, components


def _vignette(rgb: np.ndarray) -> np.ndarray:
    """Return the dark corners or frame of an image, bool (H, W), found at reduced size."""
    scale = min(1.0, _VIGNETTE_SIDE / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    dark = vignette_mask(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    return cv2.resize(dark.astype(np.uint8), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)


def _evidence_row(evidence: GateEvidence) -> dict[str, Any]:
    row = asdict(evidence)
    for side in ("before", "after"):
        row[f"border_contact_{side}_share"] = row.pop(f"border_contact_{side}")
    return row


def _load_backend(name: str, config: RefineConfig, device: str) -> RefinerBackend | None:
    if name == "sam2":
        from cefm_core.segmentation.sam2_backend import Sam2Backend

        return Sam2Backend.load(config, device)
    if name == "medsam-lite":
        from cefm_core.segmentation.litemedsam_backend import LiteMedSamBackend

        return LiteMedSamBackend.load(config, device)
    if name == "classical":
        from cefm_core.segmentation.classical_backend import ClassicalBackend

        return ClassicalBackend()
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _free_memory() -> None:
    import gc
    import sys

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
