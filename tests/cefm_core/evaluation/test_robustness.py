import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cefm_core.evaluation.robustness import CLEAN, FOREIGN, robustness_page, robustness_rows
from cefm_core.evaluation.rows import find_row


@pytest.fixture(scope="module")
def scored():
    random = np.random.default_rng(0)
    target = np.repeat([0.0, 1.0], 60)
    logit = 2 * target - 1 + random.normal(size=120)
    frames = []
    for name, spoilt, strange in ((CLEAN, 0.0, 0.4), ("blur", 0.0, 0.4), ("noise", 4.0, 1.6)):
        p = 1 / (1 + np.exp(-(logit + spoilt * random.normal(size=120))))
        frames.append(
            pd.DataFrame(
                {
                    "image_id": [f"i{i}" for i in range(120)],
                    "group_id": None,
                    "target": target,
                    "corruption": name,
                    "p_melanoma": p,
                    "ood_score": strange,
                    "abstain": strange > 1,
                }
            )
        )
    foreign = pd.DataFrame({"image_id": ["cat"], "corruption": FOREIGN, "p_melanoma": [0.9], "ood_score": [3.0], "abstain": [True]})
    return pd.concat([*frames, foreign], ignore_index=True)


@pytest.fixture(scope="module")
def rows(scored):
    return robustness_rows(scored, 200, 0)


def value(rows, corruption, metric):
    return find_row(rows, "combined", "corrupted", metric, f"corruption={corruption}")


def test_drop_is_the_paired_difference_of_aucs(scored, rows):
    by_name = {name: scored[scored["corruption"] == name] for name in (CLEAN, "noise")}
    auc = {name: roc_auc_score(by_name[name]["target"], by_name[name]["p_melanoma"]) for name in (CLEAN, "noise")}
    drop = value(rows, "noise", "roc_auc_drop")
    assert drop["value"] == pytest.approx(auc[CLEAN] - auc["noise"])
    assert 0 < drop["low"] < drop["value"] < drop["high"]


def test_what_changes_nothing_loses_nothing(rows):
    assert value(rows, "blur", "roc_auc_drop")["value"] == 0 == value(rows, "blur", "mean_shift")["value"]
    assert value(rows, "noise", "mean_shift")["value"] > 0.1
    assert value(rows, "noise", "out_of_distribution_share")["value"] == 1


def test_pictures_of_something_else_show_whether_the_model_notices(rows):
    assert value(rows, FOREIGN, "out_of_distribution_share")["value"] == 1 and value(rows, FOREIGN, "roc_auc") is None


def test_the_page_has_a_line_for_each(rows):
    page = robustness_page(rows)
    assert [line.split("|")[1].strip() for line in page.splitlines()[2:]] == [CLEAN, "blur", "noise", FOREIGN]
