"""The options that commands share, and how settings are read from them, from a file and from the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cefm_core.errors import ConfigurationError

STORE = "demo-store"
StoreOption = Annotated[str, typer.Option("--store", envvar="CEFM_STORE", help="Store: a folder, or s3://, gs://, az://")]
SettingsOption = Annotated[Path | None, typer.Option("--settings", help="TOML file with a table per stage")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="One setting, e.g. --set coarse.threshold=0.4; may be given again")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line")]
RefreshOption = Annotated[list[str] | None, typer.Option("--refresh", help="Recompute this stage whatever is cached; may be given again")]
ImagesArgument = Annotated[Path, typer.Argument(help="Folder of images")]
OutFile = Annotated[Path, typer.Option("--out", help="Parquet file to write")]


def read_config(settings: Path | None, pairs: list[str] | None) -> Any:
    """Return the settings of a command: its file, the environment over it, and ``--set`` over both."""
    from cefm_core.config_file import load_config

    overrides: dict[str, Any] = {}
    for pair in pairs or []:
        name, found, value = pair.partition("=")
        if not found:
            raise ConfigurationError(f"--set {pair}: write it as stage.setting=value")
        overrides[name.strip()] = _value(pair, value.strip())
    return load_config(settings, from_environment() | overrides)


def _value(pair: str, text: str) -> Any:
    """Read a list or nothing as JSON, e.g. ``alignment.seeds=[1,2]`` or ``embed.img_size=null``; anything else stays text."""
    if not text.startswith("[") and text != "null":
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{pair}: the list is not JSON ({error}); write it like [1, 2]") from error


def from_environment() -> dict[str, Any]:
    """Read settings such as ``CEFM_SET__COARSE__THRESHOLD=0.4``."""
    prefix = "CEFM_SET__"
    found = {name.removeprefix(prefix).lower().replace("__", "."): value for name, value in os.environ.items() if name.startswith(prefix)}
    return {name: _value(f"{name}={value}", value) for name, value in found.items()}
