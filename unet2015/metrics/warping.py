"""The warping error of the EM challenge, "minimum splits and mergers" (paper §4, Table 1).

The labels are warped towards the thresholded proposal by flipping simple points only, which moves
membranes but changes no topology (Jain et al., CVPR 2010); what then still differs is a topological
error. The challenge counts the pixels among them that merge or split cells, and takes the lowest
count of a sweep over thresholds. Written from the definitions of the organisers' public scripts
(script of 22 January 2015); counts are equal to theirs.

**Trap: the minimum is 0 as soon as one threshold leaves the proposal (almost) empty.** Cells then
shrink to single pixels, which are deleted objects, neither splits nor mergers: an all-zero proposal
scores a perfect 0. (Only a cell with a hole cannot shrink so: it stays a ring, and a ring wider
than the window counts as splits.) Report the threshold beside the figure, or
`guarded_warping_error`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from unet2015.metrics.simple_points import simple_point_table
from unet2015.metrics.sweep import (
    Score,
    best_score,
    challenge_thresholds,
    check_stacks,
    check_thresholds,
    for_each_slice,
)
from unet2015.metrics.warping_classes import MERGE, SPLIT, classify, count_clusters
from unet2015.metrics.warping_flips import (
    FlatSlice,
    Workspace,
    flat_slice,
    upright,
    warp,
    workspace_of,
)

MISMATCH_CLASSES = (
    "MERGE",
    "SPLIT",
    "HOLE_ADDITION",
    "HOLE_DELETION",
    "OBJECT_ADDITION",
    "OBJECT_DELETION",
)
"""What a pixel that cannot be warped away would do to the labels; the order of all counts here."""

WARPING_THRESHOLDS = challenge_thresholds(0.0, 0.9)
"""The ten thresholds of the challenge's script (22 January 2015) for this error."""

GUARD_FACTOR = 1.5
"""How far the proposal's share of cell pixels may be from the labels' (our choice: see
`guarded_warping_error`)."""


@dataclass(frozen=True, eq=False)
class WarpingCounts:
    """What is left after warping, per threshold and slice."""

    pixels: np.ndarray
    """(thresholds, slices, 6) int64: mismatching pixels by class, as `MISMATCH_CLASSES`."""
    mismatches: np.ndarray
    """(thresholds, slices) int64: their sum over the classes."""


@dataclass(frozen=True, eq=False)
class Mismatches:
    """What is left after warping to one threshold, and where."""

    pixels: np.ndarray
    """(slices, 6) int64: mismatching pixels by class, as `MISMATCH_CLASSES`."""
    clusters: np.ndarray
    """(slices, 6) int64: their connected components, i.e. errors instead of pixels."""
    classes: np.ndarray
    """(N, H, W) uint8: 0 where warped labels and proposal agree, else 1 + the class."""
    warped: np.ndarray
    """(N, H, W) bool: the warped labels, True = cell."""
    total: int
    """All mismatching pixels of the stack."""


def warping_error(
    labels: np.ndarray,
    probability: np.ndarray,
    *,
    thresholds: Sequence[float] = WARPING_THRESHOLDS,
    radius_px: int = 20,
    threads: int | None = None,
) -> Score:
    """The challenge's "minimum splits and mergers warping error" (paper §4, Table 1).

    The smallest, over thresholds, of (pixels that merge or split cells) / (pixels of the stack).
    **It is 0, but for cells with holes, if one threshold leaves the proposal (almost) empty**: read
    `threshold` too, or use `guarded_warping_error`.

    Args:
        labels: (N, H, W) or (H, W), bool or integers {0, 1} or {0, 255}; cell = nonzero.
        probability: the same shape, float32 or float64 in [0, 1], probability of cell; a pixel of
            the proposal is cell where it is > threshold. Slices are judged separately.
        thresholds: increasing, in [0, 1]. Default: 0, 0.1 … 0.9 (script of 22 January 2015).
        radius_px: half the side of the window in which a cell pixel must hold two parts of a cell
            together to count as a split (same script: 20); < 1 or > H or > W = the whole slice.
        threads: None = all processors (our choice; the result does not depend on it).

    Returns:
        The score, in [0, 1]; its curve is the error per threshold.

    Raises:
        ValueError: as `check_stacks`; thresholds that do not increase within [0, 1]; a radius that
            is no integer; threads < 1.

    >>> cell_pair = np.array([[1, 1, 0, 1, 1]] * 5)
    >>> warping_error(cell_pair, cell_pair.astype(float)).value
    0.0
    >>> merged = cell_pair.astype(float)
    >>> merged[2, 2] = 0.95  # a bridge between the cells at every threshold
    >>> warping_error(cell_pair, merged).value  # 1 pixel of 25
    0.04
    """
    cells, proposal = check_stacks(labels, probability)
    counts = warping_sweep(cells, proposal, thresholds, radius_px, threads)
    return warping_error_of(counts, thresholds, cells.size)


