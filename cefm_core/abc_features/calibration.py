"""The numbers that were fitted or chosen, shipped beside the code with their origin."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any


@cache
def calibration() -> dict[str, Any]:
    """Return ``calibration.toml``: weights, cut-points and colour regions by feature."""
    return tomllib.loads((Path(__file__).parent / "calibration.toml").read_text(encoding="utf-8"))
