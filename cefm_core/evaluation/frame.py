"""One row per scored image: predictions joined with what the other tables know about it, in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cefm_core.evaluation.bootstrap import group_codes, group_resamples

HELD_OUT = ("val", "test", "external")
FITTED = ("train", "tune")
COMBINED = "combined"  # name of the model behind p_melanoma
NOT_A_MODEL = frozenset({"p_low", "p_high", "p_left_out"})


def model_columns(predictions: pd.DataFrame) -> dict[str, str]:
    """Map model names to their columns: ``p_melanoma`` is ``COMBINED``, any other ``p_<name>`` is `<name>`."""
    columns = [c for c in predictions.columns if c.startswith("p_") and c not in NOT_A_MODEL and predictions[c].notna().any()]
    columns.sort(key=lambda c: (c != "p_melanoma", c))
    return {COMBINED if c == "p_melanoma" else c.removeprefix("p_"): c for c in columns}


def _from_table(table: pd.DataFrame, prefix: str, ids: pd.Series) -> pd.DataFrame:
    """Look the rows of ``ids`` up in a table keyed by image_id, its columns prefixed; all-null where the table is empty."""
    if "image_id" not in table.columns:
        return pd.DataFrame(index=range(len(ids)))
    keyed = table.drop_duplicates("image_id").set_index("image_id").add_prefix(prefix)
    keyed.index = keyed.index.astype(str)
    return keyed.reindex(ids.to_numpy()).reset_index(drop=True)


def assemble_frame(predictions: pd.DataFrame, manifest: pd.DataFrame, **tables: pd.DataFrame) -> pd.DataFrame:
    """Join everything known about the images of the manifest and the predictions.

    Args:
        predictions: Table with image_id and any ``p_*``; target and split are used where the manifest lacks them.
        manifest: Table with image_id, target, split, source, group_id and what else it holds.
        **tables: Further tables keyed by image_id; the keyword prefixes their columns, e.g. ``abc`` gives ``abc.tds``.

    Returns:
        One row per image, sorted by image_id, with columns image_id, target (float, NaN where unlabelled), split,
        source, group_id, the ``p_*`` and ``abstain`` of predictions, and ``<table>.<column>``.
    """
    known = {str(i) for table in (predictions, manifest) if "image_id" in table.columns for i in table["image_id"]}
    ids = pd.Series(sorted(known), dtype="object", name="image_id")
    parts = [_from_table(predictions, "", ids), _from_table(manifest, "manifest.", ids)]
    parts += [_from_table(table, f"{name}.", ids) for name, table in tables.items()]
    joined = pd.concat([ids.to_frame(), *parts], axis=1)
    empty = pd.Series([None] * len(ids), dtype="object")
    columns = {name: joined.get(f"manifest.{name}", empty) for name in ("target", "split", "source", "group_id")}
    for name in ("target", "split"):
        if name in predictions.columns:
            columns[name] = columns[name].astype("object").where(columns[name].notna(), joined[name].astype("object"))
    columns["target"] = pd.to_numeric(columns["target"], errors="coerce").astype("float64")
    rest = joined.drop(columns=[c for c in columns if c in joined.columns])
    return pd.concat([rest, pd.DataFrame(columns)], axis=1)


def shared_groups(frame: pd.DataFrame, split: str) -> int:
    """Count the groups of a held-out split that also have images in train or tune: each lets the model meet an old acquaintance."""
    known = frame["group_id"].notna() & (frame["group_id"].astype("string").fillna("") != "")
    fitted = set(frame.loc[known & frame["split"].isin(FITTED), "group_id"].astype(str))
    return len(fitted & set(frame.loc[known & (frame["split"] == split), "group_id"].astype(str)))


@dataclass(frozen=True)
class Cohort:
    """The labelled, scored rows of one split, with the resamples that all its numbers share.

    Attributes:
        split: Its name.
        frame: Rows of :func:`assemble_frame`, index 0..n-1.
        target: Shape (n,), 0 or 1.
        codes: Shape (n,), group numbers.
        weights: Shape (resamples, n), how often each row was drawn.
        unlabelled: Images of the split left out for want of a label.
        unscored: Labelled images left out for want of a score.
        shared_groups: Groups that also have images in train or tune; 0 where the split is clean.
    """

    split: str
    frame: pd.DataFrame
    target: NDArray[np.int64]
    codes: NDArray[np.int64]
    weights: NDArray[np.uint16]
    unlabelled: int
    unscored: int
    shared_groups: int = 0

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.target.size)

    @property
    def n_positive(self) -> int:
        """Number of melanomas."""
        return int(self.target.sum())

    def subset(self, inside: NDArray[np.bool_]) -> Cohort:
        """Return the cohort of these rows, with the same resamples."""
        rows = self.frame[inside].reset_index(drop=True)
        return replace(self, frame=rows, target=self.target[inside], codes=self.codes[inside], weights=self.weights[:, inside])

    def scored_by(self, *columns: str) -> Cohort:
        """Return the cohort of the rows that have a score in each of these columns; itself where all have."""
        known = np.all([np.isfinite(self.scores(column)) for column in columns], axis=0)
        return self if known.all() else self.subset(known)

    def scores(self, column: str) -> NDArray[np.float64]:
        """Return one column as floats, shape (n,)."""
        return pd.to_numeric(self.frame[column], errors="coerce").to_numpy(dtype=np.float64)


def build_cohort(frame: pd.DataFrame, split: str, column: str | None, samples: int, seed: int) -> Cohort:
    """Take the rows of a split that have a label and a score in ``column``, and draw its resamples; no column, no rows."""
    inside = frame[frame["split"] == split]
    labelled = inside[inside["target"].isin([0, 1])]
    known = np.zeros(len(labelled), dtype=bool)
    if column is not None:
        known = np.isfinite(pd.to_numeric(labelled[column], errors="coerce").to_numpy(dtype=np.float64))
    rows = labelled[known].reset_index(drop=True)
    codes = group_codes(rows["group_id"], rows["image_id"])
    weights = group_resamples(codes, samples, seed)
    target = rows["target"].to_numpy(dtype=np.int64)
    return Cohort(split, rows, target, codes, weights, len(inside) - len(labelled), len(labelled) - len(rows), shared_groups(frame, split))
