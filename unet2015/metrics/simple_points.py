"""Simple points of a 2-D binary image: pixels that can be flipped without changing its topology.

The warping error (paper §4, Table 1) warps the labels by flipping such pixels only. Cells are
4-connected and membrane is 8-connected, as in the EM challenge.
"""

import functools

import numpy as np

RING_YX = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""The 8 neighbours of a pixel, once around it; neighbour k is bit k of a ring code. Even k touch
the pixel by a corner, odd k by an edge."""


def is_simple(ring: tuple[bool, ...]) -> bool:
    """Whether a pixel with this ring is a simple point of digital topology (4, 8).

    It is, if exactly one 4-connected component of the ring's cells touches it by an edge and the
    ring's membrane is exactly one 8-connected component (both counted within the ring). The pixel
    itself plays no part: if it can be flipped, then there and back.

    ring: 8 values, True = cell, in the order of `RING_YX`.
    Raises ValueError for another number of values.

    >>> is_simple((True, True, True, False, False, False, False, False))  # an edge of a cell
    True
    >>> is_simple((False, True, False, False, False, True, False, False))  # a bridge or a gap
    False
    >>> is_simple((False,) * 8)  # an isolated pixel
    False
    """
    if len(ring) != 8:
        raise ValueError(f"ring has {len(ring)} values: must have 8, one per neighbour of a pixel")
    cell = [k for k in range(8) if ring[k]]
    membrane = [k for k in range(8) if not ring[k]]
    touching = [part for part in _components(cell, 1) if any(k % 2 for k in part)]
    return len(touching) == 1 and len(_components(membrane, 2)) == 1


@functools.cache
def simple_point_table() -> np.ndarray:
    """`is_simple` of all rings: (256,) bool, indexed by the sum of 2^k over the cells k.

    Read-only. 116 of the 256 are True, so 232 of the 512 patches of 3×3 pixels are simple.

    >>> int(simple_point_table().sum())
    116
    """
    table = np.array(
        [is_simple(tuple(bool(code >> k & 1) for k in range(8))) for code in range(256)]
    )
    table.flags.writeable = False
    return table


def _components(positions: list[int], distance: int) -> list[set[int]]:
    """Connected components of ring positions; neighbours are 1 (4-connected) or also 2 apart.

    Two positions on either side of a corner are 8-neighbours (they touch by a corner); two on
    either side of an edge neighbour are not.
    """
    parts: list[set[int]] = []
    for k in positions:
        near = {(k - 1) % 8, (k + 1) % 8}
        if distance == 2 and k % 2:
            near |= {(k - 2) % 8, (k + 2) % 8}
        joined = [part for part in parts if part & near]
        parts = [part for part in parts if not part & near]
        parts.append({k}.union(*joined))
    return parts
