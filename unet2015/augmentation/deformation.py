"""Elastic deformation and rotation in one pass of interpolation (paper §3.1).

"We generate smooth deformations using random displacement vectors on a coarse 3 by 3 grid. The
displacements are sampled from a Gaussian distribution with 10 pixels standard deviation. Per-pixel
displacements are then computed using bicubic interpolation."

Not specified in the paper: whether the grid spans the image or the tile (here the image, from the
first to the last pixel), which bicubic interpolation (here cubic B-splines, as in elasticdeform, or
Keys' convolution), what lies beyond the border (here the mirrored image, as in the later plugin),
and the order of rotation and displacement (here output(x) = image(R·(x − c) + c + d(x)), our
choice).

The images are interpolated by SciPy. elasticdeform computes the same within rounding (tested), but
evaluates the two-dimensional spline of the displacements at every pixel, for which the product of
two one-dimensional ones (`position_matrix`) is enough: it takes about twice as long.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter

Region = tuple[slice, slice]
"""Rows and columns of an image."""
Bicubic = Literal["bspline", "keys"]
"""How displacements are interpolated between the points of the coarse grid."""


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


def keys_weights(points: int, size: int) -> np.ndarray:
    """(size, points): each grid point's share in each of `size` pixels, bicubic after Keys.

    Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP 29(6),
    1981, a = -0.5. Beyond the grid's border it is mirrored, as everywhere here (our choice).

    >>> keys_weights(2, 3).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
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


def spline_coefficients(image: np.ndarray, order: int) -> np.ndarray:
    """The B-spline coefficients that interpolate an image, for `deform(…, prefiltered=True)`.

    image: (H, W). order: 0 … 5; the image itself for 0 and 1. Returns (H, W) float32; beyond its
    border the image is mirrored.

    >>> spline_coefficients(np.full((4, 5), 0.5, np.float32), 3).round(4).max()
    np.float32(0.5)
    """
    if order < 2:
        return image
    floats = np.asarray(image, np.float32)
    kind: Any = np.float32  # SciPy's stub knows float64 alone
    return spline_filter(floats, order, output=kind, mode="mirror")


def position_basis(size: int, points: int, interpolation: Bicubic = "bspline") -> np.ndarray:
    """What `position_matrix` is multiplied with to find where a pixel is read (paper §3.1).

    Returns (size, points + 2) float64, for each row or column x of an image of `size` pixels: the
    weights of the coarse grid's points, x - (size - 1) / 2, and 1.

    >>> position_basis(3, 2)[1].round(6).tolist()
    [0.5, 0.5, 0.0, 1.0]
    """
    if interpolation not in get_args(Bicubic):
        words = " or ".join(map(repr, get_args(Bicubic)))
        raise ValueError(f"interpolation = {interpolation!r}: must be {words}")
    if interpolation == "keys":
        columns = list(keys_weights(points, size).T)
    else:
        on_grid = np.linspace(0, points - 1, size)
        columns = [
            map_coordinates(point, [on_grid], order=3, mode="mirror") for point in np.eye(points)
        ]
    return np.stack([*columns, np.arange(size) - (size - 1) / 2, np.ones(size)], axis=1)


def position_matrix(displacement: np.ndarray, angle_deg: float, hw: tuple[int, int]) -> np.ndarray:
    """(2, n + 2, m + 2): pixel (r, c) is read at basis(r)ᵀ · matrix · basis(c) (paper §3.1).

    This is R·(x − c) + c + d(x) as one product: the (2, n, m) displacement of the coarse grid, and
    in the last rows and columns the rotation about the centre of an image of (H, W) = `hw`.

    >>> basis = position_basis(3, 2)
    >>> (basis @ position_matrix(np.zeros((2, 2, 2)), 0.0, (3, 3)) @ basis.T)[0, :, 0].tolist()
    [0.0, 1.0, 2.0]
    """
    n, m = displacement.shape[1:]
    matrix = np.zeros((2, n + 2, m + 2))
    matrix[:, :n, :m] = displacement
    angle = np.deg2rad(angle_deg)
    matrix[:, n, m + 1] = np.cos(angle), -np.sin(angle)  # of the row
    matrix[:, n + 1, m] = np.sin(angle), np.cos(angle)  # of the column
    matrix[:, n + 1, m + 1] = (hw[0] - 1) / 2, (hw[1] - 1) / 2
    return matrix


