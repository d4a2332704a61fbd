"""How well a mask matches its reference mask, for one image and over many.

Means over images (``dice_mean``, the ISIC convention) and counts pooled over all pixels (``dice_pooled``, the convention of the
published network) are different numbers with different names: pooling hides failures on small lesions. Two empty masks have no
overlap to measure: their scores are None, they are left out of means and counted. One empty mask scores 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Scores = dict[str, Any]

FAILURE_JACCARD = 0.65  # ISIC 2018: below it a segmentation counts as failed
MEANS = ("dice", "jaccard", "threshold_jaccard", "sensitivity", "specificity", "failed", "hd95_share")


def mask_scores(predicted: Mask, reference: Mask) -> Scores:
    """Compare one mask with its reference.

    Args:
        predicted: bool (H, W).
        reference: bool (H, W).

    Returns:
        ``dice``, ``jaccard``, ``threshold_jaccard`` (0 below 0.65; ISIC 2018), ``sensitivity``, ``specificity`` (0..1), ``failed``
        (Jaccard below 0.65), ``hd95_px`` and ``hd95_share`` (over the image's diagonal), ``empty`` ("no", "predicted",
        "reference" or "both"), and the pixel counts ``tp``, ``fp``, ``fn``, ``tn``. What is undefined is None.

    Raises:
        ValueError: The shapes differ.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"masks of {predicted.shape} and {reference.shape} pixels cannot be compared")
    tp = int(np.count_nonzero(predicted & reference))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(reference)) - tp
    tn = predicted.size - tp - fp - fn
    jaccard = _ratio(tp, tp + fp + fn)
    distance = hausdorff_95(predicted, reference)
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn),
        "jaccard": jaccard,
        "threshold_jaccard": None if jaccard is None else (jaccard if jaccard >= FAILURE_JACCARD else 0.0),
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "failed": None if jaccard is None else jaccard < FAILURE_JACCARD,
        "hd95_px": distance,
        "hd95_share": None if distance is None else distance / float(np.hypot(*predicted.shape)),
        "empty": {(False, False): "no", (True, False): "predicted", (False, True): "reference", (True, True): "both"}[
            (tp + fp == 0, tp + fn == 0)
        ],
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
    }


def reference_scores(predicted: Mask, reference: Mask | None) -> dict[str, float | str | None]:
    """Return the columns ``reference_dice`` and ``reference_jaccard`` of a mask's row, and why they are null."""
    if reference is None:
        return {"reference_dice": None, "reference_jaccard": None, "reference_reason": "no_reference_mask"}
    tp = int(np.count_nonzero(predicted & reference))
    total = int(np.count_nonzero(predicted)) + int(np.count_nonzero(reference))
    reason = None if total else "both_masks_empty"
    return {"reference_dice": _ratio(2 * tp, total), "reference_jaccard": _ratio(tp, total - tp), "reference_reason": reason}


def hausdorff_95(predicted: Mask, reference: Mask) -> float | None:
    """Return the 95th percentile of the distances between the two outlines, both ways together, in pixels.

    An outline is the set of mask pixels with a 4-neighbour outside the mask or the frame. None where a mask is empty.
    """
    if not predicted.any() or not reference.any():
        return None
    x, y, width, height = cv2.boundingRect((predicted | reference).view(np.uint8))
    window = (slice(y, y + height), slice(x, x + width))
    one, other = _outline(predicted[window]), _outline(reference[window])
    return float(np.percentile(np.concatenate([_distances(one, other), _distances(other, one)]), 95))


def _outline(mask: Mask) -> Mask:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    padded = np.pad(mask, 1).view(np.uint8)
    inner = cv2.erode(padded, cross)[1:-1, 1:-1].astype(bool)
    return mask & ~inner


def _distances(origin: Mask, target: Mask) -> npt.NDArray[np.float32]:
    """Return the distance of every pixel of ``origin`` to the nearest pixel of ``target``."""
    field = cv2.distanceTransform((~target).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(field[origin], dtype=np.float32)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True)