def guarded_warping_error(
    labels: np.ndarray,
    probability: np.ndarray,
    *,
    thresholds: Sequence[float] = WARPING_THRESHOLDS,
    radius_px: int = 20,
    threads: int | None = None,
) -> Score:
    """The warping error without its artefact; our addition, not a figure of the challenge.

    As `warping_error`, but the minimum is taken only over thresholds at which the proposal's share
    of cell pixels is at least 1/1.5 and at most 1.5 times the labels' (1.5 is our choice: wide for
    any segmentation, narrow enough that a proposal shrunk to nothing cannot win). `thresholds` and
    `curve` of the result are those that qualify; if none does, `value` and `threshold` are None.

    Arguments and errors as `warping_error`.

    >>> cell_pair = np.array([[1, 1, 0, 1, 1]] * 5)
    >>> warping_error(cell_pair, np.zeros((5, 5))).value
    0.0
    >>> guarded_warping_error(cell_pair, np.zeros((5, 5))).value is None
    True
    """
    cells, proposal = check_stacks(labels, probability)
    counts = warping_sweep(cells, proposal, thresholds, radius_px, threads)
    return guarded_warping_error_of(counts, thresholds, cells, proposal)


def mismatches(
    labels: np.ndarray,
    probability: np.ndarray,
    threshold: float,
    radius_px: int = 20,
    *,
    threads: int | None = None,
) -> Mismatches:
    """Where the labels cannot be warped to the proposal, by class, at one threshold.

    Arguments and errors as `warping_error`. `clusters` counts connected pixels of a class once, as
    the organisers' code can ("cluster by error"); the challenge does not.

    >>> cell_pair = np.array([[1, 1, 0, 1, 1]] * 5)
    >>> merged = cell_pair.astype(float)
    >>> merged[2, 2] = 1
    >>> found = mismatches(cell_pair, merged, 0.5)
    >>> found.total, MISMATCH_CLASSES[found.classes[0, 2, 2] - 1]
    (1, 'MERGE')
    """
    cells, proposal = check_stacks(labels, probability)
    (threshold,) = check_thresholds([threshold])
    radius = _checked_radius(radius_px)
    pixels = np.zeros((len(cells), 6), np.int64)
    clusters = np.zeros((len(cells), 6), np.int64)
    classes = np.zeros(cells.shape, np.uint8)
    warped = np.zeros(cells.shape, bool)

    def inspect(z: int) -> None:
        pixels[z], clusters[z], classes[z], warped[z] = _inspect_slice(
            cells[z], proposal[z], threshold, radius
        )

    for_each_slice(inspect, len(cells), threads)
    return Mismatches(pixels, clusters, classes, warped, int(pixels.sum()))


def warping_sweep(
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: Sequence[float],
    radius_px: int = 20,
    threads: int | None = None,
) -> WarpingCounts:
    """The mismatches of every slice at every threshold, from which both warping errors follow.

    labels: (N, H, W) bool and probability: (N, H, W) float32, as `check_stacks` returns them; the
    values are not looked at again. The other arguments as `warping_error`. Raises ValueError for
    other types, shapes, thresholds or threads.
    """
    values = np.array(check_thresholds(thresholds))
    radius = _checked_radius(radius_px)
    if labels.dtype != np.bool_ or probability.dtype != np.float32:
        raise ValueError(
            f"labels and probability are {labels.dtype} and {probability.dtype}: must be bool and "
            "float32; pass them through check_stacks first"
        )
    if labels.ndim != 3 or labels.shape != probability.shape or not labels.size:
        raise ValueError(
            f"labels and probability have shapes {labels.shape} and {probability.shape}: must be "
            "the same (N, H, W), none of them 0; pass them through check_stacks first"
        )
    pixels = np.zeros((len(labels), len(values), 6), np.int64)

    def sweep(z: int) -> None:
        image = flat_slice(labels[z], probability[z])
        degenerate = bool(labels[z].all())
        _sweep_slice(
            image, values, radius, degenerate, simple_point_table(), workspace_of(image), pixels[z]
        )

    for_each_slice(sweep, len(labels), threads)
    return WarpingCounts(pixels.swapaxes(0, 1), pixels.sum(axis=2).T)


