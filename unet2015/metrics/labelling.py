"""4-connected components, as the challenge's region metrics and its border thinning count them.

Our own union-find instead of scikit-image's `label`: a sweep labels every slice at every threshold
(330 images for the training stack), and only a kernel that holds no lock runs on several threads.
"""

import numpy as np
from numba import njit

OUTSIDE = -1
"""The value of the frame that surrounds an image of ids, so that no neighbour needs a check."""


def components(cell_mask: np.ndarray) -> np.ndarray:
    """The 4-connected components of the cells of one slice, numbered from 1.

    cell_mask: (H, W) bool, True = cell. Returns (H, W) int32, 0 = membrane; the components are
    numbered column by column, in the order of their first pixels. Raises ValueError as
    `check_cell_mask`.

    >>> components(np.array([[True, False, True], [True, False, False], [False, True, True]]))
    array([[1, 0, 3],
           [1, 0, 0],
           [0, 2, 2]], dtype=int32)
    """
    cells = column_major(check_cell_mask(cell_mask))
    ids = framed(*cells.shape)
    label_cells(cells, ids, parents_of(*cells.shape))
    return np.ascontiguousarray(ids[1:-1, 1:-1].T)


def check_cell_mask(cell_mask: np.ndarray) -> np.ndarray:
    """The mask itself; ValueError unless it is boolean, (H, W), with at least one pixel.

    >>> check_cell_mask(np.zeros((1, 2), bool))
    array([[False, False]])
    """
    mask = np.asarray(cell_mask)
    if mask.dtype != np.bool_:
        raise ValueError(f"cell_mask: type {mask.dtype} must be bool; pass (cell_mask > 0)")
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(
            f"cell_mask: shape {mask.shape} must be one slice (H, W) with at least one pixel"
        )
    return mask


def column_major(image: np.ndarray) -> np.ndarray:
    """A slice (H, W) transposed to (W, H) in memory: the order in which the organisers scan."""
    return np.ascontiguousarray(image.T)


def framed(rows: int, columns: int) -> np.ndarray:
    """An image of ids (rows + 2, columns + 2) int32 inside its frame; the inside is still 0."""
    ids = np.full((rows + 2, columns + 2), OUTSIDE, np.int32)
    ids[1:-1, 1:-1] = 0
    return ids


def parents_of(rows: int, columns: int) -> np.ndarray:
    """Room for the union-find of an image, int32: a chessboard has the most provisional labels."""
    return np.zeros(rows * columns // 2 + 2, np.int32)


@njit(cache=True, nogil=True)
def label_cells(cells: np.ndarray, ids: np.ndarray, parents: np.ndarray) -> int:
    """Writes the 4-connected components of `cells` into the inside of `ids`; returns their number.

    cells: (A, B) bool. ids: from `framed(A, B)`. parents: from `parents_of(A, B)`. Two passes:
    provisional labels whose unions are noted, then each replaced by its root's number.
    """
    rows, columns = cells.shape
    labels = 0
    for a in range(rows):
        for b in range(columns):
            if not cells[a, b]:
                ids[a + 1, b + 1] = 0
                continue
            above = ids[a, b + 1]
            before = ids[a + 1, b]
            if above > 0:
                ids[a + 1, b + 1] = above
                # with a cell between them, the two have been united already
                if before > 0 and before != above and ids[a, b] <= 0:
                    _unite(parents, above, before)
            elif before > 0:
                ids[a + 1, b + 1] = before
            else:
                labels += 1
                parents[labels] = labels
                ids[a + 1, b + 1] = labels
    count = _number_roots(parents, labels)
    for a in range(1, rows + 1):
        for b in range(1, columns + 1):
            if ids[a, b] > 0:
                ids[a, b] = parents[ids[a, b]]
    return count


@njit(cache=True, nogil=True)
def _unite(parents: np.ndarray, first: int, second: int) -> None:
    while parents[first] != first:
        parents[first] = parents[parents[first]]
        first = parents[first]
    while parents[second] != second:
        parents[second] = parents[parents[second]]
        second = parents[second]
    if first < second:
        parents[second] = first
    else:
        parents[first] = second


@njit(cache=True, nogil=True)
def _number_roots(parents: np.ndarray, labels: int) -> int:
    """Replaces each provisional label's parent by its component's number; returns their count."""
    count = 0
    for label in range(1, labels + 1):
        if parents[label] == label:
            count += 1
            parents[label] = count
        else:
            # a parent is smaller than its child, so that its final number stands there already
            parents[label] = parents[parents[label]]
    return count
