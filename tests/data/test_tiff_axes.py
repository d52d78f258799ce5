"""What metadata say of the sides of a TIFF: honoured or refused, named by the user else."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.data.gray_tiffs import GRAY, pages, ramp, read_stack
from unet2015.data.tiff import read_stack as read_with
from unet2015.data.tiff_axes import readings

FIVE = ramp(3, 4, 2, 20, 30)
"""Times, slices, channels."""


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_channels_and_times_are_chosen_or_refused(tmp_path, kind):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, FIVE, metadata={"axes": "TZCYX"}, **{kind: True}, **GRAY)
    with pytest.raises(ValueError, match=r"2 channels \(.* axes TZCYX\) .* --channel 0 … 1$"):
        read_stack(path)
    with pytest.raises(ValueError, match="--axes TZCYX reads all of them as slices"):
        read_stack(path, channel=1)
    read = read_stack(path, "TZCYX", 1)
    np.testing.assert_array_equal(read, [FIVE[t, z, 1] for t in range(3) for z in range(4)])
    np.testing.assert_array_equal(read_stack(path, "ZYX"), FIVE.reshape(-1, 20, 30))
    tifffile.imwrite(path, FIVE[0], metadata={"axes": "ZCYX"}, **{kind: True}, **GRAY)
    np.testing.assert_array_equal(read_stack(path, channel=0), FIVE[0, :, 0])
    for axes in ("ZYX", "TYX"):
        tifffile.imwrite(path, FIVE[0, :, 0], metadata={"axes": axes}, **{kind: True}, **GRAY)
        np.testing.assert_array_equal(read_stack(path), FIVE[0, :, 0])


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_what_a_file_calls_channels_is_no_stack_unless_one_says_so(tmp_path, count):
    """tifffile's ImageJ files call every stack channels unless told otherwise."""
    stack = ramp(count, 20, 30)
    tifffile.imwrite(tmp_path / "x.tif", stack, imagej=True)
    with pytest.raises(ValueError, match=f"{count} channels .* or --axes ZYX for slices"):
        read_stack(tmp_path / "x.tif")
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif", "ZYX"), stack)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif", channel=1), stack[1:2])


def test_the_channels_of_a_microscopes_own_format_are_no_slices(tmp_path):
    """ScanImage: a page for each channel in turn, which its Software tag says."""
    software = "SI.hChannels.channelSave = [1;2]\nSI.hStackManager.framesPerSlice = 1\n"
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        for image in FIVE[0].reshape(-1, 20, 30):
            tiff.write(image, software=software, metadata=None, contiguous=False, **GRAY)
    with pytest.raises(ValueError, match=r"2 channels .*axes TCYX\).* --channel 0 … 1"):
        read_stack(tmp_path / "x.tif")
    read = read_stack(tmp_path / "x.tif", channel=1)
    np.testing.assert_array_equal(read, FIVE[0, :, 1])


COLOURS = {
    "rgb": (ramp(20, 30, 3), {"photometric": "rgb"}, -1),
    "planes": (ramp(3, 20, 30), {"photometric": "rgb", "planarconfig": "separate"}, 0),
    "alpha": (ramp(20, 30, 4), {"photometric": "rgb"}, -1),
    "gray and alpha": (ramp(20, 30, 2), {"extrasamples": ["unassalpha"], **GRAY}, -1),
}


@pytest.mark.parametrize(("image", "options", "side"), COLOURS.values(), ids=COLOURS)
def test_a_channel_of_a_colour_image(tmp_path, image, options, side):
    tifffile.imwrite(tmp_path / "x.tif", image, **options)
    with pytest.raises(
        ValueError, match=rf"{image.shape[side]} channels .* --channel 0 … "
    ) as said:
        read_stack(tmp_path / "x.tif")
    assert ("--axes ZYX for slices" in str(said.value)) == (side == 0)
    assert "--axes YXZ" not in str(said.value)
    for channel in range(image.shape[side]):
        read = read_stack(tmp_path / "x.tif", channel=channel)
        np.testing.assert_array_equal(read[0], image.take(channel, side))
    with pytest.raises(ValueError, match=rf"there are {image.shape[side]} channels; must be 0 …"):
        read_stack(tmp_path / "x.tif", channel=4)


@pytest.mark.parametrize("shape", [(64, 64, 10), (48, 64, 8), (64, 64, 40)])
def test_a_stack_saved_with_its_slices_last_is_refused_until_its_axes_are_named(tmp_path, shape):
    stack, path = ramp(*shape), tmp_path / "x.tif"
    tifffile.imwrite(path, stack, **GRAY)
    with pytest.raises(ValueError, match=r"slices last\? Say which: --axes ZYX or --axes YXZ"):
        read_stack(path)
    np.testing.assert_array_equal(read_stack(path, "YXZ"), np.moveaxis(stack, -1, 0))
    np.testing.assert_array_equal(read_stack(path, "zyx"), stack)
    tifffile.imwrite(path, stack, metadata={"axes": "YXZ"}, **GRAY)
    np.testing.assert_array_equal(read_stack(path), np.moveaxis(stack, -1, 0))
    tifffile.imwrite(path, stack, metadata={"axes": "ZYX"}, **GRAY)
    np.testing.assert_array_equal(read_stack(path), stack)


