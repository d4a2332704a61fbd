"""Settings from a file, with what the command line says laid over them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cefm_core.config import CefmConfig
from cefm_core.errors import ConfigurationError


def load_config(path: Path | None = None, overrides: dict[str, Any] | None = None) -> CefmConfig:
    """Read one TOML file and lay dotted overrides over it.

    Args:
        path: TOML file with a table per stage, or None for the defaults.
        overrides: Values by dotted name, e.g. ``{"coarse.threshold": 0.4}``; strings are converted by the field's type.

    Raises:
        ConfigurationError: The file cannot be read, or a setting is unknown or out of its range; every offender is named.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"settings file {path}: {error}") from error
    for name, value in (overrides or {}).items():
        *parents, leaf = name.split(".")
        target = data
        for parent in parents:
            target = target.setdefault(parent, {})
        target[leaf] = value
    try:
        return CefmConfig.model_validate(data)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigurationError("settings: " + "; ".join(lines)) from error
