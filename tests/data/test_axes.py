"""Sides of an array: slices in the order that the letters say, against plain loops."""

from itertools import permutations

import numpy as np
import pytest

from unet2015.data.axes import Layout, Sides, slices_of

SIZES = {"T": 2, "Z": 3, "C": 4, "Y": 5, "X": 6}


@pytest.mark.parametrize("axes", ["".join(order) for order in permutations("TZCYX")])
def test_any_order_of_the_sides_against_plain_loops(axes):
    array = np.arange(720).reshape([SIZES[letter] for letter in axes])
    unnamed = [Sides(array, "UVWYX", stated=False)]
    found = slices_of("stack", unnamed, Layout(axes, channel=1))
    slow, fast = [letter for letter in axes if letter in "TZ"]
    expected = []
    for i in range(SIZES[slow]):
        for k in range(SIZES[fast]):
            place: dict[str, int | slice] = {slow: i, fast: k, "C": 1}
            image = array[tuple(place.get(letter, slice(None)) for letter in axes)]
            expected.append(image if axes.index("Y") < axes.index("X") else image.T)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(slices_of("stack", unnamed, Layout(axes.lower(), 1)), expected)


def test_the_letters_are_those_of_the_first_reading_that_has_as_many_sides():
    array = np.arange(24).reshape(2, 3, 1, 2, 2)
    readings = [Sides(array, "TZCYX", stated=True), Sides(array.reshape(6, 2, 2), "IYX", False)]
    for axes in ("ZYX", "TZYX", "TZCYX"):
        found = slices_of("stack", readings, Layout(axes))
        np.testing.assert_array_equal(found, array.reshape(6, 2, 2))
    with pytest.raises(ValueError, match=r"--axes YX: must be one letter for each of the 5 sides"):
        slices_of("stack", readings, Layout("YX", option="--"))


@pytest.mark.parametrize("axes", ["", "ZY", "ZZYX", "Z1YX", "Z YX", "ZCT"])
def test_letters_that_name_no_sides_are_refused_with_their_option(axes):
    readings = [Sides(np.zeros((2, 3, 4, 5)), "TZYX", stated=True)]
    with pytest.raises(ValueError, match=rf"^x\.tif: --label-axes {axes}: must be one letter"):
        slices_of("x.tif", readings, Layout(axes, option="--label-"))


def test_a_channel_of_what_has_none_is_refused():
    readings = [Sides(np.zeros((3, 4, 5)), "ZYX", stated=True)]
    with pytest.raises(ValueError, match=r"--channel 1: there are no channels .*axes ZYX.* CYX"):
        slices_of("x.tif", readings, Layout(channel=1, option="--"))
    assert slices_of("x.tif", readings, Layout("CYX", 1)).shape == (1, 4, 5)


def test_colours_in_each_of_several_channels_are_refused():
    readings = [Sides(np.zeros((2, 4, 5, 3)), "CYXS", stated=True)]
    for channel in (None, 1):
        with pytest.raises(ValueError, match="channels of colours"):
            slices_of("x.tif", readings, Layout(channel=channel, option="--"))
    assert slices_of("x.tif", readings, Layout("ZYXC", channel=1)).shape == (2, 4, 5)


def test_a_channel_is_that_of_the_side_that_has_several():
    colours = np.arange(12).reshape(1, 2, 2, 3)
    read = slices_of("x.tif", [Sides(colours, "CYXS", stated=True)], Layout(channel=2))
    np.testing.assert_array_equal(read, [colours[0, ..., 2]])
    only = [Sides(colours[..., :1], "CYXS", stated=True)]
    np.testing.assert_array_equal(slices_of("x.tif", only, Layout(channel=0)), [colours[0, ..., 0]])
    with pytest.raises(ValueError, match=r"there are 1 channels; must be 0 … 0"):
        slices_of("x.tif", only, Layout(channel=1))


@pytest.mark.parametrize(
    ("shape", "doubted"),
    [
        ((128, 128, 10), True),
        ((40, 64, 10), True),
        ((64, 64, 63), True),
        ((64, 64, 64), False),
        ((30, 512, 512), False),
        ((200, 100, 512), False),
        ((512, 600, 200), True),
        ((40, 200, 40), False),
        ((31, 31, 2), False),
        ((20, 512, 100), False),
    ],
)
def test_only_what_may_have_its_slices_last_is_doubted(shape, doubted):
    readings = [Sides(np.zeros(shape, bool), "ZYX", stated=False)]
    if not doubted:
        assert slices_of("x.tif", readings, Layout()).shape == shape
        return
    with pytest.raises(ValueError, match="slices last"):
        slices_of("x.tif", readings, Layout())
    assert slices_of("x.tif", [Sides(np.zeros(shape), "ZYX", True)], Layout()).shape == shape
