"""B-splines that PyTorch evaluates on any device, at float64 positions, without waiting for it.

Coefficients lie row by row with a rim of mirrored pixels, so that a position within the image
reads its pixels without asking where the border is.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import spline_filter
from torch import Tensor

RIM_PX = 2
"""Mirrored pixels kept beyond each border: how far a cubic spline reaches."""
Number = Tensor | int
"""A number of pixels: on the device, where the CPU does not know it."""


def coefficients(plane: np.ndarray, order: int) -> np.ndarray:
    """The B-spline coefficients that interpolate an image; the image itself for order 0 and 1."""
    if order < 2:
        return plane
    return spline_filter(plane, order, output=np.float64, mode="mirror").astype(np.float32)


def with_rim(plane: np.ndarray) -> np.ndarray:
    """(N,) pixels of an image (H, W) with its mirrored rim, row by row."""
    return np.pad(plane, RIM_PX, mode="reflect").ravel()


def mirrored(positions: Tensor, size: Tensor | int) -> Tensor:
    """Positions mirrored at 0 and size - 1, without repeating the edge; all 0 for size 1."""
    period = 2 * size - 2
    period = max(1, period) if isinstance(period, int) else period.clamp(min=1)
    positions = positions.remainder(period)
    return torch.minimum(positions, period - positions)


def interpolate(
    planes: Tensor, positions: Tensor, order: int, start: Number, step: Sequence[Number]
) -> Tensor:
    """(C, h, w) spline values at (2, h, w) positions, from (C, N) coefficients of that order."""
    first = pixels(positions, order, start, step)
    if order == 0:
        return planes[:, first]
    taps = torch.arange(order + 1, device=planes.device)
    to_pixel = (taps * step[0])[:, None] + taps * step[1]
    row_weights, column_weights = _weights(positions, order).unbind(1)
    total = torch.zeros((), device=planes.device)
    for row, row_weight in enumerate(row_weights):
        line = torch.zeros((), device=planes.device)
        for column, column_weight in enumerate(column_weights):
            line = line + column_weight * planes[:, first + to_pixel[row, column]]
        total = total + row_weight * line
    return total


def pixels(positions: Tensor, order: int, start: Number, step: Sequence[Number]) -> Tensor:
    """(h, w) int64: the number of the first pixel that a spline of this order reads."""
    row, column = (_knot(positions, order).long() - order // 2).unbind()
    return start + row * step[0] + column * step[1]


def _knot(positions: Tensor, order: int) -> Tensor:
    """The pixel that a spline is centred on: the one before (odd order) or the nearest one."""
    return (positions if order % 2 else positions + 0.5).floor()


def _weights(positions: Tensor, order: int) -> Tensor:
    """(order + 1, 2, h, w) float32: B-spline weights of the pixels around (2, h, w) positions."""
    t = (positions - _knot(positions, order)).float()
    if order == 1:
        return torch.stack([1 - t, t])
    if order == 2:
        return torch.stack([(0.5 - t) ** 2 / 2, 0.75 - t**2, (0.5 + t) ** 2 / 2])
    t = torch.stack([t, 1 - t])  # to the pixel before and to the one after
    near, far = 2 / 3 - t**2 * (1 - t / 2), t**3 / 6
    return torch.stack([far[1], near[0], near[1], far[0]])
