"""The weight map of the loss: class balance and the borders between touching cells (paper §3).

Eq. 2: w(x) = w_c(x) + w0 · exp(−(d1(x) + d2(x))² / (2σ²)). Class numbers here are those of a
binary segmentation: 0 = background (EM: membrane), 1 = cell.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from unet2015.config import WeightMapConfig

NEGLIGIBLE = 1e-8
"""A weight that may be left out: below the resolution of float32 at 1."""

LATER_BACKGROUND, LATER_REACH_PX = 0.1, 10.0
"""Weight of background far from cells, and σ of its rise to 1 at the cells (later plugin)."""


def cells_from_binary(labels: np.ndarray) -> np.ndarray:
    """The cells of a binary segmentation: its 4-connected components (EM; metrics' convention).

    labels: (H, W), 0 = background, anything else = cell. Returns (H, W) int32, 0 = background,
    1 … n = cells in the order of their first pixels.

    >>> cells_from_binary(np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1]])).tolist()
    [[1, 0, 2], [1, 0, 0], [0, 3, 3]]
    """
    if labels.ndim != 2 or labels.size == 0:
        raise ValueError(f"labels of shape {labels.shape}: must be (H, W), not empty")
    cells = np.zeros(labels.shape, np.int32)
    ndimage.label(labels != 0, output=cells)
    return cells


def separate_touching(instances: np.ndarray) -> np.ndarray:
    """Instances with a thin ridge of background between touching ones (paper §3, Fig. 3).

    The paper: "the separation border is computed using morphological operations". Which ones is
    not specified; here a pixel becomes background if one of its W, NW, N and NE neighbours belongs
    to a different instance (later plugin). No two instances touch afterwards, not even at a
    corner. Along a horizontal border the ridge is one pixel wide, taken from the lower instance;
    along a vertical one it is two, as W cuts the right instance and NE the left one.

    instances: (H, W) integers, 0 = background. Returns a copy of the same dtype.

    >>> separate_touching(np.array([[1, 1, 2, 2]])).tolist()
    [[1, 1, 0, 2]]
    """
    instances = _check_instances(instances)
    separated = instances.copy()
    padded = np.pad(instances, 1)
    height, width = instances.shape
    for row, column in ((1, 0), (0, 0), (0, 1), (0, 2)):
        neighbour = padded[row : row + height, column : column + width]
        separated[(neighbour != 0) & (neighbour != instances)] = 0
    return separated


class OneClass(ValueError):
    """Labels in which one class does not occur, so that there is nothing to balance."""


def class_balance(
    labels_stack: Sequence[np.ndarray] | np.ndarray,
    ignore: Sequence[np.ndarray] | np.ndarray | None = None,
) -> tuple[float, float]:
    """w_c of background and cell, which "balances the class frequencies" (paper §3, Eq. 2).

    The paper: "to balance the different frequency of pixels from a certain class in the training
    data set", without a formula. Our choice: inversely proportional to the class's frequency in
    the whole training set, the commoner class at 1, so that w0 = 10 keeps its meaning.

    labels_stack: one (H, W) array per image, 0 = background, anything else = cell. ignore: the
    same shapes, True = not counted. Returns (background weight, cell weight), both ≥ 1. Raises
    OneClass, a ValueError, if one class does not occur.

    >>> class_balance([np.array([[0, 1, 1, 1]])])
    (3.0, 1.0)
    """
    masks = [None] * len(labels_stack) if ignore is None else ignore
    if len(masks) != len(labels_stack):
        raise ValueError(f"ignore of {len(masks)} images: labels_stack has {len(labels_stack)}")
    cell = total = 0
    for labels, mask in zip(labels_stack, masks, strict=True):
        counted = labels if mask is None else labels[~np.asarray(mask, bool)]
        cell += int(np.count_nonzero(counted))
        total += counted.size
    background = total - cell
    if not cell or not background:
        raise OneClass(
            f"{background} background and {cell} cell pixels in all labels; both classes must "
            "occur for 'balanced' class weights: choose 'none' to train without them"
        )
    commoner = max(background, cell)
    return commoner / background, commoner / cell


_DEFAULT = WeightMapConfig()


def border_weight_map(
    instances: np.ndarray,
    config: WeightMapConfig = _DEFAULT,
    *,
    class_weights: tuple[float, float] = (1.0, 1.0),
    ignore: np.ndarray | None = None,
) -> np.ndarray:
    """w = w_c + w0·exp(−(d1 + d2)² / (2σ²)), the pixel-wise loss weight (paper §3, Eq. 2).

    d1, d2: "the distance to the border of the nearest cell" and "of the second nearest cell", as
    the Euclidean distance in pixels to the closest pixel of that cell; 0 inside it (later plugin;
    the paper leaves open where exactly a border lies). With fewer than two cells w = w_c.

    instances: (H, W) integers, 0 = background, one number per cell: a mask of one number is one
    cell, which no border separates; `cells_from_binary` numbers its cells. config: w0, σ, where the
    term is added, and w_c: 'balanced' takes class_weights = (background, cell), which are those of
    the training set (`class_balance`); the default balances nothing.
    With `separate_touching`, distances and w_c are those of the separated instances: train on the
    labels `separate_touching(instances) > 0`. ignore: (H, W), True = weight 0.

    Returns (H, W) float32 ≥ 0, within 1e-6 of the exact value (the term is left out where it is
    below 1e-8). Raises ValueError for input that breaks these rules.

    >>> border_weight_map(np.array([[1, 0, 2]])).round(1).astype(str).tolist()
    [['10.2', '10.2', '10.2']]
    """
    instances = _check_instances(instances)
    if ignore is not None and ignore.shape != instances.shape:
        raise ValueError(
            f"ignore of shape {ignore.shape}: must be that of the instances, {instances.shape}"
        )
    if config.separate_touching:
        instances = separate_touching(instances)
    weights = _class_weight_map(instances, config, class_weights)
    if config.w0 > NEGLIGIBLE:
        reach_px = config.sigma_px * np.sqrt(2 * np.log(config.w0 / NEGLIGIBLE))
        d1, d2 = two_nearest_cells(instances, reach_px)
        border = config.w0 * np.exp(-((d1 + d2) ** 2) / (2 * config.sigma_px**2))
        if config.border_term == "background":
            border[instances != 0] = 0
        weights += border
    if ignore is not None:
        weights[np.asarray(ignore, bool)] = 0
    return weights.astype(np.float32)


def two_nearest_cells(instances: np.ndarray, reach_px: float) -> tuple[np.ndarray, np.ndarray]:
    """d1 and d2: distances to the nearest and the second nearest cell (paper §3, Eq. 2).

    instances: (H, W) integers, 0 = background. Returns two (H, W) float64 arrays in pixels, exact
    where they are at most `reach_px`; otherwise a value above `reach_px`, possibly infinity.
    """
    # gaps in the numbering would cost find_objects memory
    cells = np.unique(instances, return_inverse=True)[1].reshape(instances.shape)
    if instances.min() > 0:
        cells += 1
    d1 = np.full(instances.shape, np.inf)
    d2 = np.full(instances.shape, np.inf)
    # a pixel outside its window is further than the reach from a cell
    windows = [
        _window(box, cells.shape, int(np.ceil(reach_px))) for box in ndimage.find_objects(cells)
    ]
    digits = len(windows).bit_length()
    if sum(map(_area, windows)) > (2 * digits + 1) * cells.size:
        return _two_nearest_by_digits(cells, digits)
    for cell, window in enumerate(windows, start=1):
        distance = _distance_to(cells[window] == cell)
        nearest, second = d1[window], d2[window]
        np.minimum(second, np.maximum(nearest, distance), out=second)
        np.minimum(nearest, distance, out=nearest)
    return d1, d2


def _two_nearest_by_digits(cells: np.ndarray, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """`two_nearest_cells` of cells 1 … n < 2^digits whose windows overlap much, as fibres' do.

    Numbers of two cells differ in a binary digit: the second nearest cell is the closest of those
    with another digit than the nearest one, whichever digit it is. So 2·digits distance transforms
    of the whole image take the place of one a cell.
    """
    both: Any = ndimage.distance_transform_edt(cells == 0, return_indices=True)
    d1, places = both
    nearest = cells[tuple(places)]
    d2 = np.full(cells.shape, np.inf)
    for digit in range(digits):
        for value in (0, 1):
            others = (cells > 0) & (cells >> digit & 1 == value)
            if others.any():
                elsewhere = nearest >> digit & 1 != value
                np.minimum(d2, _distance_to(others), out=d2, where=elsewhere)
    return d1, d2


Window = tuple[slice, slice]


def _window(box: Window, shape: tuple[int, ...], margin: int) -> Window:
    """The box of a cell with a margin, within the image."""
    rows, columns = (
        slice(max(0, side.start - margin), min(side.stop + margin, length))
        for side, length in zip(box, shape, strict=True)
    )
    return rows, columns


def _area(window: Window) -> int:
    rows, columns = window
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _class_weight_map(
    instances: np.ndarray, config: WeightMapConfig, class_weights: tuple[float, float]
) -> np.ndarray:
    """w_c as (H, W) float64."""
    cell = instances != 0
    if config.class_weights == "none":
        return np.ones(instances.shape)
    if config.class_weights == "balanced":
        if not all(np.isfinite(weight) and weight >= 0 for weight in class_weights):
            raise ValueError(
                f"class_weights = {class_weights}: must be (background, cell), finite and ≥ 0"
            )
        return np.where(cell, class_weights[1], class_weights[0]).astype(np.float64)
    if not cell.any():
        return np.full(instances.shape, LATER_BACKGROUND)
    distance = _distance_to(cell)
    rise = np.exp(-(distance**2) / (2 * LATER_REACH_PX**2))
    return np.where(cell, 1.0, LATER_BACKGROUND + (1 - LATER_BACKGROUND) * rise)


def _distance_to(mask: np.ndarray) -> np.ndarray:
    """Euclidean distance to the closest pixel of a mask that is not empty."""
    return np.asarray(ndimage.distance_transform_edt(~mask))


def _check_instances(instances: np.ndarray) -> np.ndarray:
    if instances.ndim != 2 or instances.size == 0:
        raise ValueError(f"instances of shape {instances.shape}: must be (H, W), not empty")
    if instances.dtype.kind not in "biu" or instances.min() < 0:
        raise ValueError(
            f"instances of type {instances.dtype} from {instances.min()}: must be integers ≥ 0"
        )
    return instances
