"""What the values of a file mean: labels of cells, instances, and gray values."""

import numpy as np
import pytest
import tifffile

from unet2015.data.gray_scale import GrayScale, gray_range, scale_gray
from unet2015.data.tiff import read_binary_labels, read_instance_labels


@pytest.fixture
def saved(tmp_path):
    """Saves an array as a TIFF and gives its path."""

    def save(stack: np.ndarray):
        tifffile.imwrite(tmp_path / "labels.tif", stack, photometric="minisblack")
        return tmp_path / "labels.tif"

    return save


def mask() -> np.ndarray:
    return np.random.default_rng(0).random((3, 8, 9)) < 0.7


@pytest.mark.parametrize(
    ("cell", "dtype"), [(1, "uint8"), (255, "uint8"), (65535, "uint16"), (7, "int32"), (1, "f4")]
)
def test_binary_labels_of_any_encoding(saved, cell, dtype):
    labels = read_binary_labels(saved((mask() * cell).astype(dtype)), shape=(3, 8, 9))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, mask())


def test_a_slice_of_one_class_is_allowed(saved):
    labels = mask()
    labels[1] = True
    np.testing.assert_array_equal(read_binary_labels(saved(labels * np.uint8(255))), labels)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_labels_of_one_class_are_refused(saved, value):
    path = saved(np.full((3, 8, 9), value, np.uint8))
    with pytest.raises(ValueError, match=rf"labels\.tif: slices 0-2 have the one value {value};"):
        read_binary_labels(path)


def test_one_slice_of_one_class_is_refused(saved):
    path = saved(np.ones((1, 8, 9), np.uint8))
    with pytest.raises(ValueError, match=r"labels\.tif: slice 0 has the one value 1;"):
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


@pytest.mark.parametrize("values", [(1, 2), (0, -1), (0, np.nan)])
def test_labels_without_0_or_with_values_below_it_are_refused(saved, values):
    labels = np.where(mask(), values[1], values[0]).astype(np.float32)
    with pytest.raises(ValueError, match="binary labels have 0"):
        read_binary_labels(saved(labels))


@pytest.mark.parametrize("read", [read_binary_labels, read_instance_labels])
def test_labels_of_another_shape_than_the_images(saved, read):
    path = saved(mask() * np.uint8(255))
    with pytest.raises(ValueError, match=r"shape \(3, 8, 9\), but .* shape \(3, 9, 8\)"):
        read(path, shape=(3, 9, 8))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32", "float32"])
def test_instances(saved, dtype):
    ids = np.arange(24).reshape(2, 3, 4).astype(dtype)
    labels = read_instance_labels(saved(ids), shape=(2, 3, 4))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, ids)


@pytest.mark.parametrize(
    ("value", "dtype"), [(-1, "int16"), (0.5, "float32"), (np.nan, "float32"), (2**31, "uint32")]
)
def test_what_is_no_instance(saved, value, dtype):
    ids = np.zeros((2, 3, 4), dtype)
    ids[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"labels\.tif: slice 1 has the id "):
        read_instance_labels(saved(ids))


@pytest.mark.parametrize(
    ("dtype", "given", "expected"),
    [
        ("uint8", None, (0, 255)),
        ("uint16", None, (0, 65535)),
        ("float32", None, (0, 1)),
        ("float64", None, (0, 1)),
        ("uint16", (0, 4095), (0, 4095)),
        ("int16", (-1000, 1000), (-1000, 1000)),
    ],
)
def test_gray_range(dtype, given, expected):
    assert gray_range(np.dtype(dtype), given) == expected


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int64", "complex64"])
def test_a_dtype_without_a_range_of_its_own_names_the_remedy(dtype):
    with pytest.raises(ValueError, match=rf"{dtype}.* --value-range LOW HIGH"):
        gray_range(dtype)


@pytest.mark.parametrize("given", [(1, 1), (5, 0), (0, float("inf")), (float("nan"), 1)])
def test_a_range_that_is_none(given):
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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(value):
    stack = np.zeros((1, 2, 2), np.float32)
    stack[0, 1, 1] = value
    with pytest.raises(ValueError, match=r"NaN or infinite .* --value-range LOW HIGH"):
        GrayScale.of(stack)


@pytest.mark.parametrize(
    ("values", "dtype", "value_range", "message"),
    [
        ([0, 255], "float32", None, "values from 0 to 255, outside 0 to 1; .*--value-range LOW"),
        ([-0.1, 1], "float64", None, "values from -0.1 to 1, outside 0 to 1"),
        ([0, 5000], "uint16", (0, 4095), "values from 0 to 5000, outside 0 to 4095"),
    ],
)
def test_values_outside_the_range(values, dtype, value_range, message):
    with pytest.raises(ValueError, match=message):
        GrayScale.of(np.array(values, dtype), value_range)


def test_signed_integers_need_a_range():
    with pytest.raises(ValueError, match=r"dtype int16.* --value-range LOW HIGH"):
        GrayScale.of(np.zeros((1, 2, 2), np.int16))


def test_a_scale_is_for_one_dtype():
    scale = GrayScale.of(np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"dtype uint16, .* was made for uint8"):
        scale.apply(np.zeros((1, 2, 2), np.uint16))


def test_a_scale_goes_through_a_checkpoint():
    scale = GrayScale.of(np.zeros((1, 2, 2), np.uint16), (0, 4095))
    assert scale.as_dict() == {"low": 0.0, "high": 4095.0, "dtype": "uint16"}
    assert GrayScale.from_dict(scale.as_dict()) == scale


@pytest.mark.parametrize("values", [{}, {"low": 0, "high": 1, "dtype": "uint8", "gamma": 2}])
def test_a_recorded_scale_that_is_none(values):
    with pytest.raises(ValueError, match="must be dtype, high and low"):
        GrayScale.from_dict(values)
