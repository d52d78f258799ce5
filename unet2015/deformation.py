"""Elastic deformation and rotation in one pass of interpolation (paper §3.1).

"We generate smooth deformations using random displacement vectors on a coarse 3 by 3 grid. The
displacements are sampled from a Gaussian distribution with 10 pixels standard deviation. Per-pixel
displacements are then computed using bicubic interpolation."

Not specified in the paper: whether the grid spans the image or the tile (here the image, from the
first to the last pixel), which bicubic interpolation (here cubic B-splines, as in elasticdeform;
`keys_displacement` is the other),
what lies beyond the border (here the mirrored image, as in the later plugin), and the order of
rotation and displacement (here output(x) = image(R·(x − c) + c + d(x)), our choice).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Region = tuple[slice, slice]
"""Rows and columns of an image."""


def random_displacement(
    rng: np.random.Generator, points: int = 3, sigma_px: float = 10.0
) -> np.ndarray:
    """Random displacement vectors on a coarse grid from a Gaussian distribution (paper §3.1).

    Returns (2, points, points) float64: the row and the column displacement of each grid point in
    pixels. Defaults: 3 by 3 points, standard deviation 10 px (paper §3.1).

    >>> random_displacement(np.random.default_rng(0)).shape
    (2, 3, 3)
    """
    if points < 2:
        raise ValueError(f"points = {points}: a grid needs at least 2 points per side")
    if not (np.isfinite(sigma_px) and sigma_px >= 0):
        raise ValueError(f"sigma_px = {sigma_px}: must be a finite number of pixels ≥ 0")
    return sigma_px * rng.standard_normal((2, points, points))


def keys_displacement(displacement: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """The displacement of every pixel by Keys' bicubic interpolation, a = -0.5 (paper §3.1).

    displacement: (2, n, m) in pixels on a grid that spans an image of (H, W) = `hw`. Returns
    (2, H, W) float64, which `deform` takes as a grid with one point per pixel. Beyond the grid's
    border the vectors are mirrored, as everywhere here (our choice). Keys, "Cubic convolution
    interpolation for digital image processing", IEEE Trans. ASSP 29(6), 1981.

    >>> keys_displacement(np.ones((2, 3, 3)), (4, 5)).shape
    (2, 4, 5)
    """
    rows, columns = (
        keys_weights(points, size) for points, size in zip(displacement.shape[1:], hw, strict=True)
    )
    return rows @ displacement @ columns.T


def keys_weights(points: int, size: int) -> np.ndarray:
    """(size, points): the share of each grid point in each of `size` pixels, along one axis."""
    at = np.linspace(0, points - 1, size)
    first = np.floor(at).astype(int) - 1
    weights = np.zeros((size, points))
    for k in range(4):
        distance = np.abs(at - (first + k))
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        share = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
        # mirrored without repeating the last point: period 2·(points - 1)
        place = np.abs((first + k + points - 1) % (2 * (points - 1)) - (points - 1))
        np.add.at(weights, (np.arange(size), place), share)
    return weights


def deform(
    images: Sequence[np.ndarray],
    displacement: np.ndarray,
    *,
    angle_deg: float = 0.0,
    orders: Sequence[int],
    region: Region | None = None,
) -> list[np.ndarray]:
    """Images rotated about their centre and deformed by one smooth displacement field (paper §3.1).

    images: (H, W) each, all of one size of at least 2×2 px. displacement: (2, n, m) in pixels, on
    a grid that spans the image. angle_deg: counter-clockwise as displayed, 90 = `np.rot90`.
    orders: spline order 0 … 5 of each image's interpolation. region: (row slice, column slice) of
    the output that is wanted, without steps; None = all of it.

    Returns one array of the region's size per image; order 0 keeps the dtype and the set of
    values, the others give float32 (order ≥ 2 may overshoot the range of values). Beyond its
    border an image is mirrored without repeating the edge pixel.
    Raises ValueError for input that breaks these rules, ImportError without elasticdeform.

    >>> step = np.array([[1, 2], [3, 4]], np.uint8)
    >>> deform([step], np.zeros((2, 3, 3)), angle_deg=90, orders=[0])[0].tolist()
    [[2, 4], [1, 3]]
    """
    hw = _check_images(images, displacement, orders)
    rows, columns = _check_region(region, hw)
    # elasticdeform's own `rotate` turns about the centre of the crop; and it applies `affine` to
    # pixel positions counted from the crop's corner, so the image's centre is counted from there
    centre = np.array([(hw[0] - 1) / 2 - rows.start, (hw[1] - 1) / 2 - columns.start])
    deform_grid = _load_deform_grid()
    # the spline prefilter runs in the image's own dtype, integers would wrap around
    floats = [
        np.asarray(image, np.float32) if order else np.ascontiguousarray(image)
        for image, order in zip(images, orders, strict=True)
    ]
    return deform_grid(
        floats,
        np.asarray(displacement, np.float64),
        order=list(orders),
        mode="mirror",
        crop=(rows, columns),
        affine=_rotation(angle_deg, centre) if angle_deg else None,
    )


def _rotation(angle_deg: float, centre: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that turns (row, column) about `centre`, counter-clockwise as displayed."""
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, centre - turn @ centre])


def _check_images(
    images: Sequence[np.ndarray], displacement: np.ndarray, orders: Sequence[int]
) -> tuple[int, int]:
    if not images or len(images) != len(orders):
        raise ValueError(f"{len(images)} images and {len(orders)} orders: must be as many, ≥ 1")
    shapes = {image.shape for image in images}
    hw = images[0].shape
    if len(shapes) > 1 or len(hw) != 2 or min(hw) < 2:
        raise ValueError(
            f"images of shapes {sorted(shapes)}: must all have one shape (H, W) of at least 2×2 px"
        )
    if not set(orders) <= set(range(6)):
        raise ValueError(f"orders = {list(orders)}: spline orders must be 0 … 5")
    shape = displacement.shape
    if len(shape) != 3 or shape[0] != 2 or min(shape[1:]) < 2:
        raise ValueError(f"displacement of shape {shape}: must be (2, n, m) with n, m ≥ 2")
    if not np.isfinite(displacement).all():
        raise ValueError("displacement: contains a value that is not finite")
    return hw


def _check_region(region: Region | None, hw: tuple[int, int]) -> Region:
    if region is None:
        return slice(0, hw[0]), slice(0, hw[1])
    rows, columns = (
        slice(part.start or 0, size if part.stop is None else part.stop, part.step)
        for part, size in zip(region, hw, strict=True)
    )
    for part, size in ((rows, hw[0]), (columns, hw[1])):
        if part.step is not None or not 0 <= part.start < part.stop <= size:
            raise ValueError(
                f"region = {region}: must be slices without steps inside an image of "
                f"{hw[0]}×{hw[1]} px, not empty"
            )
    return rows, columns


def _load_deform_grid() -> Callable[..., Any]:
    # only training deforms; prediction must work where the extension cannot be built
    try:
        from elasticdeform import deform_grid
    except ImportError as error:
        raise ImportError(
            f"elasticdeform cannot be imported ({error}): its wheels do not fit NumPy 2, install "
            "it from source with `pip install --no-binary elasticdeform elasticdeform==0.5.1`"
        ) from error
    return deform_grid
