"""``cefm paper-tables``: what the paper's released tables really show."""

from __future__ import annotations

import json
from pathlib import Path

from cefm_core.errors import ConfigurationError


def paper_tables(train: Path, test: Path, out: Path | None, as_json: bool) -> None:
    """Train on one table, score on the other, watch for shortcuts; print or write the page."""
    import pandas as pd

    from cefm_core.evaluation.paper_tables import evaluate_paper_tables

    try:
        frames = [pd.read_csv(path) for path in (train, test)]
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"paper-tables: a table cannot be read ({error}); give train.csv and test.csv") from error
    found = evaluate_paper_tables(*frames)
    if out is not None:
        out.write_text(found.markdown, encoding="utf-8")
    print(json.dumps({"rows": found.rows, "headline": found.headline}) if as_json else found.markdown)
