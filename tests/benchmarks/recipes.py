"""What each choice of the recipe brings: on `val`, and on sources that training never saw.

    python tests/benchmarks/recipes.py STORE [--recipe NAME ...] [--embeddings FILE.parquet]

Trains on the published tables of a store (`embeddings`, `abc_features`, `manifest`) with one setting changed at a time. Every row of the
table it prints is trained anew on the same images. `tune` is the log loss by which a choice may be made; `val` and the sources only report.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))

from cefm_core.alignment.data import AlignmentData
from cefm_core.alignment.left_out import leave_one_source_out
from cefm_core.alignment.predict import predict
from cefm_core.alignment.train import train_alignment
from cefm_core.config import AlignmentConfig, EvaluationConfig
from cefm_core.evaluation.evaluate import evaluate
from cefm_core.evaluation.rows import find_row
from storage.parquet import read_frame, read_rows
from storage.store import Store
from storage.versions import read_outputs

PARTS = 4  # class, mean, spread, middle spread of each view
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "batches of 16, as in the paper": {"training_batch": 16},
    "batches of 256": {"training_batch": 256},
    "no structures": {"without": "structure"},
    "every image weighs the same": {"balance": "none"},
    "both labels weigh the same": {"balance": "label"},
    "whole embedding, no components": {"components": 0},
    "64 components": {"components": 64},
    "one seed": {"seeds": (999,)},
    "paper's measurements": {"profile": "paper"},
    "frame alone": {"columns": range(PARTS)},
    "lesion crop alone": {"columns": range(PARTS, 2 * PARTS)},
    "class tokens alone": {"columns": (0, PARTS)},
    "class and mean tokens": {"columns": (0, 1, PARTS, PARTS + 1)},
}


def data_of(store: Store, profile: str, embeddings: Path | None) -> tuple[AlignmentData, pd.DataFrame]:
    """Return what training works on and the manifest; embeddings of a file stand in for the store's."""
    outputs = read_outputs(store)
    rows = {name: read_rows(store, outputs[name]) for name in ("manifest", "embeddings", "abc_features")}
    if embeddings is not None:
        rows["embeddings"] = pd.read_parquet(embeddings).to_dict("records")
    return AlignmentData.from_rows(*rows.values(), profile), read_frame(store, outputs["manifest"])


def measure(data: AlignmentData, manifest: pd.DataFrame, config: AlignmentConfig) -> list[str]:
    """Train, score `val` and every left-out source; return the cells of one line."""
    trained = train_alignment(data, config)
    left_out = leave_one_source_out(data, trained)
    predictions = pd.DataFrame([row | left_out.columns(i) for i, row in enumerate(predict(trained, data))])
    found = evaluate(predictions, manifest, config=EvaluationConfig(bootstrap_samples=500), draw=False).metric_rows
    tune = trained.facts["candidate_log_loss"].get(trained.facts["chosen"])
    cells = [trained.facts["chosen"], "-" if tune is None else f"{tune:.3f}", _cell(find_row(found, "combined", "val", "roc_auc"))]
    cells.append(_cell(find_row(found, "combined", "left_out", "mean_roc_auc")))
    sources = [r for r in found if r["split"] == "left_out" and r["metric"] == "roc_auc" and r["value"] is not None]
    return [*cells, ", ".join(f"{r['stratum'].removeprefix('source=')} {r['value']:.3f}" for r in sources)]


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    return f"{row['value']:.3f}" + ("" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})")


def columns_of(data: AlignmentData, parts: Any) -> AlignmentData:
    """Keep some of the equal parts that an embedding of two views and all tokens consists of."""
    width = data.embeddings.shape[1] // (2 * PARTS)
    kept = np.concatenate([np.arange(part * width, (part + 1) * width) for part in parts])
    return replace(data, embeddings=data.embeddings[:, kept])


def without(data: AlignmentData, prefix: str) -> AlignmentData:
    """Leave out the measurements whose names begin so."""
    kept = [i for i, name in enumerate(data.clinical_names) if not name.startswith(prefix)]
    return replace(data, clinical=data.clinical[:, kept], clinical_names=tuple(data.clinical_names[i] for i in kept))


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", help="store whose latest version holds the tables")
    parser.add_argument("--recipe", action="append", choices=list(RECIPES), help="only this one; may be given again")
    parser.add_argument("--embeddings", type=Path, help="Parquet table that stands in for the store's embeddings")
    asked = parser.parse_args()
    store = Store.open(asked.store)
    print("| recipe | blend chosen | log loss, tune | AUC, val | mean AUC, left-out sources | AUC by left-out source |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for name in asked.recipe or RECIPES:
        settings = dict(RECIPES[name])
        parts, left_out = settings.pop("columns", None), settings.pop("without", None)
        data, manifest = data_of(store, settings.get("profile", "clinical"), asked.embeddings)
        data = data if parts is None else columns_of(data, parts)
        data = data if left_out is None else without(data, left_out)
        print(f"| {name} | {' | '.join(measure(data, manifest, AlignmentConfig(**settings)))} |", flush=True)


if __name__ == "__main__":
    main()
