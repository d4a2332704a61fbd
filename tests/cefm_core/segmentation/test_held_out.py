"""Scoring of files on disk, by the whole coarse stage."""

import cv2
import numpy as np
import pytest

from cefm_core.config import CoarseConfig
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.coarse import CoarseSegmenter
from cefm_core.segmentation.held_out import main, score_rows, summaries, summary_table, worst
from cefm_core.segmentation.training_data import REQUIRED, TrainingRow


@pytest.fixture
def rows(tmp_path):
    found = []
    y, x = np.mgrid[:128, :160]
    for i, centre in enumerate((40, 60, 80)):
        inside = np.hypot(y - 64, x - centre) < 30
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.where(inside[..., None], (48, 66, 105), (158, 178, 222)).astype(np.uint8))
        reference = inside if i < 2 else np.hypot(y - 10, x - 155) < 9  # the third reference lies elsewhere
        cv2.imwrite(str(tmp_path / f"{i}m.png"), reference.astype(np.uint8) * 255)
        found.append(TrainingRow(f"i{i}", tmp_path / f"{i}.png", tmp_path / f"{i}m.png", "AB"[i % 2], "nevus", "val", f"i{i}"))
    return found


def test_scores_summary_and_worst(rows):
    scores = score_rows(CoarseSegmenter.load(CoarseConfig()), rows)
    assert [s["dice"] > 0.8 for s in scores] == [True, True, False]
    assert (scores[2]["size"], scores[2]["frame"]) == ("below 5 % of the image", "cut by the frame")
    assert scores[0]["frame"] == "whole in the frame"
    assert [s["image_id"] for s in worst(scores, 1)] == ["i2"]
    table = summary_table(summaries(scores, rows))
    assert "| all | 3 |" in table
    assert "| source: A | 2 |" in table
    mean = np.mean([s["dice"] for s in scores])
    assert f"| all | 3 | {mean:.3f} (" in table


def test_sizes_that_differ_are_named(rows):
    cv2.imwrite(str(rows[1].mask), np.zeros((5, 5), np.uint8))
    with pytest.raises(ConfigurationError, match="i1"):
        score_rows(CoarseSegmenter.load(CoarseConfig()), rows)


def test_command_prints_the_summary(rows, tmp_path, capsys):
    lines = [",".join(REQUIRED)] + [f"{r.image_id},{r.image.name},{r.mask.name},{r.source},nevus,val,," for r in rows]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    main([str(tmp_path / "m.csv"), "--split", "val", "--worst", "1", "--page", str(tmp_path / "page.html")])
    printed = capsys.readouterr().out
    assert "| all | 3 |" in printed
    assert "i2: Dice 0.000" in printed
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 1
    assert "i2 with both outlines" in page
    assert "skin tone" in page
    assert "not a medical device" in page
