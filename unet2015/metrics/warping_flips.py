"""The warping error, compiled, 1 of 2: warp the labels of one slice to its thresholded proposal.

A slice is handled transposed: its raster order is then the column-by-column order in which the
organisers' code visits pixels, and nothing else depends on the orientation. All images are flat and
carry a border of one membrane pixel, so that a neighbour is a constant away and always exists.

The image being warped holds component numbers, not only cell or membrane: flipping a simple point
never splits, joins, creates or removes a 4-connected component, so that the components of the
labels, carried along by the flips, are those of the warped image and need no new labelling.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from unet2015.metrics.labelling import components

_DIGIT_BITS = 11
"""Three digits of the radix sort hold the 31 bits of a float32 ≥ 0."""


class FlatSlice(NamedTuple):
    """One slice as the kernels take it: transposed, bordered and flat."""

    ids: np.ndarray
    """int32: the numbers of the labels' 4-connected components; 0 = membrane and border."""
    probability: np.ndarray
    """float32 in [0, 1]: the proposal."""
    width: int
    """Row length of both, border included."""


class Workspace(NamedTuple):
    """What the kernels write; each array has one entry per pixel, border included."""

    warped: np.ndarray
    """int32: the warped labels, as component numbers."""
    indices: np.ndarray
    """int32: the mismatches, in the order of the flips."""
    classes: np.ndarray
    """uint8: their classes."""
    keys: np.ndarray
    """uint32: the sort keys."""
    spare_keys: np.ndarray
    """uint32: the sort's other half."""
    queue: np.ndarray
    """int32: the sort's other half, then the queue of the floods."""
    reached: np.ndarray
    """int32: where the floods have been."""


def flat_slice(labels: np.ndarray, probability: np.ndarray) -> FlatSlice:
    """A slice, (H, W) bool and float32, made ready for the kernels."""
    height, width = labels.shape
    ids = np.zeros((width + 2, height + 2), np.int32)
    ids[1:-1, 1:-1] = components(labels).T
    proposal = np.zeros((width + 2, height + 2), np.float32)
    proposal[1:-1, 1:-1] = probability.T
    return FlatSlice(ids.ravel(), proposal.ravel(), height + 2)


def upright(flat: np.ndarray, width: int) -> np.ndarray:
    """The slice (H, W) that a flat image of row length `width` stands for."""
    return flat.reshape(-1, width)[1:-1, 1:-1].T


def workspace_of(image: FlatSlice) -> Workspace:
    """Room to warp and classify one slice, at any number of thresholds in turn."""
    types = (np.int32, np.int32, np.uint8, np.uint32, np.uint32, np.int32, np.int32)
    return Workspace(*(np.empty(image.ids.size, dtype) for dtype in types))


@njit(cache=True, nogil=True)
def warp(image: FlatSlice, threshold: float, simple: np.ndarray, work: Workspace) -> int:
    """Flips simple points of the labels until they are as near the proposal as they come.

    simple: (256,) bool, `simple_point_table`. Writes `work.warped` and, in the first places of
    `work.indices`, the mismatches that are left; returns their number.
    """
    work.warped[:] = image.ids
    count = _collect(image, threshold, work)
    _sort_stable(work, count)
    return _flip_simple_points(work.warped, image.width, simple, work.indices, count)


@njit(cache=True, nogil=True)
def _collect(image: FlatSlice, threshold: float, work: Workspace) -> int:
    """Indices, in raster order, where labels and proposal differ, and their sort keys.

    The key is float32(|p - threshold|), inverted as an integer: ascending keys are descending
    distances. Both the comparison and the difference are made in double.
    """
    ids, width = image.ids, image.width
    distance = np.empty(1, np.float32)
    as_integer = distance.view(np.uint32)
    count = 0
    for row in range(width, ids.size - width, width):
        for p in range(row + 1, row + width - 1):
            difference = np.float64(image.probability[p]) - threshold
            if (ids[p] != 0) != (difference > 0.0):
                distance[0] = np.float32(abs(difference))
                work.keys[count] = np.uint32(0x7FFFFFFF) - as_integer[0]
                work.indices[count] = p
                count += 1
    return count


@njit(cache=True, nogil=True)
def _sort_stable(work: Workspace, count: int) -> None:
    """Sorts the first `count` indices by their 31-bit keys; ties stay in order (radix sort).

    NumPy's stable sorts of 4-byte numbers are merge sorts, several times slower here.
    """
    keys, indices = work.keys, work.indices
    target_keys, target = work.spare_keys, work.queue
    mask = np.uint32((1 << _DIGIT_BITS) - 1)
    places = np.empty(1 << _DIGIT_BITS, np.int64)
    for digit in range(3):
        shift = np.uint32(digit * _DIGIT_BITS)
        places[:] = 0
        for i in range(count):
            places[(keys[i] >> shift) & mask] += 1
        before = 0
        for b in range(places.size):
            before, places[b] = before + places[b], before
        for i in range(count):
            b = (keys[i] >> shift) & mask
            target_keys[places[b]] = keys[i]
            target[places[b]] = indices[i]
            places[b] += 1
        keys, target_keys = target_keys, keys
        indices, target = target, indices
    # after an odd number of rounds the result stands in the other half
    work.indices[:count] = work.queue[:count]


@njit(cache=True, nogil=True)
def _flip_simple_points(
    warped: np.ndarray, width: int, simple: np.ndarray, indices: np.ndarray, count: int
) -> int:
    """Passes over the mismatches, flipping the simple ones, until one changes nothing.

    Keys do not change and the list only shrinks, so the order of the first sort stays right.
    Returns the number of mismatches left, which come first in `indices`.
    """
    while True:
        left = 0
        for i in range(count):
            p = indices[i]
            if simple[_ring_code(warped, p, width)]:
                warped[p] = _id_beside(warped, p, width) if warped[p] == 0 else 0
            else:
                indices[left] = p
                left += 1
        if left == count:
            return count
        count = left


@njit(cache=True, nogil=True, inline="always")
def _ring_code(ids: np.ndarray, p: int, width: int) -> int:
    """Which of the 8 neighbours are cell: the sum of 2^k in the order of `RING_YX`."""
    above, below = p - width, p + width
    code = np.int64(ids[above - 1] != 0)
    code |= np.int64(ids[above] != 0) << 1
    code |= np.int64(ids[above + 1] != 0) << 2
    code |= np.int64(ids[p + 1] != 0) << 3
    code |= np.int64(ids[below + 1] != 0) << 4
    code |= np.int64(ids[below] != 0) << 5
    code |= np.int64(ids[below - 1] != 0) << 6
    code |= np.int64(ids[p - 1] != 0) << 7
    return code  # pyright: ignore[reportReturnType]


@njit(cache=True, nogil=True, inline="always")
def _id_beside(ids: np.ndarray, p: int, width: int) -> int:
    """The component that touches a simple point by an edge; there is exactly one."""
    return max(max(ids[p - width], ids[p + width]), max(ids[p - 1], ids[p + 1]))