def nearest_source(
    hw: tuple[int, ...],
    displacement: np.ndarray,
    *,
    angle_deg: float,
    interpolation: Bicubic = "bspline",
    places: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Which pixel a deformed image of order 0 shows at the given places (paper §3.1).

    hw, displacement, angle_deg, interpolation: as in `deform`. places: n rows and m columns of the
    deformed image. Returns rows and columns of the image, (n, m) integers each, as `deform` reads
    them unless a position lies halfway between two pixels within rounding.

    >>> places = np.array([0, 1]), np.array([3])
    >>> nearest_source((4, 4), np.zeros((2, 3, 3)), angle_deg=180, places=places)[0].tolist()
    [[3], [2]]
    """
    read = _positions(hw, displacement, angle_deg, interpolation, places)
    nearest = []
    for positions, size in zip(read, hw, strict=True):
        period = max(2 * size - 2, 1)
        positions = positions % period
        mirrored = np.minimum(positions, period - positions)
        nearest.append(np.clip(np.floor(mirrored + 0.5).astype(int), 0, size - 1))
    return nearest[0], nearest[1]


def deform(
    images: Sequence[np.ndarray],
    displacement: np.ndarray,
    *,
    angle_deg: float = 0.0,
    interpolation: Bicubic = "bspline",
    orders: Sequence[int],
    regions: Sequence[Region] | None = None,
    prefiltered: bool = False,
) -> list[np.ndarray]:
    """Images rotated about their centre and deformed by one smooth displacement field (paper §3.1).

    images: (H, W) each, all of one size of at least 2×2 px. displacement: (2, n, m) in pixels, on
    a grid that spans the image. angle_deg: counter-clockwise as displayed, 90 = `np.rot90`.
    interpolation: of the displacements, cubic B-spline or Keys' (`keys_weights`). orders: spline
    order 0 … 5 of each image's interpolation. regions: (row slice, column slice) of the output
    that is wanted of each image, without steps; None = all of every one. prefiltered: the images
    are their `spline_coefficients` already, so that an image that is deformed often is filtered
    once.

    Returns one array of its region's size per image; order 0 keeps the dtype and the set of
    values (integers up to 2⁵³), the others give float32 (order ≥ 2 may overshoot the range of
    values). Beyond its border an image is mirrored without repeating the edge pixel.
    Raises ValueError for input that breaks these rules.

    >>> step = np.array([[1, 2], [3, 4]], np.uint8)
    >>> deform([step], np.zeros((2, 3, 3)), angle_deg=90, orders=[0])[0].tolist()
    [[2, 4], [1, 3]]
    """
    hw = _check_images(images, displacement, orders)
    if not np.isfinite(angle_deg):
        raise ValueError(f"angle_deg = {angle_deg}: must be a finite number of degrees")
    wanted = _check_regions(regions, hw, len(images))
    # every pixel's position is computed once, for the rows and columns that any image wants
    first = [min(region[axis].start for region in wanted) for axis in (0, 1)]
    last = [max(region[axis].stop for region in wanted) for axis in (0, 1)]
    places = np.arange(first[0], last[0]), np.arange(first[1], last[1])
    read = _positions(hw, displacement, angle_deg, interpolation, places)
    found = []
    for image, order, (rows, columns) in zip(images, orders, wanted, strict=True):
        kind: Any = np.float32 if order else image.dtype  # SciPy's stub knows float64 alone
        part = read[
            :,
            rows.start - first[0] : rows.stop - first[0],
            columns.start - first[1] : columns.stop - first[1],
        ]
        found.append(
            map_coordinates(
                image if prefiltered else spline_coefficients(image, order),
                part,
                output=kind,
                order=order,
                mode="mirror",
                prefilter=False,
            )
        )
    return found


def _positions(
    hw: tuple[int, ...],
    displacement: np.ndarray,
    angle_deg: float,
    interpolation: Bicubic,
    places: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """(2, n, m) float64: where the deformed image's n rows and m columns are read."""
    rows, columns = (
        position_basis(size, points, interpolation)[place]
        for size, points, place in zip(hw, displacement.shape[1:], places, strict=True)
    )
    matrix = position_matrix(displacement, angle_deg, (hw[0], hw[1]))
    # einsum, not @: the threads of BLAS would disturb those of the training step
    return np.einsum("krj,cj->krc", np.einsum("ri,kij->krj", rows, matrix), columns)


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


def _check_regions(
    regions: Sequence[Region] | None, hw: tuple[int, int], count: int
) -> list[Region]:
    if regions is None:
        return [(slice(0, hw[0]), slice(0, hw[1]))] * count
    if len(regions) != count:
        raise ValueError(f"{count} images and {len(regions)} regions: must be as many")
    return [_check_region(region, hw) for region in regions]


def _check_region(region: Region, hw: tuple[int, int]) -> Region:
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
