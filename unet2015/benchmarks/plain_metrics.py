"""The challenge's metrics written plainly with NumPy and SciPy: what ours is timed beside.

The same definitions as unet2015.metrics, independent of its code and as simple as they can be
written; one core. Every function takes labels (N, H, W) bool, probability (N, H, W) float32 and
the thresholds, and returns one value per threshold: what the metric's `Score.curve` holds.
"""

from collections import deque
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import ndimage

RING = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""The 8 neighbours (row, column) in the order of the bits of a neighbourhood's number."""
EIGHT = np.ones((3, 3), int)
_NOWHERE, _WAITING = -1, -2


def pixel_error_curve(
    labels: np.ndarray, probability: np.ndarray, thresholds: Sequence[float]
) -> list[float]:
    """1 - F-score of the pixels 'cell', pooled over the slices."""
    curve = []
    for threshold in thresholds:
        cells = _above(probability, threshold)
        tp, fp, fn = (np.sum(m) for m in (cells & labels, cells & ~labels, labels & ~cells))
        curve.append(1 - _f_score(tp / (tp + fp) if fp else 1.0, tp / (tp + fn) if fn else 1.0))
    return curve


def rand_error_curve(
    labels: np.ndarray, probability: np.ndarray, thresholds: Sequence[float]
) -> list[float]:
    """1 - F-score of the foreground-restricted Rand index, pooled over the slices."""
    truth = [_components(plane) for plane in labels]
    curve = []
    for threshold in thresholds:
        segments = [_components(_above(plane, threshold)) for plane in probability]
        sums = [_rand_sums(*planes) for planes in zip(truth, segments, strict=True)]
        empty = not all(plane.any() for plane in labels)
        curve.append(1 - (0.0 if empty else _rand_f_score(*np.sum(sums, axis=0))))
    return curve


def v_rand_curve(
    labels: np.ndarray, probability: np.ndarray, thresholds: Sequence[float]
) -> list[float]:
    """V^Rand after border thinning: the mean over the slices of the Rand F-score."""
    return _v_curves(labels, probability, thresholds)[0]


def v_info_curve(
    labels: np.ndarray, probability: np.ndarray, thresholds: Sequence[float]
) -> list[float]:
    """V^Info after border thinning: the mean over the slices of the information F-score."""
    return _v_curves(labels, probability, thresholds)[1]


def warping_error_curve(
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: Sequence[float],
    radius_px: int = 20,
) -> list[float]:
    """The minimum-splits-and-mergers warping error: (splits + mergers) / pixels."""
    curve = []
    for threshold in thresholds:
        wrong = sum(
            _splits_and_mergers(*planes, threshold, radius_px)
            for planes in zip(labels, probability, strict=True)
        )
        curve.append(wrong / labels.size)
    return curve


def all_curves(
    labels: np.ndarray, probability: np.ndarray, thresholds: Sequence[float]
) -> dict[str, list[float]]:
    """The whole protocol of 2015; the warping error without the last threshold (0.0 … 0.9)."""
    v_rand, v_info = _v_curves(labels, probability, thresholds)
    return {
        "pixel_error": pixel_error_curve(labels, probability, thresholds),
        "rand_error": rand_error_curve(labels, probability, thresholds),
        "warping_error": warping_error_curve(labels, probability, thresholds[:-1]),
        "v_rand_thinned": v_rand,
        "v_info_thinned": v_info,
    }


def _above(probability: np.ndarray, threshold: float) -> np.ndarray:
    return probability.astype(np.float64) > threshold


def _components(mask: np.ndarray) -> np.ndarray:
    """4-connected components, 0 = outside the mask."""
    return ndimage.label(mask)[0]  # type: ignore[index]