class Estimate:
    """A figure with its bootstrap interval.

    Attributes:
        value: The figure; None where nothing defines it.
        low: 2.5th percentile over resamples; None where there are fewer than two groups.
        high: 97.5th percentile.
        n: Images behind it.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Summary:
    """Scores over many images.

    Attributes:
        n: Images.
        n_both_empty: Images left out of overlap means because both masks are empty.
        n_one_empty: Images where exactly one mask is empty; they score 0.
        figures: ``dice_mean``, ``jaccard_mean``, ``threshold_jaccard_mean``, ``sensitivity_mean``, ``specificity_mean``,
            ``failure_rate``, ``hd95_share_mean``, ``dice_median`` (over images), ``dice_pooled``, ``jaccard_pooled`` (over pixels).
    """

    n: int
    n_both_empty: int
    n_one_empty: int
    figures: dict[str, Estimate]


def summarise(scores: Sequence[Scores], groups: Sequence[str] | None = None, *, samples: int = 1000, seed: int = 999) -> Summary:
    """Summarise per-image scores with bootstrap intervals.

    Args:
        scores: Results of :func:`mask_scores`.
        groups: One name an image; images of one group (one lesion, say) are resampled together. Default: each by itself.
        samples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: There is nothing to summarise.
    """
    if not scores:
        raise ValueError("no scores to summarise")
    names = list(groups) if groups is not None else [str(i) for i in range(len(scores))]
    draws = _group_weights(names, samples, seed)
    figures = {_mean_name(m): _mean_estimate(_column(scores, m), draws) for m in MEANS}
    dice = _column(scores, "dice")
    defined = dice[~np.isnan(dice)]
    figures["dice_median"] = Estimate(float(np.median(defined)) if len(defined) else None, None, None, len(defined))
    counts = np.array([[s["tp"], s["fp"], s["fn"]] for s in scores], dtype=np.float64)
    figures["dice_pooled"] = _pooled(counts, draws, 2.0)
    figures["jaccard_pooled"] = _pooled(counts, draws, 1.0)
    empties = [s["empty"] for s in scores]
    return Summary(len(scores), empties.count("both"), sum(e in ("predicted", "reference") for e in empties), figures)


def summarise_by(
    scores: Sequence[Scores], strata: Sequence[str], groups: Sequence[str] | None = None, *, samples: int = 1000, seed: int = 999
) -> dict[str, Summary]:
    """Summarise each stratum by itself, in the order of their names; see :func:`summarise`."""
    result = {}
    for name in sorted(set(strata)):
        members = [i for i, s in enumerate(strata) if s == name]
        chosen = [groups[i] for i in members] if groups is not None else None
        result[name] = summarise([scores[i] for i in members], chosen, samples=samples, seed=seed)
    return result


def _mean_name(metric: str) -> str:
    return "failure_rate" if metric == "failed" else f"{metric}_mean"


def _column(scores: Iterable[Scores], name: str) -> npt.NDArray[np.float64]:
    return np.array([np.nan if s[name] is None else float(s[name]) for s in scores], dtype=np.float64)


def _group_weights(names: Sequence[str], samples: int, seed: int) -> npt.NDArray[np.float64] | None:
    """Return how often each image stands in each resample, (samples, images); None with fewer than two groups."""
    unique, index = np.unique(np.asarray(names), return_inverse=True)
    if len(unique) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(unique), np.full(len(unique), 1 / len(unique)), size=samples)
    return np.asarray(drawn[:, index], dtype=np.float64)


def _mean_estimate(values: npt.NDArray[np.float64], draws: npt.NDArray[np.float64] | None) -> Estimate:
    known = ~np.isnan(values)
    if not known.any():
        return Estimate(None, None, None, 0)
    value = float(values[known].mean())
    if draws is None:
        return Estimate(value, None, None, int(known.sum()))
    return _with_interval(value, draws[:, known] @ values[known], draws[:, known].sum(1), int(known.sum()))


def _pooled(counts: npt.NDArray[np.float64], draws: npt.NDArray[np.float64] | None, factor: float) -> Estimate:
    """Return factor * TP / (factor * TP + FP + FN) over all pixels: Dice for a factor of 2, Jaccard for 1."""
    weights = np.array([factor, 1.0, 1.0])
    total = float((counts.sum(0) * weights).sum())
    if total == 0:
        return Estimate(None, None, None, 0)
    value = factor * float(counts[:, 0].sum()) / total
    if draws is None:
        return Estimate(value, None, None, len(counts))
    resampled = draws @ counts
    return _with_interval(value, factor * resampled[:, 0], resampled @ weights, len(counts))


def _with_interval(value: float, above: npt.NDArray[np.float64], below: npt.NDArray[np.float64], n: int) -> Estimate:
    ratios = above[below > 0] / below[below > 0]
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Estimate(value, float(low), float(high), n)
