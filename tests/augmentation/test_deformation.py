"""The elastic field and the rotation against elasticdeform and against complex numbers."""

import itertools
from typing import Any

import elasticdeform
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import map_coordinates

from tests.augmentation.augmented_tiles import by_keys, source_coordinates
from unet2015.augmentation.deformation import (
    deform,
    nearest_source,
    random_displacement,
    spline_coefficients,
)

SHAPES = [(40, 56), (33, 17), (2, 9)]
ANGLES = [0.0, 31.0, -127.5]


def by_elasticdeform(
    image: np.ndarray, displacement: np.ndarray, angle_deg: float, order: int
) -> np.ndarray:
    """The same by elasticdeform, the rotation as its affine map about the image's centre."""
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(image.shape) - 1) / 2
    affine = np.column_stack([turn, centre - turn @ centre])
    deform_grid: Any = elasticdeform.deform_grid  # its types know one image only
    return deform_grid(image, displacement, order=order, mode="mirror", affine=affine)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_deformed_image_is_that_of_elasticdeform(order: int) -> None:
    rng = np.random.default_rng(1)
    for points, hw, angle_deg in itertools.product([(3, 3), (2, 5)], SHAPES, ANGLES):
        image = rng.random(hw, np.float32)
        displacement = rng.normal(0, 10, (2, *points))
        (ours,) = deform([image], displacement, angle_deg=angle_deg, orders=[order])
        theirs = by_elasticdeform(image, displacement, angle_deg, order)
        # order 0 jumps where a position lies halfway between two pixels
        read = source_coordinates(hw, displacement, angle_deg)
        sure = (np.abs(read % 1 - 0.5) > 1e-6).all(0) | (order > 0)
        assert sure.mean() > 0.98
        assert ours.dtype == np.float32
        assert_allclose(ours[sure], theirs[sure], rtol=0, atol=1e-5)


def test_labels_are_those_of_scipy() -> None:
    rng = np.random.default_rng(2)
    for hw, angle_deg in itertools.product(SHAPES, ANGLES):
        labels = rng.integers(0, 200, hw, np.uint8)
        displacement = random_displacement(rng, points=4)
        (ours,) = deform([labels], displacement, angle_deg=angle_deg, orders=[0])
        coordinates = source_coordinates(hw, displacement, angle_deg)
        theirs = map_coordinates(labels, coordinates, order=0, mode="mirror")
        tie = (np.abs(coordinates % 1 - 0.5) < 1e-9).any(0)
        assert ours.dtype == np.uint8
        assert tie.mean() < 0.01
        assert_array_equal(ours[~tie], theirs[~tie])


def test_coefficients_once_are_those_of_every_call() -> None:
    rng = np.random.default_rng(3)
    image, displacement = rng.random((40, 56), np.float32), random_displacement(rng)
    for order in range(4):
        (every,) = deform([image], displacement, angle_deg=31, orders=[order])
        coefficients = [spline_coefficients(image, order)]
        (once,) = deform(coefficients, displacement, angle_deg=31, orders=[order], prefiltered=True)
        assert_array_equal(once, every)


def test_regions_of_several_images_are_parts_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    image, labels = rng.random((40, 56), np.float32), rng.integers(0, 9, (40, 56), np.uint8)
    displacement, first = random_displacement(rng), np.s_[3:38, 5:51]
    regions = [np.s_[10:20, 12:30], np.s_[3:4, 50:51], np.s_[0:40, 50:56], np.s_[:2, :4]]
    for angle_deg, second in itertools.product(ANGLES, regions):
        way: dict[str, Any] = {"angle_deg": angle_deg, "orders": [3, 0]}
        whole = deform([image, labels], displacement, **way)
        parts = deform([image, labels], displacement, regions=[first, second], **way)
        assert_allclose(parts[0], whole[0][first], rtol=0, atol=1e-6)
        assert_array_equal(parts[1], whole[1][second])


def test_nearest_source_is_the_pixel_that_is_shown() -> None:
    numbers = np.arange(30 * 41).reshape(30, 41)
    field = np.random.default_rng(4).normal(0, 3, (2, 3, 3))
    places = np.arange(3, 30), np.arange(0, 41, 2)
    for angle_deg in (0.0, 77.0):
        (shown,) = deform([numbers], field, angle_deg=angle_deg, orders=[0])
        found = numbers[nearest_source(numbers.shape, field, angle_deg=angle_deg, places=places)]
        assert (found == shown[np.ix_(*places)]).mean() > 0.999


def test_integer_images_do_not_wrap_around() -> None:
    image = np.random.default_rng(7).integers(0, 256, (20, 20), np.uint8)
    (ours,) = deform([image], np.zeros((2, 3, 3)), orders=[3])
    assert_allclose(ours, image, atol=1e-3)


def test_arguments_stay_as_they_are() -> None:
    image = np.random.default_rng(8).random((20, 20), np.float32)
    displacement = random_displacement(np.random.default_rng(8))
    before = image.copy(), displacement.copy()
    deform([image], displacement, angle_deg=10, orders=[3])
    assert_array_equal(image, before[0])
    assert_array_equal(displacement, before[1])


