"""Whether the embedding could tell copies: the pairs of images whose embeddings lie nearest, against what the data set knows of them.

    python tests/benchmarks/look_alikes.py STORE

Works on the published tables `embeddings` and `manifest` of a store. A pair is right where both images share a lesion or a group of
copies. Vectors are taken as they are, and whitened by their first 128 principal components; intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from cefm_core.evaluation.calibration import wilson_interval
from storage.parquet import read_rows
from storage.store import Store
from storage.versions import read_outputs

COMPONENTS, TOPS = 128, (25, 50, 100, 400)


def views(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Return unit vectors (n, d) of the standardised embeddings, plain and whitened."""
    plain = (vectors - vectors.mean(axis=0)) / (vectors.std(axis=0) + 1e-9)
    values, axes = np.linalg.eigh(plain.T @ plain / len(plain))
    white = plain @ axes[:, -COMPONENTS:] / np.sqrt(values[-COMPONENTS:])
    return {name: z / np.linalg.norm(z, axis=1, keepdims=True) for name, z in (("as it is", plain), ("whitened", white))}


def nearest_pairs(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the ``count`` pairs with the highest cosine, int (count, 2), nearest first."""
    cosines = np.triu(vectors @ vectors.T, 1)
    chosen = np.argpartition(-cosines, count, axis=None)[:count]
    chosen = chosen[np.argsort(-cosines.ravel()[chosen])]
    return np.stack(np.unravel_index(chosen, cosines.shape), axis=1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store")
    store = Store.open(parser.parse_args().store)
    outputs = read_outputs(store)
    groups = {row["image_id"]: row["group_id"] for row in read_rows(store, outputs["manifest"])}
    rows = read_rows(store, outputs["embeddings"])
    group = np.array([groups[row["image_id"]] or row["image_id"] for row in rows])
    vectors = np.stack([np.asarray(row["vector"], np.float32) for row in rows])
    named = sum(int(c) * (int(c) - 1) // 2 for c in np.unique(group, return_counts=True)[1])
    print(f"{len(rows)} images, {named} pairs of one group.\n\n| embedding | nearest pairs | of one group |\n| --- | ---: | --- |")
    for name, unit in views(vectors).items():
        pairs = nearest_pairs(unit, max(TOPS))
        same = group[pairs[:, 0]] == group[pairs[:, 1]]
        for top in TOPS:
            low, high = wilson_interval(int(same[:top].sum()), top)
            print(f"| {name} | {top} | {same[:top].mean():.2f} ({low:.2f} to {high:.2f}) |")


if __name__ == "__main__":
    main()
