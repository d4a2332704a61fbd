"""docs/evaluation.md names every metric and every reason that a run can write."""

from pathlib import Path

import pytest

from cefm_core.evaluation.evaluate import evaluate
from cefm_core.evaluation.rows import REASONS

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"
FREE = "alignment"  # its numbers carry the names that the alignment gave them


@pytest.fixture(scope="module")
def rows(run, config):
    return evaluate(**run(300), config=config, draw=False).metric_rows


def test_every_metric_is_explained(rows):
    text = PAGE.read_text(encoding="utf-8")
    missing = {r["metric"] for r in rows if r["model"] != FREE and f"`{r['metric']}`" not in text}
    assert not missing


def test_every_reason_is_explained():
    text = PAGE.read_text(encoding="utf-8")
    assert not [name for name in REASONS if f"`{name}`" not in text and name != "no_interval"]
