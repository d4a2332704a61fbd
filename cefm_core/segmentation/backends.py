"""What every refinement backend offers.

A network does not belong here; each backend has a module of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cefm_core.segmentation.prompts import PromptSet


@dataclass(frozen=True)
class Proposal:
    """A backend's answer for one image, before clean-up and gate.

    Attributes:
        mask: bool (H, W) at the image's size.
        predicted_iou: The model's own estimate of its intersection over union, 0..1 by intent, or None where it gives none.
        candidates: Number of masks among which this one had the highest predicted IoU.
        votes: float32 (H, W), 0..1: the share of moved prompts whose mask holds the pixel; None where no prompt was moved.
    """

    mask: np.ndarray
    predicted_iou: float | None
    candidates: int
    votes: np.ndarray | None = None


class RefinerBackend(Protocol):
    """A way to redraw a lesion's outline from the image and a prompt."""

    @property
    def name(self) -> str:
        """Name in the settings and on the row."""
        ...

    @property
    def device(self) -> str:
        """Device type: ``cpu`` or ``cuda``."""
        ...

    @property
    def precision(self) -> str:
        """Number format: ``float32`` or ``bfloat16``."""
        ...

    @property
    def prompt_kinds(self) -> tuple[str, ...]:
        """What it is prompted with: ``points``, ``box``, ``mask``."""
        ...

    def propose(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], prompts: Sequence[PromptSet]) -> list[Proposal]:
        """Return one proposal an image.

        Args:
            images: RGB, uint8 (H, W, 3), of any sizes.
            masks: Coarse masks, bool (H, W), none empty.
            prompts: Prompts made from those masks.
        """
        ...
