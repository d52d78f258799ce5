"""The warping error, compiled, 2 of 2: what each mismatch that is left does to the labels.

Slices are transposed, bordered and flat, as in `warping_flips`.
"""

import numpy as np
from numba import njit

from unet2015.metrics.warping_flips import Workspace

MERGE, SPLIT, HOLE_ADDITION, HOLE_DELETION, OBJECT_ADDITION, OBJECT_DELETION = range(6)


@njit(cache=True, nogil=True)
def classify(width: int, radius: int, degenerate: bool, work: Workspace, count: int) -> None:
    """The class of each of the first `count` mismatches in `work`, by the components around it.

    All are judged against the same warped image. radius: of the window; < 1 or larger than the
    slice = the whole slice. degenerate: the labels are cell everywhere.
    """
    if degenerate:
        # the organisers' code converts the slice to 8 bits by the range of its labels; where that
        # is a single value, all becomes 0 before the components are labelled
        work.classes[:count] = OBJECT_ADDITION
        return
    warped = work.warped
    height = warped.size // width
    if radius < 1 or radius > width - 2 or radius > height - 2:
        radius = max(width, height)
    ring = _ring(width)
    fronts = np.empty((2, 5), np.int64)
    work.reached[:] = 0
    for i in range(count):
        p = work.indices[i]
        objects, membrane = _around(warped, p, width, ring)
        if objects == 0:
            work.classes[i] = OBJECT_DELETION if warped[p] else OBJECT_ADDITION
        elif objects > 1 and membrane:
            work.classes[i] = SPLIT if warped[p] else MERGE
        elif objects == 1 and not membrane:
            work.classes[i] = HOLE_ADDITION if warped[p] else HOLE_DELETION
        elif warped[p] == 0:
            # in an image one pixel wide also two objects without membrane: the rule counts ids
            work.classes[i] = HOLE_ADDITION
        else:
            apart = _falls_apart(p, width, radius, ring, work, 5 * (i + 1), fronts)
            work.classes[i] = SPLIT if apart else HOLE_DELETION


@njit(cache=True, nogil=True)
def count_clusters(
    classes: np.ndarray, warped: np.ndarray, width: int, work: Workspace, count: int
) -> np.ndarray:
    """Connected components of the mismatches of each class: (6,) int64.

    classes: uint8, 1 + class at a mismatch, else 0; emptied. Mismatches that are cell and those
    that are membrane in `warped` form separate clusters. 4-connected, but MERGE and, at cells,
    HOLE_ADDITION are 8-connected.
    """
    clusters = np.zeros(6, np.int64)
    ring, queue = _ring(width), work.queue
    for i in range(count):
        p = work.indices[i]
        kind = classes[p]
        if kind == 0:
            continue
        clusters[kind - 1] += 1
        cell = warped[p] != 0
        by_corners = kind - 1 == MERGE or (kind - 1 == HOLE_ADDITION and cell)
        classes[p] = 0
        queue[0] = p
        tail = 1
        while tail > 0:
            tail -= 1
            q = queue[tail]
            for k in range(8):
                n = q + ring[k]
                if (by_corners or k % 2) and classes[n] == kind and (warped[n] != 0) == cell:
                    classes[n] = 0
                    queue[tail] = n
                    tail += 1
    return clusters


@njit(cache=True, nogil=True)
def _ring(width: int) -> np.ndarray:
    """The 8 neighbours in the order of `RING_YX`, as distances in a flat image."""
    return np.array([-width - 1, -width, -width + 1, 1, width + 1, width, width - 1, -1], np.int64)


@njit(cache=True, nogil=True)
def _around(ids: np.ndarray, p: int, width: int, ring: np.ndarray) -> tuple[int, bool]:
    """How many components (0, 1, or 2 for more) and whether membrane is around a pixel.

    Only neighbours inside the image count, not the border.
    """
    height = ids.size // width
    y, x = p // width, p % width
    inside = 1 < y < height - 2 and 1 < x < width - 2
    first = 0
    objects = 0
    membrane = False
    for offset in ring:
        n = p + offset
        if not inside:
            ny, nx = n // width, n % width
            if ny == 0 or nx == 0 or ny == height - 1 or nx == width - 1:
                continue
        if ids[n] == 0:
            membrane = True
        elif objects == 0:
            first = ids[n]
            objects = 1
        elif ids[n] != first:
            objects = 2
    return objects, membrane


@njit(cache=True, nogil=True)
def _falls_apart(
    p: int,
    width: int,
    radius: int,
    ring: np.ndarray,
    work: Workspace,
    stamp: int,
    fronts: np.ndarray,
) -> bool:
    """Whether the object around cell p is, in the window without p, more than one component.

    Floods from each run of ring cells at once, the fronts in turn: fronts that meet are one
    component, and one that runs dry before is a component of its own. Either end is near as a rule,
    so that few of the window's pixels are seen. `work.reached` holds stamp + k where front k (1 to
    4) has been, stamp at p, and less elsewhere. `fronts` holds, by front, the front it has been
    joined to, and how many of its pixels are queued.
    """
    warped, reached, queue = work.warped, work.reached, work.queue
    joined, queued = fronts
    top, bottom, left, right = _window(p, width, warped.size // width, radius)
    parts, tail = _seed_fronts(p, ring, work, stamp, fronts)
    head = 0
    while parts > 1:
        q = queue[head]
        head += 1
        mine = joined[reached[q] - stamp]
        queued[mine] -= 1
        qy, qx = q // width, q % width
        for k in range(1, 8, 2):
            n = q + ring[k]
            ny, nx = qy + (k == 5) - (k == 1), qx + (k == 3) - (k == 7)
            outside = ny < top or ny > bottom or nx < left or nx > right
            if warped[n] == 0 or outside or n == p:
                continue
            if reached[n] < stamp:
                reached[n] = stamp + mine
                queue[tail] = n
                tail += 1
                queued[mine] += 1
            elif joined[reached[n] - stamp] != mine:
                _join(fronts, mine, joined[reached[n] - stamp])
                parts -= 1
        if queued[mine] == 0 and parts > 1:
            return True
    return False


@njit(cache=True, nogil=True)
def _window(p: int, width: int, height: int, radius: int) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the window around p, within the image."""
    y, x = p // width, p % width
    return (
        max(y - radius, 1),
        min(y + radius, height - 2),
        max(x - radius, 1),
        min(x + radius, width - 2),
    )


@njit(cache=True, nogil=True)
def _seed_fronts(
    p: int, ring: np.ndarray, work: Workspace, stamp: int, fronts: np.ndarray
) -> tuple[int, int]:
    """Queues the ring's cells, each run of consecutive ones as a front; how many of both."""
    joined, queued = fronts
    work.reached[p] = stamp
    start = 0
    for k in range(8):
        if work.warped[p + ring[k]] == 0:
            start = k
    parts = 0
    tail = 0
    in_run = False
    for step in range(1, 8):
        n = p + ring[(start + step) % 8]
        if work.warped[n] == 0:
            in_run = False
            continue
        if not in_run:
            parts += 1
            joined[parts] = parts
            queued[parts] = 0
        in_run = True
        work.reached[n] = stamp + parts
        work.queue[tail] = n
        tail += 1
        queued[parts] += 1
    return parts, tail


@njit(cache=True, nogil=True)
def _join(fronts: np.ndarray, mine: int, other: int) -> None:
    joined, queued = fronts
    queued[mine] += queued[other]
    for k in range(1, 5):
        if joined[k] == other:
            joined[k] = mine
