"""What tags and metadata say of a TIFF's values and pages: honoured or refused."""

import itertools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from unet2015.data.labels import binary_labels, read_instance_labels
from unet2015.data.tiff import read_stack as read_with
from unet2015.data.tiff_axes import readings


def read_stack(path: Path, axes: str | None = None, channel: int | None = None) -> np.ndarray:
    """As the commands do, with options named in messages."""
    return read_with(path, axes=axes, channel=channel, option="--")


def read_binary_labels(path: Path, shape: tuple[int, ...] | None = None) -> np.ndarray:
    return binary_labels(read_stack(path), path, shape)


GRAY = {"photometric": "minisblack"}


def ramp(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)


def pages(path: Path, stack: np.ndarray, *options: dict) -> Path:
    """A file with one page for each slice, written with the options in turn."""
    with tifffile.TiffWriter(path) as tiff:
        for image, chosen in zip(stack, itertools.cycle(options), strict=False):
            tiff.write(image, **(GRAY | {"metadata": None} | chosen))
    return path


def colormap(table: np.ndarray) -> np.ndarray:
    return np.stack([table] * 3).astype(np.uint16)


IDENTITY = colormap(np.arange(256) * 257)
MIXED = {
    "compression": ({"compression": "zlib"}, {}),
    "two compressions": ({"compression": "zlib"}, {"compression": "packbits"}),
    "tiles": ({"tile": (16, 16)}, {}),
    "strips": ({"rowsperstrip": 8}, {"rowsperstrip": 32}),
    "palette": ({"photometric": "palette", "colormap": IDENTITY}, {}),
    "description": ({"description": "z=1"}, {"description": "z=2"}),
    "resolution": ({"resolution": (1, 1)}, {"resolution": (2, 2)}),
    "predictor": ({"compression": "zlib", "predictor": True}, {"compression": "zlib"}),
}


@pytest.mark.parametrize("options", MIXED.values(), ids=MIXED)
def test_pages_come_in_the_order_of_the_file_whatever_differs_between_them(tmp_path, options):
    if "predictor" in options[0]:
        pytest.importorskip("imagecodecs", reason="the predictor needs imagecodecs")
    stack = ramp(6, 32, 32)
    read = read_stack(pages(tmp_path / "x.tif", stack, *options))
    np.testing.assert_array_equal(read, stack)


@pytest.mark.parametrize(("step", "low"), [(257, 0), (256, 0), (1, 0), (200, 7)])
def test_indexed_grays_are_looked_up(tmp_path, step, low):
    """Tables of 8 bits scaled to 16 in either way, or not at all, and of 16 bits."""
    gray, rng = ramp(2, 20, 30), np.random.default_rng(1)
    place = rng.permutation(256).astype(np.uint8)  # of each gray value in the table
    table = np.zeros(256)
    table[place] = np.arange(256) * step + low
    options = {"photometric": "palette", "colormap": colormap(table)}
    tifffile.imwrite(tmp_path / "x.tif", place[gray], **options)
    read = read_stack(tmp_path / "x.tif")
    assert read.dtype == (np.uint16 if step == 200 else np.uint8)
    np.testing.assert_array_equal(read, gray.astype(int) * (200 if step == 200 else 1) + low)
    with Image.open(tmp_path / "x.tif") as image:
        shown = np.array(image.convert("L"))
    if step in (256, 257):
        np.testing.assert_array_equal(read[0], shown)


def test_a_mask_of_indexed_white_and_black_is_no_inverted_one(tmp_path):
    mask = ramp(2, 20, 30) > 90
    options = {"photometric": "palette", "colormap": colormap(np.array([65535] + [0] * 255))}
    tifffile.imwrite(tmp_path / "x.tif", (~mask).astype(np.uint8), **options)
    np.testing.assert_array_equal(read_binary_labels(tmp_path / "x.tif"), mask)


