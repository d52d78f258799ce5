"""What the challenge's figures share: the thresholds, the checks of the stacks, and a score.

Every figure of the ISBI 2012 challenge binarises the proposal at each of a list of thresholds and
keeps the best result (the organisers' evaluation scripts of 22 January 2015 and 12 January 2016).
"""

import itertools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Score:
    """One figure of the challenge: the best value over the thresholds, and where it was found.

    Of thresholds with equal values the lowest counts.
    """

    value: float | None
    """The smallest of `curve` for an error, the largest for V^Rand and V^Info; None = undefined."""
    threshold: float | None
    """The threshold at which `value` was reached; None where there is none."""
    thresholds: tuple[float, ...]
    """The thresholds of the sweep, increasing."""
    curve: tuple[float, ...]
    """The quantity at each threshold."""
    split: float | None = None
    """The split score (recall) at `threshold`, in [0, 1], 1 = nothing split; None = has none."""
    merge: float | None = None
    """The merge score (precision) at `threshold`, in [0, 1], 1 = nothing merged."""

    def as_dict(self) -> dict[str, Any]:
        """The score as plain values, ready for JSON; "split" and "merge" only where defined."""
        values: dict[str, Any] = {
            "value": self.value,
            "threshold": self.threshold,
            "thresholds": list(self.thresholds),
            "curve": list(self.curve),
        }
        parts = {"split": self.split, "merge": self.merge}
        return values | {name: part for name, part in parts.items() if part is not None}


def challenge_thresholds(
    first: float = 0.0, last: float = 1.0, step: float = 0.1
) -> tuple[float, ...]:
    """The thresholds of the challenge: `first`, then `step` added again and again, up to `last`.

    The sums are those of double precision (0.1 added three times is 0.30000000000000004), because
    the organisers add so and compare with the rounded sum. Defaults: the 11 thresholds of the
    pixel error, the Rand error, V^Rand and V^Info (script of 22 January 2015).

    Raises ValueError unless 0 ≤ first ≤ last ≤ 1 and step > 0.

    >>> challenge_thresholds(0.0, 0.5)
    (0.0, 0.1, 0.2, 0.30000000000000004, 0.4, 0.5)
    """
    if not 0 <= first <= last <= 1:
        raise ValueError(f"first = {first}, last = {last}: must be 0 ≤ first ≤ last ≤ 1")
    if not (step > 0 and math.isfinite(step)):
        raise ValueError(f"step = {step}: must be a finite number > 0, for instance 0.1")
    if first + step == first:
        raise ValueError(f"step = {step}: too small to be added to {first}; use 0.1")
    thresholds = []
    threshold = float(first)
    while threshold <= last:
        thresholds.append(threshold)
        threshold += step
    return tuple(thresholds)


CHALLENGE_THRESHOLDS = challenge_thresholds()
"""The 11 thresholds 0 … 1 of the challenge (script of 22 January 2015)."""


def check_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    """The thresholds as floats, or ValueError unless they increase strictly within [0, 1].

    >>> check_thresholds([0, 0.5])
    (0.0, 0.5)
    """
    values = tuple(float(threshold) for threshold in thresholds)
    if not values:
        raise ValueError("thresholds = (): at least one is needed, for instance (0.5,)")
    for value in values:
        if not 0 <= value <= 1:
            raise ValueError(f"thresholds: {value} is not within [0, 1], the range of probability")
    for before, after in itertools.pairwise(values):
        if after <= before:
            raise ValueError(
                f"thresholds: {after} follows {before}; they must increase, each given once"
            )
    return values


