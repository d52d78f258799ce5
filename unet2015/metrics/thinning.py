"""Border thinning: the proposal's borders shrink to dams before V^Rand and V^Info are taken.

The flooding of Vincent and Soille (1991) with 4 neighbours on the two-level image cell/membrane, as
in the organisers' script of 12 January 2016.
"""

import numpy as np
from numba import njit

from unet2015.metrics.labelling import (
    check_cell_mask,
    column_major,
    framed,
    label_cells,
    parents_of,
)

_QUEUED = -2
_DAM = -3


def watershed_segments(cell_mask: np.ndarray) -> np.ndarray:
    """The segments of a proposal after border thinning: cells grown until only dams part them.

    Basins are the 4-connected components of the cells. The membrane pixels beside them enter a
    queue column by column; first in, first out, each becomes a dam where its 4 neighbours hold two
    basins or no basin but a dam, else part of the one basin, and its membrane neighbours are
    queued. Without any cell the whole slice is one segment. Dams can be more than one pixel thick.

    cell_mask: (H, W) bool, True = cell. Returns (H, W) int32: 0 = dam, segments numbered from 1 as
    `components` numbers their basins. Raises ValueError for any other type or shape.

    >>> watershed_segments(np.array([[True, False, False, False, True, False]]))
    array([[1, 1, 0, 2, 2, 2]], dtype=int32)
    """
    cells = column_major(check_cell_mask(cell_mask))
    ids = framed(*cells.shape)
    count = label_cells(cells, ids, parents_of(*cells.shape))
    flood(ids, count, queue_of(*cells.shape))
    return np.ascontiguousarray(np.maximum(ids[1:-1, 1:-1].T, 0))


def queue_of(rows: int, columns: int) -> np.ndarray:
    """Room for the queue of an image, int32 positions: each pixel enters at most once."""
    return np.empty(rows * columns, np.int32)


@njit(cache=True, nogil=True)
def flood(ids: np.ndarray, basins: int, queue: np.ndarray) -> int:
    """Grows the basins of `ids` in place until every membrane pixel is segment or dam.

    ids: the framed image that `label_cells` filled, transposed, so that its rows are the columns
    of the slice. Afterwards segments are > 0 and dams < 0. Returns the number of segments.
    """
    if basins == 0:
        ids[1:-1, 1:-1] = 1
        return 1
    stride = ids.shape[1]
    flat = ids.reshape(-1)
    filled = _first_in_queue(ids, flat, queue)
    taken = 0
    while taken < filled:
        k = queue[taken]
        taken += 1
        segment = 0
        dam = False
        for neighbour in (k - stride, k - 1, k + stride, k + 1):
            value = flat[neighbour]
            if value > 0:
                if segment > 0 and segment != value:
                    dam = True
                segment = value
            elif value == 0:
                flat[neighbour] = _QUEUED
                queue[filled] = neighbour
                filled += 1
        # a queued pixel has a neighbour that was settled before it: no segment means a dam
        flat[k] = _DAM if dam or segment == 0 else segment
    return basins


@njit(cache=True, nogil=True)
def _first_in_queue(ids: np.ndarray, flat: np.ndarray, queue: np.ndarray) -> int:
    """Queues the membrane pixels beside a basin, in the order of memory; returns their number."""
    stride = ids.shape[1]
    filled = 0
    for a in range(1, ids.shape[0] - 1):
        for k in range(a * stride + 1, (a + 1) * stride - 1):
            if flat[k] == 0 and (
                flat[k - 1] > 0 or flat[k + 1] > 0 or flat[k - stride] > 0 or flat[k + stride] > 0
            ):
                flat[k] = _QUEUED
                queue[filled] = k
                filled += 1
    return filled