def test_axes_that_are_none_are_passed_over(tmp_path):
    description = '{"shape": [3, 20, 30], "axes": "ABC"}'
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as tiff:
        for index, image in enumerate(ramp(3, 20, 30)):
            tiff.write(image, description=None if index else description, metadata=None, **GRAY)
    np.testing.assert_array_equal(read_stack(path), ramp(3, 20, 30))


def test_a_volume_in_one_page_is_a_stack(tmp_path):
    pytest.importorskip("imagecodecs", reason="tiles of volumes need imagecodecs")
    stack = ramp(16, 32, 32)
    tifffile.imwrite(tmp_path / "x.tif", stack, volumetric=True, tile=(16, 16, 16), **GRAY)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), stack)


def test_an_array_of_four_unnamed_sides_is_refused_until_they_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", FIVE[0], **GRAY)
    with pytest.raises(ValueError, match=r"shape \(4, 2, 20, 30\); .* --axes TZYX reads all"):
        read_stack(tmp_path / "x.tif")
    read = read_stack(tmp_path / "x.tif", "TZYX")
    np.testing.assert_array_equal(read, FIVE[0].reshape(-1, 20, 30))


@pytest.mark.parametrize(
    "text",
    [
        "from <OME-TIFF> files",
        "<OMERO export>",
        '{"shape": oops',
        '{"shape": null}',
        '{"shape": []}',
    ],
)
def test_a_description_that_only_resembles_metadata_says_nothing(tmp_path, text):
    stack = ramp(3, 20, 30)
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        for image in stack:
            tiff.write(image, description=text, metadata=None, **GRAY)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), stack)


def test_imagej_metadata_that_cannot_be_read_are_refused_until_the_axes_are_named(tmp_path):
    path = pages(tmp_path / "x.tif", ramp(2, 20, 30), {"description": "ImageJ=1.5\nimages=abc\n"})
    with pytest.raises(ValueError, match="ImageJ metadata cannot be read; --axes ZYX reads"):
        read_stack(path)
    np.testing.assert_array_equal(read_stack(path, "ZYX"), ramp(2, 20, 30))


@pytest.mark.parametrize("shape", [(4, 40, 50, 1), (1, 4, 40, 50), (4, 1, 40, 50), (1, 40, 50, 1)])
def test_sides_of_one_in_arrays_of_four_are_none(tmp_path, shape):
    """(slices, height, width, 1), as Keras has it."""
    tifffile.imwrite(tmp_path / "x.tif", ramp(*shape), **GRAY)
    expected = ramp(*shape).reshape(-1, 40, 50)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), expected)


def test_channels_last_of_several_slices_are_read_by_their_axes(tmp_path):
    stack = ramp(4, 40, 50, 5)
    tifffile.imwrite(tmp_path / "x.tif", stack, **GRAY)
    with pytest.raises(ValueError, match=r"--axes TZYX reads .* that are last, --axes ZYXC"):
        read_stack(tmp_path / "x.tif")
    read = read_stack(tmp_path / "x.tif", "ZYXC", 3)
    np.testing.assert_array_equal(read, stack[..., 3])


def test_arrays_one_after_the_other_are_a_stack_if_each_is_slices(tmp_path):
    for part in (ramp(20, 30), ramp(1, 20, 30), ramp(1, 1, 20, 30), ramp(2, 20, 30)):
        with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
            for _ in range(3):
                tiff.write(part, contiguous=False, **GRAY)
        expected = np.concatenate([part.reshape(-1, 20, 30)] * 3)
        np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), expected)
    for axes in ("XY", "YXZ", "ZXY"):
        with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
            for _ in range(3):
                part = ramp(20, 30) if axes == "XY" else ramp(40, 40, 9)
                tiff.write(part, contiguous=False, metadata={"axes": axes}, **GRAY)
        with pytest.raises(ValueError, match="holds 3 arrays, must be one stack"):
            read_stack(tmp_path / "x.tif")


@pytest.mark.parametrize("shape", [(128, 100), (128, 100, 1), (1, 128, 100)])
def test_a_stack_of_one_by_the_axes_of_stacks(tmp_path, shape):
    """As a folder of MATLAB's stacks may have one of one slice."""
    tifffile.imwrite(tmp_path / "x.tif", ramp(*shape), **GRAY)
    for axes in ("YXZ", "ZYX"):
        if shape == (128, 100, 1) and axes == "ZYX":
            continue  # 128 slices of 100 × 1, if one says so
        read = read_stack(tmp_path / "x.tif", axes)
        np.testing.assert_array_equal(read, ramp(*shape).reshape(1, 128, 100))
    turned = read_stack(tmp_path / "x.tif", "XYZ")
    np.testing.assert_array_equal(turned, ramp(*shape).reshape(1, 128, 100).transpose(0, 2, 1))


