"""The released tables: the five numbers reach AUC 0.873, and the image's name alone 0.837."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cefm_core.errors import ConfigurationError
from cefm_core.evaluation.paper_tables import COLUMNS, evaluate_paper_tables, read_table
from cefm_core.evaluation.rows import find_row
from cefm_core.tables.metrics import TABLE


def synthetic(n, seed, first=0):
    """A table of the released shape in which a nonlinear feature tells the classes apart."""
    rng = np.random.default_rng(seed)
    target = (rng.random(n) < 0.25).astype(int)
    columns = {name: rng.gamma(9, 2, n) for name in COLUMNS}
    columns["A"] = 15 + 6 * np.where(target == 1, rng.choice([-1, 1], n), 0) + rng.normal(0, 2.5, n)
    ids = [f"ISIC_{first + 100_000 + i:07d}" for i in range(n)]
    return pd.DataFrame({"image_name": ids, "target": target, **columns})


@pytest.fixture(scope="module")
def paper(shared):
    folder = shared / "data" / "paper"
    return evaluate_paper_tables(pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "test.csv"))


@pytest.mark.shared
def test_clinical_classifier_reaches_its_target(paper):
    row = find_row(paper.rows, "clinical", "test", "roc_auc")
    assert row["value"] >= 0.8729
    assert row["low"] < row["value"] < row["high"]
    assert (row["n"], row["n_positive"]) == (749, 153)
    assert find_row(paper.rows, "clinical", "test", "accuracy")["value"] == pytest.approx(0.865, abs=0.001)
    assert find_row(paper.rows, "clinical", "test", "sensitivity")["value"] == pytest.approx(0.516, abs=0.001)
    assert find_row(paper.rows, "clinical", "test", "roc_auc", "melanomas=other ids")["value"] == pytest.approx(0.752, abs=0.001)
    assert find_row(paper.rows, "clinical_selected", "test", "roc_auc")["value"] > 0.89


@pytest.mark.shared
def test_sentinel_fires_first_on_the_paper_tables(paper):
    assert paper.headline[0].startswith("SHORTCUT ALARM on test: ")
    assert "accuracy 93.3 %" in paper.headline[0]
    assert find_row(paper.rows, "shortcut:ham_id_rule", "test", "roc_auc")["value"] == pytest.approx(0.837, abs=0.0005)
    assert find_row(paper.rows, "shortcut:ham_id_rule", "test", "accuracy")["value"] == pytest.approx(0.933, abs=0.0005)
    assert find_row(paper.rows, "shortcut:id_range", "test", "accuracy")["value"] == pytest.approx(0.933, abs=0.005)
    assert paper.markdown.index("SHORTCUT ALARM") < paper.markdown.index("0.873 (")


@pytest.mark.shared
def test_the_documented_page_is_current(paper):
    page = Path(__file__).parents[3] / "docs" / "paper_parity.md"
    assert page.read_text(encoding="utf-8") == paper.markdown, (
        "write it anew: cefm paper-tables TRAIN.csv TEST.csv --out docs/paper_parity.md"
    )


def test_a_better_classifier_is_chosen_on_the_training_table(config):
    result = evaluate_paper_tables(synthetic(400, 0), synthetic(200, 1, 5000), config)
    plain, selected = (find_row(result.rows, m, "test", "roc_auc")["value"] for m in ("clinical", "clinical_selected"))
    assert plain < 0.65
    assert selected > 0.78
    assert not any("ALARM" in line for line in result.headline)
    assert TABLE.to_arrow(result.rows).num_rows == len(result.rows)


def test_incomplete_rows_are_left_out_and_counted(config):
    table = synthetic(300, 2)
    table["B2"] = table["B2"].astype(object)
    table.loc[:4, "B2"] = ["n/a", None, "", np.nan, "inf"]
    assert len(read_table(table, "training")) == 295
    page = evaluate_paper_tables(table, synthetic(200, 3, 9000), config).markdown
    assert "| training | 295 |" in page


def test_unusable_tables_are_one_clear_error():
    table = synthetic(100, 4)
    with pytest.raises(ConfigurationError, match="training table: missing column.*B2.*found image_name"):
        evaluate_paper_tables(table.drop(columns="B2"), table)
    with pytest.raises(ConfigurationError, match="test table: 0 complete melanoma rows"):
        evaluate_paper_tables(table, synthetic(100, 5, 900).assign(target=0))
    with pytest.raises(ConfigurationError, match="stand in both tables"):
        evaluate_paper_tables(table, table)
