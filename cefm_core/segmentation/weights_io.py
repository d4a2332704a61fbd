"""Weights of the coarse networks: safetensors files that say what they are.

The file's metadata names the architecture and the input transform, and both are checked. A pickle can run code when it is read,
so it is refused; :func:`convert_checkpoint` turns a published PyTorch checkpoint of plain tensors into a safetensors file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FOLDER = Path(__file__).parent.parent / "weights"
BUILTIN = WEIGHTS_FOLDER / "ultralight_vmunet.safetensors"
SETTING = "coarse.weights"
_NESTING = ("model_state_dict", "state_dict", "model")


@dataclass(frozen=True)
class WeightsFacts:
    """What was loaded.

    Attributes:
        path: The file.
        sha256: Its digest, hex.
        architecture: Name in its metadata.
        metadata: All of its metadata.
    """

    path: Path
    sha256: str
    architecture: str
    metadata: dict[str, str]


def resolve_weights(value: str, builtin: Path = BUILTIN, setting: str = SETTING) -> Path:
    """Turn a setting into a file of weights.

    Args:
        value: ``builtin``, or the path of a safetensors file.
        builtin: The shipped file.
        setting: Name of the setting, for the error.

    Raises:
        ConfigurationError: There is no such file, or it is not a safetensors file.
    """
    path = builtin if value == "builtin" else Path(value)
    if not path.is_file():
        remedy = "the installation lacks its shipped weights; install the package again" if value == "builtin" else "no such file"
        raise ConfigurationError(f"{setting} = {value!r}: {remedy}")
    _refuse_pickle(path, setting)
    return path


def _refuse_pickle(path: Path, setting: str) -> None:
    with path.open("rb") as stream:
        start = stream.read(9)
    if start[:2] == b"PK" or start[:1] == b"\x80" or path.suffix in (".pt", ".pth", ".pkl", ".ckpt", ".bin"):
        raise ConfigurationError(
            f"{setting} = {str(path)!r}: a pickle can run code when it is read and is not loaded; turn a checkpoint of plain tensors into "
            "a safetensors file with `python -m cefm_core.segmentation.weights_io CHECKPOINT OUT.safetensors`"
        )


def load_weights(path: Path, network: nn.Module, setting: str = SETTING) -> WeightsFacts:
    """Load a safetensors file into the network.

    Args:
        path: The file; its metadata must name this architecture and input transform.
        network: Takes the tensors; names and shapes must match one to one.
        setting: Name of the setting that names the file, for the error.

    Raises:
        ConfigurationError: The file is a pickle, cut short, of another architecture or input transform, or a key is missing,
            unexpected, of another shape or not finite.
    """
    _refuse_pickle(path, setting)
    tensors, metadata = _read(path, setting)
    for name, expected in _identity(type(network)).items():
        if metadata.get(name) != expected:
            raise ConfigurationError(f"{setting} = {str(path)!r}: {name} is {metadata.get(name)!r}, this network needs {expected!r}")
    check_tensors(tensors, network, str(path), setting)
    network.load_state_dict(tensors)
    return WeightsFacts(path, file_sha256(path), type(network).__name__, metadata)


def _identity(network: Any) -> dict[str, Any]:
    """Return what a file's metadata must say for this class of network; the class names the input it was trained on."""
    return {"architecture": network.__name__, "input_transform": network.INPUT_TRANSFORM}


def _read(path: Path, setting: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:  # type: ignore[no-untyped-call]
            return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigurationError(f"{setting} = {str(path)!r}: not a complete safetensors file ({error})") from error


def check_tensors(tensors: dict[str, Tensor], network: nn.Module, origin: str, setting: str = SETTING) -> None:
    """Compare names, shapes and finiteness with the network's.

    Raises:
        ConfigurationError: They differ; every kind of difference is named.
    """
    expected = network.state_dict()
    problems = [f"missing {name}" for name in sorted(expected.keys() - tensors.keys())]
    problems += [f"unexpected {name}" for name in sorted(tensors.keys() - expected.keys())]
    for name in sorted(expected.keys() & tensors.keys()):
        if tensors[name].shape != expected[name].shape:
            problems.append(f"{name} is {tuple(tensors[name].shape)}, not {tuple(expected[name].shape)}")
        elif not bool(tensors[name].isfinite().all()):
            problems.append(f"{name} holds numbers that are not finite")
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise ConfigurationError(f"{setting} = {origin!r} does not fit {type(network).__name__}: {shown}")


def save_weights(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any], network: Any) -> str:
    """Write a safetensors file that :func:`load_weights` takes; return its digest.

    Args:
        path: Where to write.
        tensors: The network's state by parameter name.
        facts: JSON-ready facts about the training, kept in the metadata under ``training``.
        network: Class of the network they belong to.
    """
    from safetensors.torch import save

    metadata = _identity(network) | {"output": network.OUTPUT, "training": json.dumps(facts, sort_keys=True)}
    data = save({name: value.detach().cpu().contiguous() for name, value in sorted(tensors.items())}, metadata)
    partial = path.with_suffix(".partial")
    partial.write_bytes(_with_sorted_header(data))
    partial.replace(path)
    return file_sha256(path)


def _with_sorted_header(data: bytes) -> bytes:
    """Put the header's entries in order: the library writes them in another order each time, and equal weights must be equal bytes."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a PyTorch checkpoint of plain tensors without running any code in it.

    A ``model_state_dict`` (or ``state_dict``, ``model``) nesting and the ``module.`` prefix of a parallel wrapper are taken off.

    Raises:
        ConfigurationError: The file is cut short, or holds anything but tensors, such as a whole pickled model.
    """
    import pickle

    import torch
    from safetensors import SafetensorError

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(
            f"checkpoint {path}: not a complete file of plain tensors; a pickled model can run code and is not read ({reason})"
        ) from error
    while isinstance(content, dict) and (inner := next((content[k] for k in _NESTING if isinstance(content.get(k), dict)), None)):
        content = inner
    if not isinstance(content, dict) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise ConfigurationError(f"checkpoint {path}: holds {type(content).__name__}, not a dictionary of tensors")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def convert_checkpoint(source: Path, target: Path) -> str:
    """Turn a checkpoint of the published network into a safetensors file; return its digest.

    Raises:
        ConfigurationError: As :func:`read_checkpoint`, or the tensors do not fit the network.
    """
    from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet

    tensors = read_checkpoint(source)
    check_tensors(tensors, UltraLightVMUNet(), str(source))
    return save_weights(target, tensors, {"converted_from": source.name, "checkpoint_sha256": file_sha256(source)}, UltraLightVMUNet)


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        sys.exit("usage: python -m cefm_core.segmentation.weights_io CHECKPOINT OUT.safetensors")
    print(convert_checkpoint(Path(sys.argv[1]), Path(sys.argv[2])))