UNFIT = {
    "ImageJ": ({"description": "ImageJ=1.53t\nimages=7\nchannels=2\nslices=3\n"}, "6 planes"),
    "ScanImage": ({"software": "SI.hChannels.channelSave = [1;2]"}, "2 channels"),
    "ScanImage, a span": ({"software": "SI.hChannels.channelSave = [1:2]"}, "2 channels"),
    "ScanImage 3": ({"description": "state.acq.numberOfChannelsSave=2\n"}, "2 channels"),
    "ScanImage 4": ({"description": "scanimage.SI4.channelsSave = [1 3]\n"}, "2 channels"),
}


@pytest.mark.parametrize(("options", "what"), UNFIT.values(), ids=UNFIT)
def test_metadata_that_do_not_fit_the_pages_are_refused(tmp_path, options, what):
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        for image in ramp(7, 20, 30):
            tiff.write(image, metadata=None, contiguous=False, **(GRAY | options))
    with pytest.raises(ValueError, match=rf"metadata describe {what}, but it has 7 pages; --axes"):
        read_stack(tmp_path / "x.tif")
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif", "ZYX"), ramp(7, 20, 30))


def test_several_arrays_of_more_than_slices_are_refused(tmp_path):
    for metadata in ({"axes": "CYX"}, {}):
        stack = ramp(3, 20, 30) if metadata else ramp(2, 3, 20, 30)
        with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
            for part in (stack, stack[..., :19, :]):
                tiff.write(part, metadata=metadata, **GRAY)
        with pytest.raises(ValueError, match=r"pages of .*20, 30.* and |holds 2 arrays"):
            read_stack(tmp_path / "x.tif")
        with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
            for _ in range(2):
                tiff.write(stack, metadata=metadata, contiguous=False, **GRAY)
        with pytest.raises(ValueError, match="holds 2 arrays, must be one stack"):
            read_stack(tmp_path / "x.tif")
        both = np.concatenate([stack, stack]).reshape(-1, 20, 30)
        np.testing.assert_array_equal(read_stack(tmp_path / "x.tif", "ZYX"), both)


def test_slices_behind_one_directory_may_be_last_too(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", ramp(64, 64, 10), metadata={"truncate": True}, **GRAY)
    with pytest.raises(ValueError, match="Say which: --axes ZYX or --axes YXZ"):
        read_stack(tmp_path / "x.tif")
    tifffile.imwrite(tmp_path / "x.tif", FIVE[0], metadata={"truncate": True}, **GRAY)
    with pytest.raises(ValueError, match="--axes TZYX reads all of them"):
        read_stack(tmp_path / "x.tif")
    assert read_stack(tmp_path / "x.tif", "TZYX").shape == (8, 20, 30)


def test_a_microscopes_series_counts_if_it_is_all_pages_in_their_order():
    """As tifffile gives those of FluoView, LSM and MetaMorph, which it cannot write."""

    def described(order: list[int], shape: tuple[int, ...], kind: str = "fluoview"):
        series = SimpleNamespace(
            kind=kind,
            axes="ZCYX",
            shape=shape,
            size=int(np.prod(shape)),
            pages=[SimpleNamespace(index=place) for place in order],
        )
        images: Any = [
            SimpleNamespace(index=k, axes="YX", shape=(2, 3), description="", software="")
            for k in range(6)
        ]
        tiff: Any = SimpleNamespace(
            is_imagej=False,
            is_shaped=False,
            imagej_metadata=None,
            shaped_metadata=None,
            series=[series],
        )
        return readings(tiff, images, np.zeros((6, 2, 3)))[0]

    assert described([0, 1, 2, 3, 4, 5], (3, 2, 2, 3)).axes == "ZCYX"
    assert described([0, 1, 2, 3, 4, 5], (2, 2, 2, 3)).axes == "IYX"
    assert described([0, 1, 2, 3, 4, 5], (3, 2, 2, 3), "generic").axes == "IYX"
    with pytest.raises(ValueError, match="another order than its fluoview metadata say"):
        described([0, 2, 1, 3, 4, 5], (3, 2, 2, 3))


def test_without_such_options_none_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "channels.tif", ramp(2, 20, 30), imagej=True)
    tifffile.imwrite(tmp_path / "times.tif", FIVE[0], **GRAY)
    tifffile.imwrite(tmp_path / "last.tif", ramp(64, 64, 10), **GRAY)
    pages(tmp_path / "unread.tif", ramp(2, 20, 30), {"description": "ImageJ=1.5\nimages=abc\n"})
    for name in ("channels", "times", "last", "unread"):
        with pytest.raises(ValueError, match=r"[sS]ave (one|it)") as caught:
            read_with(tmp_path / f"{name}.tif", option=None)
        assert "--" not in str(caught.value)
        with pytest.raises(ValueError, match=r"[; ]axes \w*YX|channel 0 … 1") as caught:
            read_with(tmp_path / f"{name}.tif")
        assert "--" not in str(caught.value)
