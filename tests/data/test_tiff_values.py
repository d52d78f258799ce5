"""What the values of a file mean: labels of cells, instances, and gray values."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from unet2015.data.gray_scale import GrayScale, gray_range, scale_gray
from unet2015.data.labels import binary_labels, instance_labels, read_instance_labels
from unet2015.data.tiff import read_stack


def read_binary_labels(path: Path, shape: tuple[int, ...] | None = None) -> np.ndarray:
    return binary_labels(read_stack(path), path, shape)


@pytest.fixture
def saved(tmp_path):
    """Saves an array as a TIFF and gives its path."""

    def save(stack: np.ndarray):
        tifffile.imwrite(tmp_path / "labels.tif", stack, photometric="minisblack")
        return tmp_path / "labels.tif"

    return save


def mask() -> np.ndarray:
    return np.random.default_rng(0).random((3, 8, 9)) < 0.7


def test_binary_labels_are_0_and_1_whatever_their_encoding(saved):
    for cell, dtype in ((1, "uint8"), (255, "uint8"), (65535, "uint16"), (7, "int32"), (1, "f4")):
        labels = read_binary_labels(saved((mask() * cell).astype(dtype)), shape=(3, 8, 9))
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, mask())
    expected = mask()
    expected[1] = True  # a single slice may be of one class
    found = read_binary_labels(saved(expected * np.uint8(255)))
    np.testing.assert_array_equal(found, expected)


def test_labels_of_one_class_are_refused(saved):
    for slices, value, words in (
        *((3, value, f"slices 0-2 have the one value {value};") for value in (0, 1, 255)),
        (1, 1, "slice 0 has the one value 1;"),
    ):
        path = saved(np.full((slices, 8, 9), value, np.uint8))
        with pytest.raises(ValueError, match=rf"labels\.tif: {words}"):
            read_binary_labels(path)


def test_labels_of_three_values_are_refused(saved):
    labels = mask() * np.uint8(255)
    labels[2, 3, 4] = 128
    with pytest.raises(ValueError, match=r"labels\.tif: slice 2 has the values 0, 128, 255"):
        read_binary_labels(saved(labels))


def test_labels_whose_slices_disagree_are_refused(saved):
    labels = mask() * np.uint8(255)
    labels[1] //= 255
    message = r"slice 1 has the values 0, 1 \(slices before it: 0, 255\)"
    with pytest.raises(ValueError, match=message):
        read_binary_labels(saved(labels))


def test_labels_without_0_or_with_values_below_it_or_of_another_shape_are_refused(saved):
    for values in ((1, 2), (0, -1), (0, np.nan)):
        labels = np.where(mask(), values[1], values[0]).astype(np.float32)
        with pytest.raises(ValueError, match="binary labels have 0"):
            read_binary_labels(saved(labels))
    path = saved(mask() * np.uint8(255))
    for read in (read_binary_labels, read_instance_labels):
        with pytest.raises(ValueError, match=r"shape \(3, 8, 9\), but .* shape \(3, 9, 8\)"):
            read(path, shape=(3, 9, 8))


def test_instances_keep_their_ids(saved):
    for dtype in ("uint8", "uint16", "int32", "uint32", "float32"):
        ids = np.arange(24).reshape(2, 3, 4).astype(dtype)
        labels = read_instance_labels(saved(ids), shape=(2, 3, 4))
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, ids)


def test_ids_beyond_32_bits_are_renumbered(saved):
    ids = np.array([[[0, 10**15, 3 * 10**15], [10**15, 2, 0]]], np.uint64)
    assert read_instance_labels(saved(ids)).tolist() == [[[0, 2, 3], [2, 1, 0]]]
    assert instance_labels(ids[:, :1, 1:], "labels").tolist() == [[[1, 2]]]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(-1, "int16"), (0.5, "float32"), (np.nan, "float32"), (2**32 - 1, "uint32")],
)
def test_what_is_no_instance(saved, value, dtype):
    ids = np.zeros((2, 3, 4), dtype)
    ids[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"labels\.tif: slice 1 has the id "):
        read_instance_labels(saved(ids))


def test_the_range_is_that_given_or_the_dtypes_own():
    for dtype, given, expected in (
        ("uint8", None, (0, 255)),
        ("uint16", None, (0, 65535)),
        ("float32", None, (0, 1)),
        ("float64", None, (0, 1)),
        ("uint16", (0, 4095), (0, 4095)),
        ("int16", (-1000, 1000), (-1000, 1000)),
    ):
        assert gray_range(np.dtype(dtype), given) == expected
    for dtype in ("int8", "int16", "uint32", "int64", "complex64"):
        with pytest.raises(ValueError, match=rf"{dtype}.* --value-range LOW HIGH"):
            gray_range(dtype)
    for given in ((1, 1), (5, 0), (0, float("inf")), (float("nan"), 1)):
        with pytest.raises(ValueError, match=r"--value-range .* LOW below HIGH"):
            gray_range("uint8", given)


@pytest.mark.parametrize(
    ("values", "dtype", "value_range"),
    [
        ([0, 1, 128, 255], "uint8", None),
        ([0, 1, 40_000, 65_535], "uint16", None),
        ([0, 0.25, 1, 0.1], "float32", None),
        ([0, 1, 4000, 4095], "uint16", (0, 4095)),
        ([-1000, 0, 1, 3000], "int16", (-1000, 3000)),
        ([2**30, 2**30 + 1, 2**30 + 2, 2**30 + 4], "int32", (2**30, 2**30 + 4)),
    ],
)
def test_scaling_against_exact_arithmetic(values, dtype, value_range):
    stack = np.array(values, dtype).reshape(1, 2, 2)
    scale = GrayScale.of(stack, value_range)
    scaled = scale.apply(stack)
    low, high = scale.low, scale.high
    expected = [(float(v) - low) / (high - low) for v in stack.ravel().tolist()]
    assert scaled.dtype == np.float32
    assert scaled.shape == stack.shape
    np.testing.assert_allclose(scaled.ravel(), expected, rtol=1e-6)
    np.testing.assert_array_equal(scaled, scale_gray(stack, (low, high)))


def test_scaling_leaves_the_stack_as_it_was():
    stack = np.full((1, 2, 2), 0.5, np.float32)
    GrayScale(0, 2, "float32").apply(stack)
    assert (stack == 0.5).all()


@pytest.mark.parametrize(
    ("values", "dtype", "value_range", "message"),
    [
        ([0, 255], "float32", None, "values from 0 to 255, outside 0 to 1; .*--value-range LOW"),
        ([-0.1, 1], "float64", None, "values from -0.1 to 1, outside 0 to 1"),
        ([0, 5000], "uint16", (0, 4095), "values from 0 to 5000, outside 0 to 4095"),
        ([0, 1], "int16", None, r"dtype int16.* --value-range LOW HIGH"),
        *(
            ([0, value], "float32", None, r"NaN or infinite .* --value-range LOW HIGH")
            for value in (np.nan, np.inf, -np.inf)
        ),
    ],
)
def test_values_without_a_range_or_outside_it_are_refused(values, dtype, value_range, message):
    with pytest.raises(ValueError, match=message):
        GrayScale.of(np.array(values, dtype), value_range)


def test_a_scale_goes_through_a_checkpoint_and_is_for_one_dtype():
    scale = GrayScale.of(np.zeros((1, 2, 2), np.uint16), (0, 4095))
    assert scale.as_dict() == {"low": 0.0, "high": 4095.0, "dtype": "uint16"}
    assert GrayScale.from_dict(scale.as_dict()) == scale
    with pytest.raises(ValueError, match=r"dtype uint8, .* was made for uint16"):
        scale.apply(np.zeros((1, 2, 2), np.uint8))
    for values in ({}, scale.as_dict() | {"gamma": 2}):
        with pytest.raises(ValueError, match="must be dtype, high and low"):
            GrayScale.from_dict(values)
