"""Labels to ignore and slices to leave out; what is told to whoever chose the wrong kind."""

import numpy as np
import pytest

from unet2015.data.labels import LabelReading, WrongValues

IDS = np.zeros((3, 6, 7), np.int16)
IDS[0, 1:3, 1:4], IDS[0, 4:, 4:], IDS[2, 2, 2] = 4, 9, -1


def test_a_value_is_ignored_and_is_no_cell():
    for dtype in (np.int16, np.int64, np.float32):
        given = LabelReading("instances", ignore_label=-1).of(IDS.astype(dtype), "labels")
        np.testing.assert_array_equal(given.labels, np.maximum(IDS, 0))
        np.testing.assert_array_equal(given.ignore, IDS == -1)
        assert given.slices.tolist() == [0, 1, 2]
    mask = np.where(IDS == -1, 128, np.where(IDS > 0, 255, 0)).astype(np.uint8)
    given = LabelReading("binary", ignore_label=128).of(mask, "labels")
    np.testing.assert_array_equal(given.labels, IDS > 0)
    np.testing.assert_array_equal(given.ignore, IDS == -1)
    unknown = np.where(IDS == -1, 2**32 - 1, IDS.astype(np.int64)).astype(np.uint32)
    given = LabelReading("instances", ignore_label=2**32 - 1).of(unknown, "labels")
    np.testing.assert_array_equal(given.ignore, IDS == -1)


def test_without_options_everything_is_annotated_and_kept():
    given = LabelReading().of(np.minimum(np.maximum(IDS, 0), 1), "labels")
    assert given.ignore is None
    assert given.slices.tolist() == [0, 1, 2]


def test_empty_slices_are_left_out_on_request():
    given = LabelReading("instances", ignore_label=-1, skip_empty=True).of(IDS, "labels")
    assert given.slices.tolist() == [0]
    np.testing.assert_array_equal(given.labels, IDS[:1])
    np.testing.assert_array_equal(given.ignore, np.zeros((1, 6, 7), bool))
    with pytest.raises(ValueError, match="labels: has no slice with a cell"):
        LabelReading("instances", skip_empty=True).of(np.zeros((2, 3, 3), np.uint8), "labels")


@pytest.mark.parametrize(("value", "words"), [(7, "no pixel has it"), (0, "0 is background")])
def test_a_value_that_cannot_be_ignored_is_refused(value, words):
    message = rf"x\.tif: --ignore-label {value}: {words}; the values are -1, 0, 4, 9"
    with pytest.raises(ValueError, match=message):
        LabelReading("instances", ignore_label=value).of(IDS, "x.tif")


def test_the_other_reading_is_named_where_the_values_are_of_none():
    for kind, words in (
        ("binary", "--label-kind instances; if one of them stands for what .* --ignore-label"),
        ("instances", "the id -1; .* stands for what nobody annotated, --ignore-label with it"),
    ):
        with pytest.raises(WrongValues, match=words):
            LabelReading(kind).of(IDS, "x.tif")  # type: ignore[arg-type]


def test_large_ids_are_told_to_the_last_digit():
    ids = np.full((1, 2, 2), 2**32 - 1, np.uint32)
    with pytest.raises(ValueError, match="the values are 4294967295"):
        LabelReading("instances", ignore_label=3).of(ids, "x.tif")


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("binary", [0, 1, 2, 252, 255], "look like a compressed or resized mask: set it to 0"),
        ("binary", [0, 3, 60, 190, 251, 252, 255, 255], "like a compressed or resized mask"),
        ("instances", [0, 3.5], "the id 3.5; .*; fractions and NaN are no labels"),
        ("instances", [0, np.nan], "the id nan; .*; fractions and NaN are no labels"),
        ("binary", [0, 0.5, 1], "0, 0.5, 1; .*; fractions and NaN .* by a threshold"),
        ("instances", [0, np.inf], "the id inf; .*; fractions and NaN are no labels"),
        ("instances", [0, 1e300], "the id 1e\\+300; .*; fractions and NaN are no labels"),
        ("binary", [1, 2], "values 1, 2; .* set the one of the background .* to 0$"),
        ("binary", [-1, 0], "values -1, 0; .* set the one of the background .* to 0$"),
    ],
)
def test_what_cannot_be_ignored_is_not_recommended_to_be(kind, values, words):
    with pytest.raises(WrongValues, match=words) as caught:
        LabelReading(kind).of(np.array([[values]]), "x.tif")
    assert "--" not in str(caught.value)


def test_ids_of_a_narrow_band_are_no_compressed_mask():
    with pytest.raises(WrongValues, match="--label-kind instances"):
        LabelReading().of(np.array([[[0, 961, 965, 972]]], np.uint16), "x.tif")
    with pytest.raises(WrongValues, match=r"one of them stands for .* --ignore-label"):
        LabelReading().of(np.array([[[0, 254, 255, 254]]], np.uint8), "x.tif")
    halves = np.array([[[0, 1, 2, 700]]], np.float16)
    assert LabelReading("instances").of(halves, "x.tif").labels.tolist() == [[[0, 1, 2, 700]]]


def test_what_is_left_without_the_ignored_is_told_as_such():
    with pytest.raises(ValueError, match=r"x\.tif without 255: slice 0 has the one value 0"):
        LabelReading(ignore_label=255).of(np.array([[[0, 255]]], np.uint8), "x.tif")
