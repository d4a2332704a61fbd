"""Which device the networks run on."""

from __future__ import annotations

from cefm_core.errors import ConfigurationError


def resolve_device(device: str) -> str:
    """Return the torch device behind a setting, and make CPU results independent of the number of threads.

    Args:
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigurationError: CUDA is asked for by name and there is none.
    """
    import torch

    torch.set_num_threads(1)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(f"runtime.device = {device}: no CUDA device here; set it to cpu or auto")
    if device != "cpu" and not device.startswith("cuda"):
        raise ConfigurationError(f"runtime.device = {device}: give auto, cpu, cuda or cuda:N")
    return device