def warping_error_of(
    counts: WarpingCounts, thresholds: Sequence[float], pixels_total: int
) -> Score:
    """`warping_error` from counts: the minimum of (MERGE + SPLIT) / pixels, its trap included.

    thresholds: those of the sweep. pixels_total: of the whole stack, N · H · W. Raises ValueError
    if there is not one threshold per row of the counts.
    """
    values = check_thresholds(thresholds)
    return best_score(_errors(counts, values, pixels_total), values, is_error=True)


def guarded_warping_error_of(
    counts: WarpingCounts,
    thresholds: Sequence[float],
    labels: np.ndarray,
    probability: np.ndarray,
) -> Score:
    """`guarded_warping_error` from counts (our addition, not a figure of the challenge).

    labels: bool and probability: float32, those of the sweep. Errors as `warping_error_of`.
    """
    values = check_thresholds(thresholds)
    errors = _errors(counts, values, labels.size)
    in_labels = np.count_nonzero(labels)
    # counted in float32 without a copy: p > t in double, exactly if p > the float32 at or below t
    limits = [_float32_at_or_below(value) for value in values]
    in_proposal = np.array([np.count_nonzero(probability > limit) for limit in limits])
    qualifies = (in_proposal * GUARD_FACTOR >= in_labels) & (
        in_proposal <= in_labels * GUARD_FACTOR
    )
    kept = tuple(value for value, good in zip(values, qualifies, strict=True) if good)
    if not kept:
        return Score(value=None, threshold=None, thresholds=(), curve=())
    return best_score(errors[qualifies], kept, is_error=True)


def _checked_radius(radius_px: int) -> int:
    if isinstance(radius_px, bool) or not isinstance(radius_px, (int, np.integer)):
        raise ValueError(
            f"radius_px = {radius_px!r}: must be an integer number of pixels, for instance 20; "
            "< 1 takes the whole slice"
        )
    return min(max(int(radius_px), 0), np.iinfo(np.int32).max)


def _errors(counts: WarpingCounts, thresholds: tuple[float, ...], pixels_total: int) -> np.ndarray:
    """(MERGE + SPLIT) / pixels per threshold."""
    if len(thresholds) != len(counts.pixels):
        raise ValueError(
            f"thresholds: {len(thresholds)} of them, but counts of {len(counts.pixels)}; "
            "pass those of the sweep"
        )
    return counts.pixels[:, :, [MERGE, SPLIT]].sum(axis=(1, 2)) / pixels_total


def _float32_at_or_below(value: float) -> np.float32:
    rounded = np.float32(value)
    if float(rounded) > value:
        return np.nextafter(rounded, np.float32(-np.inf))
    return rounded


@njit(cache=True, nogil=True)
def _sweep_slice(
    image: FlatSlice,
    thresholds: np.ndarray,
    radius: int,
    degenerate: bool,
    simple: np.ndarray,
    work: Workspace,
    pixels: np.ndarray,
) -> None:
    """Adds the mismatches of one slice, by threshold and class, to pixels (thresholds, 6)."""
    for t in range(thresholds.size):
        count = warp(image, thresholds[t], simple, work)
        classify(image.width, radius, degenerate, work, count)
        for i in range(count):
            pixels[t, work.classes[i]] += 1


def _inspect_slice(
    labels: np.ndarray, probability: np.ndarray, threshold: float, radius: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixel counts, cluster counts, class image and warped labels of one slice."""
    image = flat_slice(labels, probability)
    work = workspace_of(image)
    degenerate = bool(labels.all())
    count = warp(image, threshold, simple_point_table(), work)
    classify(image.width, radius, degenerate, work, count)
    found = work.classes[:count]
    classes = np.zeros(image.ids.size, np.uint8)
    classes[work.indices[:count]] = found + 1
    # where classes are those of an image that is all membrane, so are the clusters
    judged = np.zeros_like(work.warped) if degenerate else work.warped
    clusters = count_clusters(classes.copy(), judged, image.width, work, count)
    pixels = np.bincount(found, minlength=6)
    return pixels, clusters, upright(classes, image.width), upright(work.warped, image.width) != 0
