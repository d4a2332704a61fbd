"""Scoring of refinement on files on disk."""

import csv

import cv2
import numpy as np
import pytest

from cefm_core.phantoms.render import render_phantom
from cefm_core.segmentation.refine_held_out import confidence_table, decision_table, gain_table, main
from cefm_core.segmentation.training_data import REQUIRED


def test_command_prints_tables_and_writes_rows_and_page(tmp_path, capsys):
    lines = [",".join(REQUIRED)]
    for seed in (1, 2, 3):
        phantom = render_phantom(seed)
        cv2.imwrite(str(tmp_path / f"{seed}.png"), phantom.rgb[..., ::-1])
        cv2.imwrite(str(tmp_path / f"{seed}m.png"), phantom.mask.astype(np.uint8) * 255)
        lines.append(f"p{seed},{seed}.png,{seed}m.png,drawn,nevus,val,,")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    rows, page = tmp_path / "rows.csv", tmp_path / "page.html"
    main([str(tmp_path / "m.csv"), "--refiner", "classical", "--rows", str(rows), "--page", str(page)])
    printed = capsys.readouterr().out
    assert "| all | 3 |" in printed
    with rows.open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [row["image_id"] for row in found] == ["p1", "p2", "p3"]
    assert all(float(row["dice"]) > 0.8 for row in found)
    assert page.read_text(encoding="utf-8").count("<figure>") == 6


def row(name, coarse, proposal, final, decision="accepted", reason="better_evidence", confidence=0.9):
    evidence = dict.fromkeys(("coarse_confidence", "stability", "agreement_dice", "predicted_iou", "edge_contrast_after"), 0.9)
    told = {"decision": decision, "decision_reason": reason, "mask_confidence": confidence, **evidence}
    return {"image_id": name, "source": "s", "group": name, "coarse_dice": coarse, "proposal_dice": proposal, "dice": final, **told}


ROWS = [
    row("a", 0.80, 0.90, 0.90, confidence=0.9),
    row("b", 0.90, 0.70, 0.90, "kept", "low_agreement", confidence=0.95),
    row("c", 0.50, 0.40, 0.40, confidence=0.3),
]


def test_gain_is_the_mean_difference():
    table = gain_table(ROWS)
    assert "| all | 3 | 0.7333 | 0.6667 | 0.7333 | +0.0000 (" in table
    assert "| coarse Dice below 0.85 | 2 | 0.6500 | 0.6500 | 0.6500 |" in table


def test_decisions_are_held_against_the_truth():
    table = decision_table(ROWS)
    assert "| accepted | better_evidence | 2 | 1 | 1 |" in table
    assert "| kept | low_agreement | 1 | 0 | 1 |" in table


def test_confidence_is_held_against_the_dice():
    table = confidence_table(ROWS)
    assert "| mask_confidence | 3 | " in table
    assert "Mean confidence 0.717, mean Dice 0.733" in table
    assert table.splitlines()[-1] == "| 50% | 0.900 | 0.0% |"


def test_empty_split_is_named(tmp_path):
    (tmp_path / "m.csv").write_text(",".join(REQUIRED) + "\n")
    with pytest.raises(Exception, match="no row with a mask in split val"):
        main([str(tmp_path / "m.csv")])