@pytest.mark.parametrize("bits", [1, 4])
def test_tables_of_few_colours(tmp_path, bits):
    """As programs write masks and figures: 1 and 4 bits a pixel."""
    if bits == 4:
        pytest.importorskip("imagecodecs", reason="4 bits need imagecodecs")
    ids = ramp(20, 24) % 2**bits
    grays = 255 - 3 * np.arange(2**bits)
    table = colormap(grays * 257).ravel().tolist()
    options = {"extratags": [(320, "H", len(table), table, True)], "bitspersample": bits, **GRAY}
    tifffile.imwrite(tmp_path / "x.tif", ids.astype(bool) if bits == 1 else ids, **options)
    with tifffile.TiffFile(tmp_path / "x.tif", mode="r+b") as tiff:  # which does not write such
        tiff.pages.first.tags["PhotometricInterpretation"].overwrite(3)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif")[0], grays[ids])
    np.testing.assert_array_equal(read_instance_labels(tmp_path / "x.tif")[0], ids)


def test_tables_of_all_pages_are_of_one_scale(tmp_path):
    """A page of black and white only does not make 8 bits of the others' 16."""
    table, stack = np.arange(256) * 200 + 7, ramp(2, 20, 30)
    table[0], table[255] = 0, 65535
    stack[0] = np.where(stack[0] > 90, 255, 0)
    indexed = {"photometric": "palette", "colormap": colormap(table)}
    read = read_stack(pages(tmp_path / "x.tif", stack, indexed))
    np.testing.assert_array_equal(read, table[stack])
    mixed = pages(tmp_path / "y.tif", stack, indexed, {})
    with pytest.raises(ValueError, match=r"y\.tif: page 1 has .* uint8 and others have uint16"):
        read_stack(mixed)


def test_indexed_colours_with_an_alpha_channel_are_refused(tmp_path):
    options = {"extrasamples": ["unassalpha"], **GRAY}
    tifffile.imwrite(tmp_path / "x.tif", ramp(20, 30, 2), **options)
    with tifffile.TiffFile(tmp_path / "x.tif", mode="r+b") as tiff:
        tiff.pages.first.tags["PhotometricInterpretation"].overwrite(3)
    with pytest.raises(ValueError, match="page 0 has values of the kind PALETTE"):
        read_stack(tmp_path / "x.tif")


def test_a_gels_coded_gray_values_are_refused(tmp_path):
    """Molecular Dynamics' scanners store square roots, say; MDFileTag is theirs."""
    options = {"extratags": [(33445, "I", 1, 2, True)], "metadata": None, **GRAY}
    tifffile.imwrite(tmp_path / "x.tif", ramp(20, 30), **options)
    with pytest.raises(ValueError, match="gray values in Molecular Dynamics' code"):
        read_stack(tmp_path / "x.tif")


def test_indexed_colours_are_instances_or_nothing(tmp_path):
    table = np.random.default_rng(1).integers(0, 65536, (3, 256)).astype(np.uint16)
    ids = ramp(2, 20, 30)
    tifffile.imwrite(tmp_path / "x.tif", ids, photometric="palette", colormap=table)
    np.testing.assert_array_equal(read_instance_labels(tmp_path / "x.tif"), ids)
    for read in (read_stack, read_binary_labels):
        with pytest.raises(ValueError, match="page 0 has indexed colours, so that its numbers"):
            read(tmp_path / "x.tif")


def test_imagejs_look_up_table_changes_no_value(tmp_path):
    def imagej(table: np.ndarray) -> np.ndarray:
        options = {"photometric": "palette", "colormap": colormap(table), "metadata": None}
        description = "ImageJ=1.53t\nimages=1\n"
        tifffile.imwrite(tmp_path / "x.tif", ramp(20, 30), description=description, **options)
        return read_stack(tmp_path / "x.tif")

    np.testing.assert_array_equal(imagej(np.arange(256) * 257), ramp(1, 20, 30))
    with pytest.raises(ValueError, match=r"Image > Lookup Tables > Grays\), otherwise"):
        imagej(np.arange(256)[::-1] * 257)


