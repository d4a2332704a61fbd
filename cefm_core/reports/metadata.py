"""Metadata that a report may state: closed lists only, so that no free text, name or instruction can pass.

Patient ids, file names, dates and free text do not belong here and have no way in.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cefm_core.reports.ledger import Fact

LOGGER = logging.getLogger(__name__)
SEXES = ("female", "male")
OTHER = "other"


@cache
def known_sites() -> Mapping[str, str]:
    """Return the closed list of anatomical sites: recorded spelling to the word that a report uses."""
    with (Path(__file__).parent / "data" / "sites.csv").open(encoding="utf-8", newline="") as file:
        return {row["recorded"]: row["site"] for row in csv.DictReader(file)}


def site_word(recorded: Any) -> str | None:
    """Map a recorded site to the closed list; anything else becomes ``other`` and is logged without its text."""
    if recorded is None or str(recorded).strip().lower() in ("", "unknown", "none", "na", "nan"):
        return None
    if str(recorded) == OTHER:
        return OTHER
    word = known_sites().get(str(recorded).strip().lower())
    if word is None:
        LOGGER.warning("a recorded site is not in the list of sites and is reported as %r", OTHER)
        return OTHER
    return word


def age_band(age_years: Any) -> str | None:
    """Return the decade of an age in years (``50-59``), its ends open below 20 and from 80; None where implausible."""
    if isinstance(age_years, bool) or not isinstance(age_years, int | float) or not 0 < age_years <= 120:
        return None
    if age_years < 20:
        return "under 20"
    if age_years >= 80:
        return "80 or over"
    decade = int(age_years // 10 * 10)
    return f"{decade}-{decade + 9}"


def metadata_facts(manifest: Mapping[str, Any] | None) -> list[Fact]:
    """Return the facts of site, sex and age band; what is not recorded is left out.

    Args:
        manifest: Row of the manifest, or None.
    """
    row = manifest or {}
    sex = str(row.get("sex") or "").strip().lower()
    found = {
        "meta.site": ("recorded site", site_word(row.get("site"))),
        "meta.sex": ("recorded sex", sex if sex in SEXES else None),
        "meta.age_band": ("recorded age, in years", age_band(row.get("age_years"))),
    }
    return [Fact(id=key, name=name, value=value, source="metadata") for key, (name, value) in found.items() if value is not None]
