import numpy as np

from cefm_core.config import QualityConfig
from cefm_core.imaging.threshold_study import MEASURES, study, study_markdown
from cefm_core.phantoms.render import render_phantom


def test_each_fault_moves_its_own_measure_and_the_best_threshold_divides():
    pictures = [render_phantom(seed, (300, 400)).rgb for seed in range(3)]
    rows = {row["measure"].flag: row for row in study(pictures, QualityConfig())}
    assert list(rows) == [measure.flag for measure in MEASURES]
    for flag, row in rows.items():
        median = row["quantiles"][2]
        assert (row["faulty_median"] > median) == row["measure"].above, flag
        assert row["best_caught"] - row["best_flagged"] >= row["caught"] - row["flagged"], flag
    assert rows["blurred"]["caught"] == rows["too_dark"]["caught"] == 1.0
    page = study_markdown(list(rows.values()), 3, "phantoms")
    assert page.count("\n| ") == len(MEASURES) + 2 and "nan" not in page


def test_the_best_threshold_by_hand():
    from cefm_core.imaging.threshold_study import _best

    assert _best(np.array([1.0, 2, 3]), np.array([4.0, 5, 6]), above=True) == 3.5
    assert _best(np.array([4.0, 5, 6]), np.array([1.0, 2, 5.5]), above=False) == 3.0