def _f_score(precision: float, recall: float) -> float:
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def _contingency(truth: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Pixels of every pair (cell of the truth, segment), (cells, segments + 1)."""
    table = np.zeros((truth.max() + 1, segments.max() + 1), np.int64)
    np.add.at(table, (truth, segments), 1)
    return table[1:]


def _rand_sums(truth: np.ndarray, segments: np.ndarray) -> tuple[int, int, int]:
    """TP, TP + FP, TP + FN; background of the prediction inside cells counts as singletons."""
    table = _contingency(truth, segments)
    alone = table[:, 0].sum()
    both = (table[:, 1:] ** 2).sum() + alone
    in_segments = (table[:, 1:].sum(axis=0) ** 2).sum() + alone
    return both, in_segments, (table.sum(axis=1) ** 2).sum()


def _rand_f_score(both: int, in_segments: int, in_truth: int) -> float:
    return _f_score(both / in_segments, both / in_truth)


def _info_f_score(truth: np.ndarray, segments: np.ndarray) -> float:
    table = _contingency(truth, segments)
    pixels = table.sum()
    joint = table / pixels
    background = joint[:, 0].sum() * np.log(pixels)
    of_truth = _entropy(joint.sum(axis=1))
    of_segments = _entropy(joint[:, 1:].sum(axis=0)) + background
    information = of_truth + of_segments - _entropy(joint[:, 1:]) - background
    if of_segments < 1e-12:  # split 0
        return 0.0
    merge = information / of_truth if of_truth >= 1e-12 else 0.0
    return _f_score(merge, information / of_segments)


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return -float(np.sum(shares * np.log(shares)))


def _v_curves(
    labels: np.ndarray, probability: np.ndarray, thresholds: Sequence[float]
) -> tuple[list[float], list[float]]:
    """V^Rand and V^Info, which share the thinning."""
    truth = [_components(plane) for plane in labels]
    rand, info = [], []
    for threshold in thresholds:
        segments = [_thinned(_above(plane, threshold)) for plane in probability]
        pairs = [pair for pair in zip(truth, segments, strict=True) if pair[0].any()]
        rand.append(sum(_rand_f_score(*_rand_sums(*pair)) for pair in pairs) / len(labels))
        info.append(sum(_info_f_score(*pair) for pair in pairs) / len(labels))
    return rand, info


def _thinned(mask: np.ndarray) -> np.ndarray:
    """Segments grown over the membranes until they meet; 0 = the dams between them."""
    if not mask.any():
        return np.ones(mask.shape, int)
    width = mask.shape[1] + 2
    plane = np.pad(np.where(mask, _components(mask), _WAITING), 1, constant_values=_NOWHERE)
    segments = plane.ravel().tolist()
    around = (-1, -width, 1, width)
    columns, rows = np.nonzero(plane.T == _WAITING)
    places = (rows * width + columns).tolist()
    queue = deque(k for k in places if any(segments[k + step] > 0 for step in around))
    queued = set(queue)
    while queue:
        k = queue.popleft()
        near = {segments[k + step] for step in around}
        basins = {segment for segment in near if segment > 0}
        segments[k] = basins.pop() if len(basins) == 1 else 0
        for neighbour in (k + step for step in around):
            if segments[neighbour] == _WAITING and neighbour not in queued:
                queued.add(neighbour)
                queue.append(neighbour)
    return np.reshape(segments, plane.shape)[1:-1, 1:-1]


@cache
def _simple_points() -> tuple[bool, ...]:
    """For each of the 256 neighbourhoods whether its centre is simple: (4, 8)-connectivity."""
    table = []
    for number in range(256):
        ring = np.zeros((3, 3), bool)
        for bit, (row, column) in enumerate(RING):
            ring[1 + row, 1 + column] = number >> bit & 1
        background = ~ring
        background[1, 1] = False
        cells = _components(ring)
        touching = {int(cells[place]) for place in ((0, 1), (1, 0), (1, 2), (2, 1))} - {0}
        table.append(len(touching) == 1 and ndimage.label(background, EIGHT)[1] == 1)  # type: ignore[index]
    return tuple(table)


def _warped(labels: np.ndarray, probability: np.ndarray, threshold: float) -> np.ndarray:
    """The labels after all flips of simple points that bring them nearer to the prediction."""
    simple = _simple_points()
    target = np.pad(_above(probability, threshold), 1)
    key = np.pad(np.abs(probability.astype(np.float64) - threshold).astype(np.float32), 1)
    width = target.shape[1]
    steps = [row * width + column for row, column in RING]
    source = bytearray(np.pad(labels, 1).tobytes())
    while True:
        current = np.frombuffer(bytes(source), bool).reshape(target.shape)
        columns, rows = np.nonzero((current != target).T)
        order = np.argsort(-key[rows, columns], kind="stable")
        flipped = False
        for k in (rows * width + columns)[order].tolist():
            number = sum(source[k + step] << bit for bit, step in enumerate(steps))
            if simple[number]:
                source[k] ^= 1
                flipped = True
        if not flipped:
            return current[1:-1, 1:-1]


def _splits_and_mergers(
    labels: np.ndarray, probability: np.ndarray, threshold: float, radius_px: int
) -> int:
    warped = _warped(labels, probability, threshold)
    objects = np.pad(_components(warped), 1)
    # -1 outside the image: there are no neighbours
    objects[[0, -1]] = objects[:, [0, -1]] = -1
    mismatches = np.argwhere(warped != _above(probability, threshold))
    return sum(_splits_or_merges(warped, objects, y, x, radius_px) for y, x in mismatches)


def _splits_or_merges(
    warped: np.ndarray, objects: np.ndarray, row: int, column: int, radius_px: int
) -> bool:
    """Whether a mismatch touches two objects: a merger if it is background, a split if cell."""
    ring = objects[row : row + 3, column : column + 3].copy()
    ring[1, 1] = -1
    touched = set(ring.ravel().tolist()) - {-1}
    if len(touched) != 2 or not warped[row, column]:
        return len(touched) > 2
    # one object: would it fall in two, within the window, without this pixel?
    height, width = warped.shape
    whole = radius_px < 1 or radius_px > min(height, width)
    radius = max(height, width) if whole else radius_px
    top, left = max(0, row - radius), max(0, column - radius)
    window = warped[top : row + radius + 1, left : column + radius + 1].copy()
    centre = row - top, column - left
    window[centre] = False
    pieces = np.pad(_components(window), 1)
    ring = pieces[centre[0] : centre[0] + 3, centre[1] : centre[1] + 3].copy()
    return len(set(ring.ravel().tolist())) > 2
