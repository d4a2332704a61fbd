"""Makes ``level_cuts.csv``: the quintiles of each feature over a reference set of lesions with expert masks.

python -m cefm_core.abc_features.reference METADATA.csv --images 300 --out level_cuts.csv
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from cefm_core.abc_features.dataset import load_lesions, read_records, sample_records
from cefm_core.abc_features.levels import LEVELLED
from cefm_core.abc_features.measure import measure_abc
from cefm_core.config import AbcConfig

#: Counts are their own levels: one structure is level 1, five or more are level 5.
COUNTED = ("colour_count", "structure_count")


def cut_rows(rows: list[dict], reference: str) -> list[dict]:
    """Return one row of ``level_cuts.csv`` per levelled feature: its quintiles over the rows that hold it."""
    table = []
    for feature in LEVELLED:
        values = [row[feature] for row in rows if row.get(feature) is not None]
        if feature in COUNTED:
            cuts, source = [2.0, 3.0, 4.0, 5.0], "the count itself"
        elif values:
            cuts, source = [float(v) for v in np.quantile(values, [0.2, 0.4, 0.6, 0.8])], reference
        else:
            continue
        named = {f"cut_{n}": f"{cut:.6g}" for n, cut in enumerate(cuts, 1)}
        table.append({"feature": feature} | named | {"reference": source, "n": len(values)})
    return table


def main() -> None:
    """Measure the reference set and write the cut-points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    records = [r for r in read_records(arguments.metadata) if r["split"] == "train"]
    chosen = sample_records(records, arguments.images)
    rows = [measure_abc(rgb, mask, AbcConfig(mask_samples=0)) for _, rgb, mask in load_lesions(chosen, arguments.metadata.parent)]
    table = cut_rows(rows, "train split with expert masks, sampled by source")
    with arguments.out.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
