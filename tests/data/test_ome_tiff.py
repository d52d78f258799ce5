"""OME-TIFF: its XML is heeded as it stands, or refused where it does not fit the pages."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.data.gray_tiffs import GRAY, ramp, read_stack


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


def test_one_plane_of_a_set_of_files_is_read_as_it_is(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        text = '<OME><Image><Pixels DimensionOrder="XYZCT" SizeX="30" SizeY="20" SizeZ="9" '
        text += 'SizeC="2" SizeT="1"><Channel SamplesPerPixel="1"/></Pixels></Image></OME>'
        tiff.write(ramp(20, 30), description=text, metadata=None, **GRAY)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), ramp(1, 20, 30))