def check_stacks(labels: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and proposal as every figure takes them, checked: cell masks and float32.

    Args:
        labels: (N, H, W) or one slice (H, W); bool or integer, cell = nonzero, membrane = 0. Only
            {0, 1} or {0, 255} may occur.
        probability: the same shape, float32 or float64 in [0, 1], the probability of cell.
            float64 is rounded to float32, as the challenge stores proposals.

    Returns:
        (N, H, W) bool and (N, H, W) float32, both C-contiguous; copies only where needed.

    Raises:
        ValueError: shapes that differ or are empty, other types or values, NaN.

    >>> cells, p = check_stacks(np.array([[0, 255]]), np.array([[0.25, 1.0]]))
    >>> cells.tolist(), p.shape, p.dtype
    ([[[False, True]]], (1, 1, 2), dtype('float32'))
    """
    labels = np.asarray(labels)
    probability = np.asarray(probability)
    if labels.ndim not in (2, 3):
        raise ValueError(f"labels: shape {labels.shape} must be (slices, H, W), or (H, W) for one")
    if labels.shape != probability.shape:
        raise ValueError(
            f"probability: shape {probability.shape} must be that of labels, {labels.shape}"
        )
    if labels.size == 0:
        raise ValueError(f"labels: shape {labels.shape} has no pixel; give at least one slice")
    cells, proposal = _cells(labels), _proposal(probability)
    shape = (1, *labels.shape) if labels.ndim == 2 else labels.shape
    return cells.reshape(shape), proposal.reshape(shape)


def best_score(
    curve: np.ndarray,
    thresholds: Sequence[float],
    *,
    is_error: bool,
    split: np.ndarray | None = None,
    merge: np.ndarray | None = None,
) -> Score:
    """The score of a curve: its least value for an error, else its greatest; ties: the first.

    curve, split, merge: (thresholds,) float64 without NaN.

    >>> best_score(np.array([0.5, 0.25, 0.25]), (0.1, 0.2, 0.3), is_error=True).threshold
    0.2
    """
    best = int(np.argmin(curve) if is_error else np.argmax(curve))
    return Score(
        value=float(curve[best]),
        threshold=thresholds[best],
        thresholds=tuple(thresholds),
        curve=tuple(curve.tolist()),
        split=None if split is None else float(split[best]),
        merge=None if merge is None else float(merge[best]),
    )


def f_score(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """The harmonic mean 2PR/(P + R), elementwise, float64; NaN where P + R is 0 or NaN.

    >>> f_score(np.array([1.0, 0.0]), np.array([0.5, 0.0]))
    array([0.66666667,        nan])
    """
    total = precision + recall
    mean = np.full(np.shape(total), np.nan)
    return np.divide(2 * precision * recall, total, out=mean, where=total != 0)


def for_each_slice(work: Callable[[int], None], slices: int, threads: int | None = None) -> None:
    """Calls work(z) for every slice z, on several threads; each call must write only its own.

    threads: None = as many as the process may use (our choice; the results do not depend on it).
    Raises ValueError for threads < 1, and whatever `work` raises.

    >>> squares = [0, 0, 0]
    >>> for_each_slice(lambda z: squares.__setitem__(z, z * z), 3, threads=2)
    >>> squares
    [0, 1, 4]
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads = {threads}: must be at least 1, or None for all processors")
    workers = min(threads or _processors(), slices)
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, range(slices)):
            pass


def _processors() -> int:
    """The processors this process may use, which on a shared machine are fewer than it has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cells(labels: np.ndarray) -> np.ndarray:
    if labels.dtype == np.bool_:
        return np.ascontiguousarray(labels)
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels: type {labels.dtype} must be bool or integer; "
            "pass (labels > 0) if 0 is membrane"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    cells = np.ascontiguousarray(labels != 0)
    if lowest < 0 or highest not in (0, 1, 255):
        raise ValueError(
            f"labels: values {lowest} … {highest} must be {{0, 1}} or {{0, 255}}, cell = nonzero; "
            "pass (labels > 0) if 0 is membrane"
        )
    if not np.array_equal(labels == highest, cells) and highest:
        other = int(labels[cells & (labels != highest)].flat[0])
        raise ValueError(
            f"labels: {other} beside 0 and {highest}; only {{0, 1}} or {{0, 255}} may occur, "
            "cell = nonzero; pass (labels > 0) if 0 is membrane"
        )
    return cells


def _proposal(probability: np.ndarray) -> np.ndarray:
    if probability.dtype == np.bool_ or probability.dtype.kind in "iu":
        raise ValueError(
            f"probability: type {probability.dtype} must be float32 or float64 in [0, 1]; the "
            "organisers' code does not rescale 8-bit proposals, so divide 0 … 255 by 255 "
            "(a 0/1 mask: astype('float32'))"
        )
    if probability.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"probability: type {probability.dtype} must be float32 or float64")
    lowest, highest = float(probability.min()), float(probability.max())
    if math.isnan(lowest) or math.isnan(highest):
        raise ValueError("probability: holds NaN; every pixel needs a number in [0, 1]")
    if lowest < 0 or highest > 1:
        raise ValueError(
            f"probability: values {lowest} … {highest} must lie in [0, 1], the probability of cell"
        )
    return np.ascontiguousarray(probability, dtype=np.float32)
