"""What a model could cheat with: facts about the file, the frame or the collection that know the label without seeing a lesion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cefm_core.evaluation.strata import AREA_COLUMNS, first_column

ABC_FEATURES = (
    "a_grey",
    "b2_mean_curvature",
    "hue_std",
    "saturation_std",
    "value_std",
    "asymmetry_score",
    "border_score",
    "colour_count",
    "structure_count",
    "tds",
)
FOLDS = 5
SEED = 0  # of the trees and folds; what they reach hardly depends on it


@dataclass(frozen=True)
class Shortcut:
    """One source of unearned score.

    Attributes:
        name: Short name in the metrics table.
        label: Name for a reader.
        is_shortcut: False for ABC, which is the method's own clinical content and only a yardstick.
        features: Builds its columns from an assembled frame; None where the frame lacks them.
    """

    name: str
    label: str
    is_shortcut: bool
    features: Callable[[pd.DataFrame], pd.DataFrame | None]


def id_number(image_id: pd.Series) -> pd.Series:
    """Return the longest run of digits of each id as a number, NaN where an id has none."""
    runs = image_id.astype("string").str.findall(r"\d+")
    return runs.map(lambda digits: float(max(digits, key=len)[:15]) if digits else np.nan).astype("float64")


def _source(frame: pd.DataFrame) -> pd.DataFrame | None:
    column = first_column(frame, ("source",))
    return None if column is None else pd.DataFrame({"source": column.astype("string").fillna("unknown")})


def _id_range(frame: pd.DataFrame) -> pd.DataFrame | None:
    number = id_number(frame["image_id"])
    return pd.DataFrame({"number": number}) if number.notna().any() else None


def _image_size(frame: pd.DataFrame) -> pd.DataFrame | None:
    if not {"manifest.width_px", "manifest.height_px"} <= set(frame.columns):
        return None
    width = pd.to_numeric(frame["manifest.width_px"], errors="coerce").astype("float64")
    height = pd.to_numeric(frame["manifest.height_px"], errors="coerce").astype("float64")
    return pd.DataFrame({"width": width, "height": height, "aspect": width / height})


def _lesion_area(frame: pd.DataFrame) -> pd.DataFrame | None:
    column = first_column(frame, AREA_COLUMNS)
    return None if column is None else pd.DataFrame({"area_share": pd.to_numeric(column, errors="coerce").astype("float64")})


def _numbers(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame | None:
    columns = {name: pd.to_numeric(frame[name], errors="coerce").astype("float64") for name in names}
    known = {name: column for name, column in columns.items() if column.notna().any()}
    return pd.DataFrame(known) if known else None


def _quality(frame: pd.DataFrame) -> pd.DataFrame | None:
    names = [c for c in frame.columns if c.startswith("quality.") and pd.api.types.is_numeric_dtype(frame[c])]
    return _numbers(frame, sorted(c for c in names if not c.endswith("_px")))


def _abc(frame: pd.DataFrame) -> pd.DataFrame | None:
    return _numbers(frame, [f"abc.{name}" for name in ABC_FEATURES if f"abc.{name}" in frame.columns])


SHORTCUTS: tuple[Shortcut, ...] = (
    Shortcut("source", "source of the image", True, _source),
    Shortcut("id_range", "number in the image's name", True, _id_range),
    Shortcut("image_size", "width, height and aspect of the image", True, _image_size),
    Shortcut("lesion_area", "share of the frame that the lesion fills", True, _lesion_area),
    Shortcut("quality", "image quality numbers", True, _quality),
    Shortcut("abc", "A, B, C numbers", False, _abc),
)


def _fit_rates(fit: pd.DataFrame, target: NDArray[np.int64], score: pd.DataFrame) -> NDArray[np.float64]:
    """Score a category by its share of melanomas, drawn towards the overall share by one image's weight."""
    prior = float(target.mean())
    table = pd.DataFrame({"category": fit.iloc[:, 0].to_numpy(), "target": target}).groupby("category")["target"].agg(["sum", "count"])
    rates = (table["sum"] + prior) / (table["count"] + 1)
    return score.iloc[:, 0].map(rates).astype("float64").fillna(prior).to_numpy()


def _fit_trees(fit: pd.DataFrame, target: NDArray[np.int64], score: pd.DataFrame) -> NDArray[np.float64]:
    """Score numbers by a few small boosted trees, which find ranges and thresholds and live with missing values."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    leaf = int(np.clip(len(fit) // 100, 5, 40))
    trees = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, min_samples_leaf=leaf, early_stopping=False, random_state=SEED)
    return trees.fit(fit.to_numpy(), target).predict_proba(score.to_numpy())[:, 1]


def fit_and_score(fit: pd.DataFrame, target: NDArray[np.int64], score: pd.DataFrame) -> NDArray[np.float64]:
    """Fit a shortcut on some rows and return its melanoma probability for others.

    Args:
        fit: Features of the rows to fit on, both classes present; one text column, or numbers (NaN allowed).
        target: Their labels, shape (len(fit),).
        score: Features of the rows to score, same columns.
    """
    if pd.api.types.is_numeric_dtype(fit.iloc[:, 0]):
        return _fit_trees(fit, target, score)
    return _fit_rates(fit, target, score)


@dataclass(frozen=True)
class FittedShortcut:
    """A shortcut's probability for every image it was not fitted on.

    Attributes:
        shortcut: Which.
        probability: By image_id; None where it could not be fitted.
        reason: Why not: ``not_available`` (no such data) or ``too_few`` (no split to fit on, so it is scored out of fold).
    """

    shortcut: Shortcut
    probability: pd.Series | None
    reason: str | None = None


def fit_shortcuts(frame: pd.DataFrame, fitted: Sequence[str], minimum: int) -> list[FittedShortcut]:
    """Fit every shortcut on the labelled rows of some splits, and score all other rows.

    Args:
        frame: Rows of :func:`cefm_core.evaluation.frame.assemble_frame`.
        fitted: Splits to fit on.
        minimum: Fewest melanomas and nevi to fit on.
    """
    inside = frame["split"].isin(list(fitted))
    fit, rest = frame[inside & frame["target"].isin([0, 1])].reset_index(drop=True), frame[~inside].reset_index(drop=True)
    target = fit["target"].to_numpy(dtype=np.int64)
    enough = np.bincount(target, minlength=2).min() >= minimum
    result = []
    for shortcut in SHORTCUTS:
        features, scored = shortcut.features(fit), shortcut.features(rest)
        if scored is None:
            result.append(FittedShortcut(shortcut, None, "not_available"))
        elif features is None or not enough:
            result.append(FittedShortcut(shortcut, None, "too_few"))
        else:
            probability = fit_and_score(features, target, scored.reindex(columns=features.columns))
            result.append(FittedShortcut(shortcut, pd.Series(probability, index=rest["image_id"].to_numpy())))
    return result


def out_of_fold(features: pd.DataFrame, target: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Score rows by models that saw none of their group; None where a class has fewer than two groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(FOLDS, *(int(np.unique(groups[target == label]).size) for label in (0, 1)))
    if folds < 2:
        return None
    result = np.full(target.size, float(target.mean()))
    for fit, score in StratifiedGroupKFold(folds, shuffle=True, random_state=SEED).split(features, target, groups):
        if np.unique(target[fit]).size == 2:
            result[score] = fit_and_score(features.iloc[fit], target[fit], features.iloc[score])
    return result