@pytest.mark.parametrize("orientation", range(9))
def test_turned_images_are_refused(tmp_path, orientation):
    stack = ramp(3, 20, 30)
    path = pages(tmp_path / "x.tif", stack, {"extratags": [(274, "H", 1, orientation, True)]})
    if orientation <= 1:  # 0: not said
        np.testing.assert_array_equal(read_stack(path), stack)
        return
    message = rf"x\.tif: page 0 is stored turned or mirrored \(orientation {orientation}\)"
    with pytest.raises(ValueError, match=message):
        read_stack(path)


@pytest.mark.parametrize("kind", ["cfa", "depth_map", "mask", "logl"])
def test_values_that_are_no_gray_values_are_refused(tmp_path, kind):
    path = pages(tmp_path / "x.tif", ramp(2, 20, 30), {"photometric": kind})
    with pytest.raises(ValueError, match=f"page 0 has values of the kind {kind.upper()}, which"):
        read_stack(path)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_reduced_copies_are_left_out(tmp_path, place):
    stack = ramp(3, 32, 32)
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        for index in range(4):
            if index == place:
                tiff.write(stack[0, ::4, ::4], subfiletype=1, **GRAY)
            else:
                tiff.write(stack[index - (index > place)], metadata=None, **GRAY)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), stack)
    only = pages(tmp_path / "y.tif", stack, {"subfiletype": 1})
    with pytest.raises(ValueError, match=r"y\.tif: has reduced copies of an image only"):
        read_stack(only)
    masked = pages(tmp_path / "z.tif", stack[:2], {"subfiletype": 2})
    with tifffile.TiffFile(masked, mode="r+b") as tiff:
        tiff.pages[1].aspage().tags["NewSubfileType"].overwrite(4)
    with pytest.raises(ValueError, match=r"z\.tif: page 1 is a transparency mask"):
        read_stack(masked)


def test_a_pyramid_in_sub_directories_is_one_stack(tmp_path):
    stack = ramp(2, 64, 64)
    with tifffile.TiffWriter(tmp_path / "x.ome.tif", ome=True) as tiff:
        tiff.write(stack, subifds=1, metadata={"axes": "ZYX"}, **GRAY)
        tiff.write(stack[:, ::2, ::2], subfiletype=1, **GRAY)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.ome.tif"), stack)


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


def ome(path: Path, change) -> Path:
    """An OME-TIFF of 2 channels and 3 slices whose XML is what `change` makes of it."""
    stack = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((20, 30), np.uint8)
    tifffile.imwrite(path, stack.reshape(2, 3, 20, 30), ome=True, metadata={"axes": "CZYX"}, **GRAY)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        text = change(tiff.pages.first.description)
        tiff.pages.first.tags["ImageDescription"].overwrite(text)
    return path