def keys_by_hand(vectors: np.ndarray, row: float, column: float) -> float:
    """Keys 1981, Eq. 15, as a sum over the 4 by 4 neighbours of one place."""

    def kernel(s: float) -> float:
        s = abs(s)
        if s < 1:
            return 3 / 2 * s**3 - 5 / 2 * s**2 + 1
        return -1 / 2 * s**3 + 5 / 2 * s**2 - 4 * s + 2 if s < 2 else 0.0

    padded = np.pad(vectors, 4, mode="reflect")
    neighbours = range(-2, 3)
    return sum(
        padded[int(row) + i + 4, int(column) + j + 4]
        * kernel(row - int(row) - i)
        * kernel(column - int(column) - j)
        for i in neighbours
        for j in neighbours
    )


@pytest.mark.parametrize(("points", "hw"), [((3, 3), (9, 14)), ((2, 5), (8, 13)), ((4, 3), (3, 2))])
def test_keys_interpolation_is_that_of_the_formula(
    points: tuple[int, int], hw: tuple[int, int]
) -> None:
    grid = np.random.default_rng(3).normal(0, 10, (2, *points))
    field = by_keys(grid, hw)
    assert field.shape == (2, *hw)
    for k in range(2):
        for row, r in enumerate(np.linspace(0, points[0] - 1, hw[0])):
            for column, c in enumerate(np.linspace(0, points[1] - 1, hw[1])):
                assert field[k, row, column] == pytest.approx(keys_by_hand(grid[k], r, c))


def test_keys_field_deforms_the_image() -> None:
    rng = np.random.default_rng(5)
    image, grid = rng.random((40, 56), np.float32), random_displacement(rng)
    for angle_deg in ANGLES:
        (ours,) = deform([image], grid, angle_deg=angle_deg, interpolation="keys", orders=[1])
        still = source_coordinates(image.shape, np.zeros((2, 3, 3)), angle_deg)
        read = still + by_keys(grid, image.shape)
        theirs = map_coordinates(image.astype(float), read, order=1, mode="mirror")
        assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_displacements_are_gaussian_in_pixels() -> None:
    vectors = random_displacement(np.random.default_rng(10), points=100, sigma_px=10)
    assert vectors.shape == (2, 100, 100)
    assert vectors.std() == pytest.approx(10, rel=0.02)
    assert abs(vectors.mean()) < 0.3
    assert 0.67 < (np.abs(vectors) < 10).mean() < 0.70  # 68.3 % within one standard deviation
    assert not random_displacement(np.random.default_rng(10), sigma_px=0).any()


IMAGE, FIELD = np.zeros((4, 5), np.float32), np.zeros((2, 3, 3))


@pytest.mark.parametrize(
    ("images", "field", "orders", "region", "message"),
    [
        ([], FIELD, [], None, "0 images"),
        ([IMAGE], FIELD, [1, 0], None, "1 images and 2 orders"),
        ([IMAGE, IMAGE[:3]], FIELD, [1, 0], None, "must all have one shape"),
        ([IMAGE[:1]], FIELD, [1], None, "at least 2×2"),
        ([IMAGE[None]], FIELD, [1], None, "one shape"),
        ([IMAGE], FIELD, [6], None, "must be 0 … 5"),
        ([IMAGE], FIELD[:1], [1], None, "displacement of shape"),
        ([IMAGE], FIELD[:, :1], [1], None, "displacement of shape"),
        ([IMAGE], FIELD + np.nan, [1], None, "not finite"),
        ([IMAGE], FIELD, [1], (slice(0, 5), slice(0, 5)), "inside an image of 4×5"),
        ([IMAGE], FIELD, [1], (slice(-1, 2), slice(0, 5)), "inside"),
        ([IMAGE], FIELD, [1], (slice(0, 4, 2), slice(0, 5)), "without steps"),
        ([IMAGE], FIELD, [1], (slice(2, 2), slice(0, 5)), "not empty"),
        ([IMAGE], FIELD, [1], (slice(0, 0), slice(0, 5)), "not empty"),
    ],
)
def test_bad_input_is_named(
    images: list[np.ndarray],
    field: np.ndarray,
    orders: list[int],
    region: tuple[slice, slice] | None,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        deform(images, field, orders=orders, regions=None if region is None else [region])


def test_bad_grids_and_numbers_of_regions_are_named() -> None:
    with pytest.raises(ValueError, match="points = 1"):
        random_displacement(np.random.default_rng(0), points=1)
    with pytest.raises(ValueError, match="sigma_px = -1"):
        random_displacement(np.random.default_rng(0), sigma_px=-1)
    with pytest.raises(ValueError, match="2 images and 1 regions"):
        deform([IMAGE, IMAGE], FIELD, orders=[1, 0], regions=[(slice(0, 1), slice(0, 1))])
