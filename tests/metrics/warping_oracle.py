"""A slow oracle of the warping error: the algorithm word for word, without any shortcut.

Independent of the package: SciPy labels components, and every pass collects and sorts anew.
"""

import functools

import numpy as np
from scipy import ndimage

MERGE, SPLIT, HOLE_ADDITION, HOLE_DELETION, OBJECT_ADDITION, OBJECT_DELETION = range(6)
FOUR = ndimage.generate_binary_structure(2, 1)
EIGHT = ndimage.generate_binary_structure(2, 2)


def ids_of(mask: np.ndarray, structure: np.ndarray) -> np.ndarray:
    return ndimage.label(mask, structure)[0]  # pyright: ignore[reportIndexIssue]


@functools.cache
def simple(patch_bytes: bytes) -> bool:
    cells = np.frombuffer(patch_bytes, bool).reshape(3, 3).copy()
    cells[1, 1] = False
    membrane = ~cells
    membrane[1, 1] = False
    touching = set(ids_of(cells, FOUR)[FOUR]) - {0}
    return len(touching) == 1 and ids_of(membrane, EIGHT).max() == 1


def warp_oracle(labels: np.ndarray, probability: np.ndarray, threshold: float) -> np.ndarray:
    """The warped labels of one slice."""
    target = np.pad(probability.astype(np.float64) > threshold, 1)
    source = np.pad(labels, 1)
    key = np.pad(np.abs(probability.astype(np.float64) - threshold).astype(np.float32), 1)
    height, width = source.shape
    before = -1
    while True:
        left = [(y, x) for x in range(width) for y in range(height) if source[y, x] != target[y, x]]
        if len(left) == before:
            return source[1:-1, 1:-1]
        before = len(left)
        for y, x in sorted(left, key=lambda yx: -key[yx]):
            if simple(source[y - 1 : y + 2, x - 1 : x + 2].tobytes()):
                source[y, x] ^= True


def ids_around(ids: np.ndarray, y: int, x: int) -> set[int]:
    ring = ids[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].astype(int).tolist()
    ring[min(y, 1)].pop(min(x, 1))
    return {i for row in ring for i in row}


def splits_oracle(warped: np.ndarray, y: int, x: int, radius: int) -> bool:
    if radius < 1 or radius > warped.shape[0] or radius > warped.shape[1]:
        radius = max(warped.shape)
    window = np.pad(warped, radius)[y : y + 2 * radius + 1, x : x + 2 * radius + 1].copy()
    window[radius, radius] = False
    return len(ids_around(ids_of(window, FOUR), radius, radius)) > 2


def class_oracle(warped: np.ndarray, ids: np.ndarray, y: int, x: int, radius: int) -> int:
    around, cell = ids_around(ids, y, x), warped[y, x]
    if len(around) >= 3:
        return SPLIT if cell else MERGE
    if len(around) == 2:
        if not cell:
            return HOLE_ADDITION
        return SPLIT if splits_oracle(warped, y, x, radius) else HOLE_DELETION
    if around <= {0}:
        return OBJECT_DELETION if cell else OBJECT_ADDITION
    return HOLE_ADDITION if cell else HOLE_DELETION


def oracle(
    labels: np.ndarray, probability: np.ndarray, threshold: float, radius: int
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Warped labels, class image (0 = none, else 1 + class) and clusters of one slice."""
    warped = warp_oracle(labels, probability, threshold)
    left = warped != (probability.astype(np.float64) > threshold)
    seen = np.zeros_like(warped) if labels.all() else warped
    ids = ids_of(seen, FOUR)
    classes = np.zeros(labels.shape, np.uint8)
    for y, x in np.argwhere(left):
        classes[y, x] = 1 + class_oracle(seen, ids, y, x, radius)
    clusters = []
    for kind in range(6):
        of_cell, of_membrane = (classes == 1 + kind) & seen, (classes == 1 + kind) & ~seen
        near_membrane = EIGHT if kind == MERGE else FOUR
        near_cell = EIGHT if kind == HOLE_ADDITION else FOUR
        count = ids_of(of_cell, near_cell).max() + ids_of(of_membrane, near_membrane).max()
        clusters.append(count)
    return warped, classes, clusters
