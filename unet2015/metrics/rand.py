"""The challenge's region metrics: the Rand error, and V^Rand and V^Info after border thinning.

All three compare the 4-connected cells of the labels with the segments of the proposal, over the
pixels of true cells only. Background of the proposal there counts as segments of one pixel each
(the organisers' scripts of 22 January 2015 and 12 January 2016).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from unet2015.metrics.labelling import column_major, framed, label_cells, parents_of
from unet2015.metrics.sweep import (
    CHALLENGE_THRESHOLDS,
    Score,
    best_score,
    check_stacks,
    check_thresholds,
    f_score,
    for_each_slice,
)
from unet2015.metrics.thinning import flood, queue_of

_NO_ENTROPY = 1e-12  # the organisers test for exactly 0; a single segment can leave rounding


@dataclass(frozen=True, eq=False)
class RegionOverlaps:
    """How the cells of the labels and the segments of the proposal overlap, (thresholds, slices).

    With c_ij the pixels of true cell i in segment j, over the n pixels of true cells; j = 0 is the
    proposal's background, b = Σ_i c_i0 its pixels, each a segment of its own.
    """

    cells: np.ndarray
    """int64: the number of true cells."""
    segments: np.ndarray
    """int64: the number of segments of the proposal in the whole slice."""
    joined_in_both: np.ndarray
    """int64: Σ c_ij² over i, j ≥ 1, + b; the true positives of the Rand index."""
    joined_in_proposal: np.ndarray
    """int64: Σ_j (Σ_i c_ij)² over j ≥ 1, + b; true and false positives."""
    joined_in_truth: np.ndarray
    """int64: Σ_i (Σ_j c_ij)² over j ≥ 0; true positives and false negatives."""
    entropy_truth: np.ndarray
    """float64, nats: H(T)."""
    entropy_proposal: np.ndarray
    """float64, nats: H(S)."""
    entropy_joint: np.ndarray
    """float64, nats: H(S, T)."""


def rand_error(
    labels: np.ndarray,
    probability: np.ndarray,
    *,
    thresholds: Sequence[float] = CHALLENGE_THRESHOLDS,
    threads: int | None = None,
) -> Score:
    """The Rand error (paper Table 1): 1 − the maximal F-score of the foreground-restricted Rand.

    Pairs are counted over the pixels of true cells, a pixel with itself included (n², not
    n(n − 1)), and summed over the slices before the F-score is taken. A slice without a true cell
    leaves the figure undefined; the challenge then has F = 0, an error of 1.

    Args:
        labels: (N, H, W) or (H, W), bool or integers {0, 1} or {0, 255}; cell = nonzero.
        probability: the same shape, float32 or float64 in [0, 1], probability of cell.
        thresholds: increasing, in [0, 1]. Default: the 11 of the challenge (script of 22 January
            2015).
        threads: None = all processors (our choice; the result does not depend on it).

    Returns:
        The score; its curve is 1 − F per threshold, split is recall, merge is precision.

    Raises:
        ValueError: as `check_stacks`; thresholds that do not increase within [0, 1].

    >>> merged = np.array([[0.9, 0.9, 0.9, 0.9, 0.9]])
    >>> score = rand_error(np.array([[1, 1, 0, 1, 1]]), merged, thresholds=(0.5,))
    >>> score.merge, score.split  # 8 of the proposal's 16 ordered pairs are true ones
    (0.5, 1.0)
    """
    thresholds = check_thresholds(thresholds)
    plain, _ = overlap_sweep(*check_stacks(labels, probability), thresholds, threads)
    return rand_error_of(plain, thresholds)


def v_rand(
    labels: np.ndarray,
    probability: np.ndarray,
    *,
    thresholds: Sequence[float] = CHALLENGE_THRESHOLDS,
    threads: int | None = None,
) -> Score:
    """V^Rand after border thinning: the F-score of the Rand split and merge scores.

    As `rand_error`, with the proposal's borders thinned to dams (`watershed_segments`) and the
    F-score averaged over the slices, where one without a true cell counts 0. Arguments and errors
    as `rand_error` (defaults: script of 12 January 2016).

    Returns:
        The score, 1 = perfect; split is recall and merge is precision of the pairs of all slices
        together, as the organisers report them.

    >>> v_rand(np.array([[1, 1, 0, 1, 1]]), np.array([[1.0, 0.0, 0.0, 0.0, 1.0]])).value
    1.0
    """
    thresholds = check_thresholds(thresholds)
    _, thinned = overlap_sweep(*check_stacks(labels, probability), thresholds, threads)
    return v_rand_of(thinned, thresholds)


def v_info(
    labels: np.ndarray,
    probability: np.ndarray,
    *,
    thresholds: Sequence[float] = CHALLENGE_THRESHOLDS,
    threads: int | None = None,
) -> Score:
    """V^Info after border thinning: the F-score of the information split and merge scores.

    With I the mutual information of true cells T and segments S: merge = I/H(T), split = I/H(S),
    per slice; their harmonic mean F is averaged over the slices. A slice without a true cell, or
    with H(T) or H(S) = 0 (a single cell, a single segment) counts 0, even where both agree.
    Arguments and errors as `rand_error` (defaults: script of 12 January 2016).

    Returns:
        The score, 1 = perfect; split and merge are means over the slices.

    >>> v_info(np.array([[1, 1, 0, 1, 1]]), np.array([[1.0, 0.0, 0.0, 0.0, 1.0]])).value
    1.0
    """
    thresholds = check_thresholds(thresholds)
    _, thinned = overlap_sweep(*check_stacks(labels, probability), thresholds, threads)
    return v_info_of(thinned, thresholds)


def rand_error_of(overlaps: RegionOverlaps, thresholds: Sequence[float]) -> Score:
    """The Rand error of the overlaps of a sweep (`overlap_sweep`, the first of the two)."""
    precision, recall = _pooled_precision_recall(overlaps)
    f = np.nan_to_num(f_score(precision, recall))
    undefined = (overlaps.joined_in_truth == 0).any(axis=1)
    errors = np.where(undefined, 1.0, 1 - f)
    return best_score(errors, thresholds, is_error=True, split=recall, merge=precision)


def v_rand_of(overlaps: RegionOverlaps, thresholds: Sequence[float]) -> Score:
    """V^Rand of the overlaps of a sweep (`overlap_sweep`, the second of the two)."""
    f = f_score(
        _ratio(overlaps.joined_in_both, overlaps.joined_in_proposal),
        _ratio(overlaps.joined_in_both, overlaps.joined_in_truth),
    )
    precision, recall = _pooled_precision_recall(overlaps)
    curve = np.nan_to_num(f).mean(axis=1)
    return best_score(curve, thresholds, is_error=False, split=recall, merge=precision)


def v_info_of(overlaps: RegionOverlaps, thresholds: Sequence[float]) -> Score:
    """V^Info of the overlaps of a sweep (`overlap_sweep`, the second of the two)."""
    merge, split = information_scores(overlaps)
    f = f_score(merge, split)
    f[overlaps.joined_in_truth == 0] = 0
    # independent segmentations (I = 0) have no F-score, and the sweep then skips the threshold
    means = (np.nan_to_num(f.mean(axis=1)), split.mean(axis=1), merge.mean(axis=1))
    # rounding of the logarithms can leave a perfect score a digit above 1
    curve, split, merge = (np.clip(mean, 0, 1) for mean in means)
    return best_score(curve, thresholds, is_error=False, split=split, merge=merge)


def information_scores(overlaps: RegionOverlaps) -> tuple[np.ndarray, np.ndarray]:
    """Information merge and split score, I/H(T) and I/H(S), (thresholds, slices) float64 in [0, 1].

    H(T) = 0 (one true cell): merge 1, split 0. H(S) = 0 (one segment): merge 0, split 1. No true
    cell: both 0.
    """
    truth, proposal = overlaps.entropy_truth, overlaps.entropy_proposal
    mutual = truth + proposal - overlaps.entropy_joint
    one_cell, one_segment = np.abs(truth) < _NO_ENTROPY, np.abs(proposal) < _NO_ENTROPY
    defined = ~one_cell & ~one_segment
    merge = np.divide(mutual, truth, out=one_cell.astype(np.float64), where=defined)
    split = np.divide(mutual, proposal, out=np.zeros_like(mutual), where=defined)
    merge[one_segment], split[one_segment] = 0, 1
    empty = overlaps.joined_in_truth == 0
    merge[empty], split[empty] = 0, 0
    return merge, split


def overlap_sweep(
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: Sequence[float],
    threads: int | None = None,
) -> tuple[RegionOverlaps, RegionOverlaps]:
    """The overlaps of labels and proposal at every threshold: with its components, and thinned.

    labels, probability: from `check_stacks`. One pass over the slices serves the Rand error, V^Rand
    and V^Info, since thinning starts from the components that the Rand error needs.
    """
    size = (2, len(thresholds), len(labels))
    counts = np.zeros((*size, 5), np.int64)
    entropies = np.zeros((*size, 3), np.float64)
    limits = np.array(thresholds, np.float64)

    def sweep(z: int) -> None:
        truth, proposal = column_major(labels[z]), column_major(probability[z])
        _sweep_slice(truth, proposal, limits, counts[:, :, z], entropies[:, :, z])

    for_each_slice(sweep, len(labels), threads)
    plain, thinned = (
        RegionOverlaps(*np.moveaxis(counts[i], -1, 0), *np.moveaxis(entropies[i], -1, 0))
        for i in range(2)
    )
    return plain, thinned


def _pooled_precision_recall(overlaps: RegionOverlaps) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of the pairs of all slices together, (thresholds,); 0 without pairs."""
    both = overlaps.joined_in_both.sum(axis=1)
    precision = _ratio(both, overlaps.joined_in_proposal.sum(axis=1))
    return precision, _ratio(both, overlaps.joined_in_truth.sum(axis=1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _sweep_slice(
    truth: np.ndarray,
    probability: np.ndarray,
    thresholds: np.ndarray,
    counts: np.ndarray,
    entropies: np.ndarray,
) -> None:
    """Fills counts (2, thresholds, 5) and entropies (2, thresholds, 3) of one transposed slice."""
    shape = truth.shape
    ids, parents, queue = framed(*shape), parents_of(*shape), queue_of(*shape)
    cells = label_cells(truth, ids, parents)
    order, starts = _pixels_by_cell(ids, cells)
    sums = (np.zeros(truth.size + 1, np.int64), np.zeros(truth.size + 1, np.int64))
    for t, threshold in enumerate(thresholds):
        # a float64 scalar of an array, so that float32 is compared in double
        segments = label_cells(probability > threshold, ids, parents)
        _overlap(order, starts, ids, segments, *sums, counts[0, t], entropies[0, t])
        segments = flood(ids, segments, queue)
        _overlap(order, starts, ids, segments, *sums, counts[1, t], entropies[1, t])


@njit(cache=True, nogil=True)
def _pixels_by_cell(ids: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the pixels of cell 1, then 2, …; cell i has starts[i − 1] … starts[i]."""
    flat = ids.reshape(-1)
    starts = np.zeros(cells + 2, np.int64)
    for k in range(len(flat)):
        if flat[k] > 0:
            starts[flat[k] + 1] += 1
    starts = np.cumsum(starts)
    order = np.empty(starts[-1], np.int32)
    for k in range(len(flat)):
        if flat[k] > 0:
            # fills from starts[i] on, which ends where the next cell starts
            order[starts[flat[k]]] = k
            starts[flat[k]] += 1
    return order, starts


@njit(cache=True, nogil=True)
def _overlap(
    order: np.ndarray,
    starts: np.ndarray,
    ids: np.ndarray,
    segments: int,
    in_cell: np.ndarray,
    in_all: np.ndarray,
    counts: np.ndarray,
    entropies: np.ndarray,
) -> None:
    """Counts and entropies of one slice at one threshold; ids ≤ 0 are the proposal's background.

    in_cell, in_all: (more than segments,) int64 work space, all 0 before and after.
    """
    n = len(order)
    both, background, h_joint = _count_pairs(order, starts, ids.reshape(-1), in_cell, in_all)
    proposal, h_proposal = _sum_up(in_all[: segments + 1], n)
    in_all[: segments + 1] = 0
    truth, h_truth = _sum_up(np.diff(starts), n)
    singletons = background / n * np.log(n) if n > 0 else 0.0
    counts[0] = len(starts) - 2
    counts[1] = segments
    counts[2] = both + background
    counts[3] = proposal + background
    counts[4] = truth
    entropies[0] = h_truth
    entropies[1] = h_proposal + singletons
    entropies[2] = h_joint + singletons


@njit(cache=True, nogil=True)
def _count_pairs(
    order: np.ndarray,
    starts: np.ndarray,
    flat: np.ndarray,
    in_cell: np.ndarray,
    in_all: np.ndarray,
) -> tuple[int, int, float]:
    """Σ c_ij² and −Σ p_ij log p_ij over i, j ≥ 1, and the background b; in_all[j] becomes Σ_i c_ij.

    Cell by cell, so that one row of the table of c_ij is held at a time: noise has thousands of
    segments.
    """
    both = 0
    background = 0
    entropy = 0.0
    for i in range(len(starts) - 2):
        for k in order[starts[i] : starts[i + 1]]:
            if flat[k] > 0:
                in_cell[flat[k]] += 1
            else:
                background += 1
        for k in order[starts[i] : starts[i + 1]]:
            j = flat[k]
            if j > 0 and in_cell[j] > 0:
                pixels = int(in_cell[j])
                both += pixels * pixels
                entropy += _entropy_term(pixels, len(order))
                in_all[j] += pixels
                in_cell[j] = 0
    return both, background, entropy


@njit(cache=True, nogil=True)
def _sum_up(sizes: np.ndarray, n: int) -> tuple[int, float]:
    """Σ size² and the entropy −Σ p log p of p = size/n, in nats."""
    squares = 0
    entropy = 0.0
    for size in sizes:
        squares += size * size
        entropy += _entropy_term(size, n)
    return squares, entropy


@njit(cache=True, nogil=True)
def _entropy_term(part: int, whole: int) -> float:
    """−p log p of p = part/whole, in nats; 0 of nothing."""
    if part == 0:
        return 0.0
    p = part / whole
    return -p * np.log(p)
