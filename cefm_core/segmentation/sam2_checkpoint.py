"""Which SAM 2.1 checkpoint is meant, and whether the one at hand is it; imports neither the package nor torch.

The sizes, configuration names, hub names and digests are those that Meta published.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from cefm_core.config import RefineConfig
from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError


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


def _checked_file(path: Path, expected: str | None) -> str:
    digest = file_sha256(path)
    if expected is not None and digest != expected.lower():
        raise ConfigurationError(f"refine.sam2_checkpoint {path} has SHA-256 {digest}, but refine.sam2_checkpoint_sha256 is {expected}")
    return digest


def downloaded(size: Sam2Size, expected: str) -> Path:
    """Return the checkpoint of a size from the hub's cache or the hub.

    Raises:
        ConfigurationError: It cannot be fetched, or has another digest than ``expected``.
    """
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(repo_id=size.hub_name, filename=size.filename))
    except Exception as error:  # the hub client raises many unrelated classes; each means that the file cannot be had
        raise ConfigurationError(
            f"refine.sam2_checkpoint={size.hub_name}: {size.filename} cannot be fetched ({error}); give a file"
        ) from error
    _checked_file(path, expected)
    return path