def test_ome_metadata_are_heeded_as_they_stand(tmp_path):
    path = tmp_path / "x.ome.tif"
    values = read_stack(ome(path, lambda text: text), channel=1)[:, 0, 0]
    assert values.tolist() == [3, 4, 5]
    turned = ome(path, lambda text: text.replace('"XYZCT"', '"XYCZT"'))
    assert read_stack(turned, channel=1)[:, 0, 0].tolist() == [1, 3, 5]
    cut = r"<Pixels.*</Pixels>"
    for change, words in (
        (lambda text: text.replace('SizeZ="3"', 'SizeZ="5"'), "describe 10 planes, .* 6 pages"),
        (lambda text: text.replace("</OME>", ""), "OME metadata cannot be read"),
        (lambda text: re.sub(cut, "", text, flags=re.DOTALL), "OME metadata cannot be read"),
        (
            lambda text: re.sub(r"(<Image.*</Image>)", r"\1\1", text, flags=re.DOTALL),
            "describe 2 images, must be one",
        ),
        (
            lambda text: text.replace("<TiffData ", '<TiffData FirstZ="1" '),
            "pages stand in another order",
        ),
    ):
        with pytest.raises(ValueError, match=rf"x\.ome\.tif: its .*{words}.* --axes ZYX reads its"):
            read_stack(ome(path, change))
        assert read_stack(path, "ZYX")[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("root", ["<OME ", "<!-- " + "x" * 3000 + " --><OME "])
def test_ome_metadata_are_found_behind_whatever_stands_before_them(tmp_path, root):
    path = ome(tmp_path / "x.ome.tif", lambda text: text.replace("<OME ", root))
    assert read_stack(path, channel=1)[:, 0, 0].tolist() == [3, 4, 5]


def test_ome_metadata_with_a_prefix_are_found(tmp_path):
    def prefixed(text: str) -> str:
        return re.sub(r"(</?)(?=[A-Z])", r"\1ome:", text).replace("xmlns=", "xmlns:ome=")

    path = ome(tmp_path / "x.ome.tif", prefixed)
    assert read_stack(path, channel=1)[:, 0, 0].tolist() == [3, 4, 5]


def test_the_samples_of_a_colour_are_no_channels_of_ome(tmp_path):
    stack = ramp(4, 20, 30, 3)
    options = {"photometric": "rgb", "metadata": {"axes": "ZYXS"}, "ome": True}
    tifffile.imwrite(tmp_path / "x.tif", stack, **options)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif", channel=2), stack[..., 2])


def test_empty_elements_of_ome_are_its_shortest_form(tmp_path):
    def shortest(text: str) -> str:
        return re.sub(r"<Channel.*</Pixels>", "<Channel/><TiffData/></Pixels>", text, flags=re.S)

    path = ome(tmp_path / "x.ome.tif", shortest)
    assert read_stack(path, channel=1)[:, 0, 0].tolist() == [3, 4, 5]


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


def test_pages_of_other_bits_are_refused(tmp_path):
    pytest.importorskip("imagecodecs", reason="12 bits need imagecodecs")
    stack = ramp(2, 20, 32).astype(np.uint16)
    path = pages(tmp_path / "x.tif", stack, {"bitspersample": 12}, {})
    with pytest.raises(
        ValueError, match=r"uint16, 12 bits and .* uint16, 16 bits; .* as many bits"
    ):
        read_stack(path)


@pytest.mark.parametrize("times", [1, 4])
def test_a_full_image_within_a_small_one_is_not_passed_over(tmp_path, times):
    """As raw photographs and some slide scanners have it: SubIFDs."""
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        tiff.write(ramp(32, 32), subifds=1, metadata=None, **GRAY)
        tiff.write(ramp(32 * times, 32 * times), metadata=None, **GRAY)
    with pytest.raises(
        ValueError, match=r"page 0 has an image within it that is no smaller \(SubIFD"
    ):
        read_stack(tmp_path / "x.tif")


def test_a_preview_within_an_image_is_passed_over(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        tiff.write(ramp(64, 64), subifds=1, metadata=None, **GRAY)
        tiff.write(ramp(64, 40, 3), photometric="rgb", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), ramp(1, 64, 64))


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


def test_one_plane_of_a_set_of_files_is_read_as_it_is(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        text = '<OME><Image><Pixels DimensionOrder="XYZCT" SizeX="30" SizeY="20" SizeZ="9" '
        text += 'SizeC="2" SizeT="1"><Channel SamplesPerPixel="1"/></Pixels></Image></OME>'
        tiff.write(ramp(20, 30), description=text, metadata=None, **GRAY)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), ramp(1, 20, 30))


def test_without_such_options_none_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "channels.tif", ramp(2, 20, 30), imagej=True)
    tifffile.imwrite(tmp_path / "times.tif", FIVE[0], **GRAY)
    tifffile.imwrite(tmp_path / "last.tif", ramp(64, 64, 10), **GRAY)
    ome(tmp_path / "ome.tif", lambda text: text.replace("</OME>", ""))
    for name in ("channels", "times", "last", "ome"):
        with pytest.raises(ValueError, match=r"[sS]ave (one|it)") as caught:
            read_with(tmp_path / f"{name}.tif", option=None)
        assert "--" not in str(caught.value)
        with pytest.raises(ValueError, match=r"[; ]axes \w*YX|channel 0 … 1") as caught:
            read_with(tmp_path / f"{name}.tif")
        assert "--" not in str(caught.value)
