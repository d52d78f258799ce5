"""The challenge's pixel error (paper §4, Table 1)."""

from collections.abc import Sequence

import numpy as np
from numba import njit

from unet2015.metrics.sweep import (
    CHALLENGE_THRESHOLDS,
    Score,
    best_score,
    check_stacks,
    check_thresholds,
    f_score,
    for_each_slice,
)


def pixel_error(
    labels: np.ndarray,
    probability: np.ndarray,
    *,
    thresholds: Sequence[float] = CHALLENGE_THRESHOLDS,
    threads: int | None = None,
) -> Score:
    """The pixel error (paper Table 1): 1 − the maximal F-score of pixel similarity.

    A pixel of the proposal is cell where its probability is > threshold; the positive class is
    cell. Counts are summed over the stack; precision is 1 without a false positive, recall 1
    without a false negative, F = 0 where both are 0. (Not the fraction of wrong pixels.)

    Args:
        labels: (N, H, W) or (H, W), bool or integers {0, 1} or {0, 255}; cell = nonzero.
        probability: the same shape, float32 or float64 in [0, 1], probability of cell.
        thresholds: increasing, in [0, 1]. Default: the 11 of the challenge (script of 22 January
            2015).
        threads: None = all processors (our choice; the result does not depend on it).

    Returns:
        The score; its curve is 1 − F per threshold.

    Raises:
        ValueError: as `check_stacks`; thresholds that do not increase within [0, 1].

    >>> pixel_error(np.array([[0, 1, 1]]), np.array([[0.2, 0.6, 0.4]]), thresholds=(0.3,)).value
    0.0
    """
    thresholds = check_thresholds(thresholds)
    counts = pixel_counts(*check_stacks(labels, probability), thresholds, threads)
    return pixel_error_of(counts, thresholds)


def pixel_counts(
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: Sequence[float],
    threads: int | None = None,
) -> np.ndarray:
    """True positive, false positive and false negative pixels of the stack at each threshold.

    labels, probability: from `check_stacks`. Returns (thresholds, 3) int64.

    >>> cells, p = check_stacks(np.array([[0, 1, 1]]), np.array([[0.2, 0.6, 0.4]]))
    >>> pixel_counts(cells, p, (0.1, 0.5))
    array([[2, 1, 0],
           [1, 0, 1]])
    """
    positive = np.zeros((len(labels), len(thresholds), 2), np.int64)
    limits = np.array(thresholds, np.float64)

    def count(z: int) -> None:
        _count_positive(labels[z], probability[z], limits, positive[z])

    for_each_slice(count, len(labels), threads)
    false, true = positive.sum(0).T
    return np.stack([true, false, np.count_nonzero(labels) - true], axis=1)


def pixel_error_of(counts: np.ndarray, thresholds: Sequence[float]) -> Score:
    """The pixel error of the counts of `pixel_counts`.

    >>> pixel_error_of(np.array([[2, 1, 0], [1, 0, 1]]), (0.1, 0.5)).curve
    (0.19999999999999996, 0.33333333333333337)
    """
    true, false, missed = counts.T
    one = np.ones(len(counts))
    precision = np.divide(true, true + false, out=one.copy(), where=false > 0)
    recall = np.divide(true, true + missed, out=one.copy(), where=missed > 0)
    errors = 1 - np.nan_to_num(f_score(precision, recall))
    return best_score(errors, thresholds, is_error=True)


@njit(cache=True, nogil=True)
def _count_positive(
    cells: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, positive: np.ndarray
) -> None:
    """Adds, per threshold, the pixels above it: column 0 those outside cells, column 1 inside."""
    for y in range(cells.shape[0]):
        for x in range(cells.shape[1]):
            # compared in double, as the organisers do: float32(0.6) > 0.6
            p = np.float64(probability[y, x])
            inside = int(cells[y, x])
            for t in range(len(thresholds)):
                if p > thresholds[t]:
                    positive[t, inside] += 1
                else:
                    break
