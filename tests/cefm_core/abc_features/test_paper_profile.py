"""The paper's formulas on shapes whose values follow by hand."""

import numpy as np
import pytest

from cefm_core.abc_features.document import columns, fill
from cefm_core.abc_features.levels import cut_points, level
from cefm_core.abc_features.measure import measure_paper_row
from cefm_core.abc_features.paper_profile import frame_spreads, mask_asymmetry
from cefm_core.abc_features.parity import compare, widen
from cefm_core.abc_features.tds import measure_tds
from cefm_core.config import AbcConfig
from cefm_core.errors import ConfigurationError
from cefm_core.tables.abc_features import TABLE


def disc(radius, side):
    y, x = np.mgrid[:side, :side] - side / 2
    return np.hypot(x, y) < radius


def test_spread_over_the_white_frame_equals_the_spread_of_the_pasted_picture():
    random = np.random.default_rng(3)
    hsv = random.integers(0, 180, (20, 30, 3), dtype=np.uint8)
    mask = (random.random((20, 30)) > 0.4).astype(np.uint8)
    frame = np.zeros((60, 60, 3))
    frame[...] = (0, 0, 255)
    frame[5:25, 7:37][mask > 0] = hsv[mask > 0]
    assert frame_spreads(hsv, mask, 3600) == pytest.approx(frame.reshape(-1, 3).std(axis=0))


def test_mask_asymmetry_of_a_half_disc_pair_is_nothing_and_of_an_l_much():
    shape = np.zeros((90, 90), np.uint8)
    shape[:, :30] = 1
    shape[60:, :] = 1
    assert mask_asymmetry(disc(45, 90).astype(np.uint8)) < 3
    assert mask_asymmetry(shape) < 10  # an L is symmetric about its diagonal
    shape[:45] = 0
    assert mask_asymmetry(shape) > 25


def test_mean_curvature_of_a_circle_is_one_over_its_radius():
    row = measure_paper_row(np.full((300, 300, 3), 90, np.uint8), disc(80, 300), AbcConfig())
    assert row["b2_written"] == pytest.approx(1 / 80, rel=0.05)
    # In a frame of 600 pixels the radius is 160; 100 points on pixels add some.
    assert 1 / 160 < row["b2_mean_curvature"] < 3 / 160


def test_written_asymmetry_counts_grey_levels_per_pixel_of_the_lesion():
    mask = np.zeros((200, 300), bool)
    mask[60:140, 50:250] = True
    rgb = np.full((200, 300, 3), 100, np.uint8)
    rgb[100:140] = 140
    row = measure_paper_row(rgb, mask, AbcConfig())
    assert row["a_grey_written"] == pytest.approx(40, abs=2)
    assert row["a_grey"] < 1


def test_paper_colours_grow_with_the_lesion():
    rows = [measure_paper_row(np.full((300, 300, 3), (120, 80, 60), np.uint8), disc(r, 300), AbcConfig()) for r in (30, 60, 100)]
    assert rows[0]["value_std"] < rows[1]["value_std"] < rows[2]["value_std"]
    assert all(row["value_std_written"] == 0 for row in rows)


def test_parity_compares_every_reading_with_the_table(tmp_path):
    import cv2

    (tmp_path / "images").mkdir()
    names = [f"x{i}" for i in range(4)]
    for i, name in enumerate(names):
        mask = disc(25 + 8 * i, 128)
        image = np.where(mask[..., None], (40, 60, 120), (150, 180, 220)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), image)
        cv2.imwrite(str(tmp_path / f"images/{name}_m.png"), mask.astype(np.uint8) * 255)
    rows = [f"{n},images/{n}.png,images/{n}_m.png,train,drawn" for n in names]
    (tmp_path / "metadata.csv").write_text("\n".join(["id,filename,mask_filename,split,source", *rows]) + "\n")
    rows = [f"{n},1,{5 + i},{0.1 / (25 + 8 * i)},{10 + i},{20 + i},{30 + i}" for i, n in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["image_name,target,A,B2,H,S,V", *rows]) + "\n")
    lines = compare(tmp_path / "metadata.csv", [tmp_path / "table.csv"], 4 / 3).splitlines()
    assert len(lines) == 2 + 7 + 4 + 3 * 5
    written = next(line for line in lines if "signed mean, contour" in line)
    assert "| 4 | 1.000 | 1.000 |" in written


def test_widen_pads_both_sides_to_the_aspect():
    assert widen(np.ones((30, 30), np.uint8), 4 / 3).shape == (30, 40)
    assert widen(np.ones((30, 60), np.uint8), 4 / 3).shape == (30, 60)


def test_levels_are_fifths_and_rise_with_the_value():
    cuts = cut_points()["asymmetry_score"]
    assert [level("asymmetry_score", v) for v in (0, *cuts)] == [1, 2, 3, 4, 5]
    assert level("asymmetry_score", None) is None
    assert all(list(c) == sorted(c) for c in cut_points().values())


def test_total_score_is_the_weighted_sum_or_missing_with_its_reason():
    row = {"asymmetry_score": 2.0, "border_score": 5.0, "colour_count": 4, "structure_count": 3}
    total = measure_tds(row)
    assert total["tds"] == pytest.approx(6.6)
    assert total["tds_band"] == "above_5_45"
    part = measure_tds(row | {"structure_count": None, "structure_reason": "lesion_covered"})
    assert part["tds"] is None and part["tds_reason"] == "lesion_covered"
    assert part["tds_without_structures"] == pytest.approx(5.1)


def test_page_of_features_lists_the_columns_of_the_table():
    from pathlib import Path

    page = (Path(__file__).parents[3] / "docs" / "features.md").read_text(encoding="utf-8")
    assert columns() in page
    assert all(f"`{column.name}`" in page for column in TABLE.columns)


def test_fill_replaces_between_markers_and_misses_none():
    assert fill("a <!-- x -->old<!-- /x --> b", "x", "new") == "a <!-- x -->\nnew\n<!-- /x --> b"
    with pytest.raises(ConfigurationError, match="markers"):
        fill("nothing", "x", "new")
