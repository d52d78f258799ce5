"""The turned and mirrored versions of an image that are averaged (paper §4), and the way back.

In PyTorch, on the device that predicts and without ever waiting for it; but for the splines'
coefficients, which SciPy computes on the CPU, once an image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unet2015.inference.tiling import mirror_tile
from unet2015.runtime.splines import RIM_PX, coefficients, interpolate, mirrored, with_rim

ROTATIONS = 7
"""Views of 'rotations7': "averaged over 7 rotated versions of the input data" (paper §4)."""
_STRIP_PX = {"cpu": 2**15, "cuda": 2**22}
"""Pixels interpolated at a time (our choice): on a CPU what its caches hold, which is little memory
(larger strips were slower); on a GPU, where each operation costs, all of a slice."""


class PlacedImage:
    """An image on the device where its views are made, and the splines that rotations read.

    image: (C, H, W) float32. The device needs float64 for rotations, as float32 leaves only 4
    digits after the point of pixel 1000. Nothing waits for the device.
    """

    def __init__(self, image: np.ndarray, device: str | torch.device) -> None:
        self._image, self._device = image, torch.device(device)
        self.pixels = _moved(image, self._device)
        """(C, H, W) float32."""

    @cached_property
    def coefficients(self) -> Tensor:
        """(C, N) float32: the cubic B-spline of each channel with its mirrored rim, row by row.

        Made once for all rotations, by SciPy on the CPU: a recursion along rows and columns.
        """
        planes = [with_rim(coefficients(plane, 3)) for plane in self._image]
        return _moved(np.stack(planes), self._device)


@dataclass(frozen=True)
class View:
    """One of the images whose predictions are averaged, and the way back."""

    hw: tuple[int, int]
    """Height and width of that image in pixels."""
    forward: Callable[[PlacedImage], Tensor]
    """That image: (C, *hw) float32."""
    back: Callable[[Tensor], Tensor]
    """(n, *hw) planes of it on the pixels of the image itself: (n, H, W)."""


def views(averaging: str, image_hw: tuple[int, int]) -> list[View]:
    """The rotated or mirrored versions of an image that are averaged (paper §4).

    'none': the image alone. 'dihedral8': the eight right-angle rotations and reflections, exact.
    'flips4': the image, mirrored left-right, up-down, and both, exact (release, cell tracking).
    'rotations7': rotations by k·360°/7, k = 0 … 6, about the centre, the surroundings mirrored;
    cubic on the way there, linear on the way back.
    Not specified in the paper: what its 7 rotations are; equal steps of the circle are our reading.
    """
    if averaging == "none":
        return [_unturned(image_hw)]
    if averaging == "dihedral8":
        return [_right_angles(turns, f, image_hw) for f in (False, True) for turns in range(4)]
    if averaging == "flips4":
        # a half turn of a left-right mirrored image mirrors it up-down
        return [_right_angles(turns, f, image_hw) for f in (False, True) for turns in (0, 2)]
    turned = [_rotation(360.0 * k / ROTATIONS, image_hw) for k in range(1, ROTATIONS)]
    return [_unturned(image_hw), *turned]


def _unturned(image_hw: tuple[int, int]) -> View:
    return View(image_hw, lambda image: image.pixels, lambda planes: planes)


def _right_angles(turns: int, flip: bool, image_hw: tuple[int, int]) -> View:
    def forward(image: PlacedImage) -> Tensor:
        return torch.rot90(image.pixels.flip(-1) if flip else image.pixels, turns, dims=(-2, -1))

    def back(planes: Tensor) -> Tensor:
        upright = torch.rot90(planes, -turns, dims=(-2, -1))
        return upright.flip(-1) if flip else upright

    height, width = image_hw
    return View((width, height) if turns % 2 else image_hw, forward, back)


def _rotation(angle_deg: float, image_hw: tuple[int, int]) -> View:
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(image_hw) - 1) / 2
    # The canvas that holds every pixel of the turned image.
    reach = np.abs(turn) @ (np.array(image_hw) - 1)
    canvas = (int(np.ceil(reach[0])) + 1, int(np.ceil(reach[1])) + 1)
    canvas_centre = (np.array(canvas) - 1) / 2

    def forward(image: PlacedImage) -> Tensor:
        read = np.column_stack([turn, centre - turn @ canvas_centre])
        return _resampled(image.coefficients, image_hw, read, canvas, order=3).clamp_(0, 1)

    def back(planes: Tensor) -> Tensor:
        height, width = (side + 2 * RIM_PX for side in canvas)
        rimmed = mirror_tile(planes, -RIM_PX, -RIM_PX, height, width).flatten(1)
        read = np.column_stack([turn.T, canvas_centre - turn.T @ centre])
        return _resampled(rimmed, canvas, read, image_hw, order=1)

    return View(canvas, forward, back)


def _resampled(
    planes: Tensor, hw: tuple[int, int], read: np.ndarray, new_hw: tuple[int, int], *, order: int
) -> Tensor:
    """(n, *new_hw) planes whose pixel (y, x) is read at read @ (y, x, 1), mirrored at the border.

    planes: (n, N) B-spline coefficients of planes of the size `hw` with their rim, row by row.
    """
    step = (hw[1] + 2 * RIM_PX, 1)
    start = RIM_PX * sum(step)
    resampled = planes.new_empty((len(planes), *new_hw))
    columns = torch.arange(new_hw[1], dtype=torch.float64, device=planes.device)
    strip = max(1, _STRIP_PX.get(planes.device.type, _STRIP_PX["cpu"]) // new_hw[1])
    for top in range(0, new_hw[0], strip):
        part = resampled[:, top : top + strip]
        rows = torch.arange(top, top + part.shape[1], dtype=torch.float64, device=planes.device)
        positions = [
            mirrored(by_row * rows[:, None] + (by_column * columns + offset), side)
            for (by_row, by_column, offset), side in zip(read.tolist(), hw, strict=True)
        ]
        part.copy_(interpolate(planes, torch.stack(positions), order, start, step))
    return resampled


def _moved(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as float32 on the device; on the CPU itself, if it is such an array."""
    tensor = torch.from_numpy(np.require(array, np.float32, ["C_CONTIGUOUS", "WRITEABLE"]))
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # or else the CPU waits for the copy
    return tensor.to(device, non_blocking=True)
