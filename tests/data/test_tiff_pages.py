"""What the tags of pages say of their values and order: honoured or refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.data.gray_tiffs import GRAY, pages, ramp, read_stack
from unet2015.data.labels import binary_labels, read_instance_labels


def read_binary_labels(path: Path, shape: tuple[int, ...] | None = None) -> np.ndarray:
    return binary_labels(read_stack(path), path, shape)


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
