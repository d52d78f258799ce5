"""Stacks in TIFF files: what is written is read back; what is damaged or no gray stack is not."""

import logging
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageSequence

from unet2015.data import tiff as ours
from unet2015.data.tiff import read_stack, write_stack


def ramp(shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    """Pixels of which none is 0, so that zeros in place of lost ones show; hard to compress."""
    values = np.random.default_rng(0).integers(1, 200, shape)
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_is_written_is_read_back_by_us_and_by_pillow(tmp_path, dtype):
    stack = ramp((5, 31, 17), dtype) / (3 if dtype == "float32" else 1)
    stack = stack.astype(dtype)
    write_stack(tmp_path / "stack.tif", stack)
    read = read_stack(tmp_path / "stack.tif")
    assert read.dtype == stack.dtype
    np.testing.assert_array_equal(read, stack)
    with Image.open(tmp_path / "stack.tif") as image:
        pages = [np.array(page) for page in ImageSequence.Iterator(image)]
    np.testing.assert_array_equal(np.stack(pages), stack)


def test_a_written_stack_is_deflated_and_the_same_every_time(tmp_path):
    stack = np.zeros((3, 64, 64), np.uint8)
    write_stack(tmp_path / "a.tif", stack)
    write_stack(tmp_path / "b.tif", stack)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert (tmp_path / "a.tif").stat().st_size < stack.size
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert len(tiff.pages) == 3
        assert tiff.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE


def test_more_than_a_classic_tiff_holds_becomes_a_bigtiff(tmp_path, monkeypatch):
    stack = ramp((5, 31, 17))
    write_stack(tmp_path / "classic.tif", stack)
    # deflate may leave less: what counts is known before
    monkeypatch.setattr(ours, "CLASSIC_BYTES", stack.nbytes + 5 * ours.PAGE_BYTES - 1)
    write_stack(tmp_path / "big.tif", stack)
    for name, big in (("classic.tif", False), ("big.tif", True)):
        with tifffile.TiffFile(tmp_path / name) as tiff:
            assert tiff.is_bigtiff is big
        np.testing.assert_array_equal(read_stack(tmp_path / name), stack)
    with Image.open(tmp_path / "big.tif") as image:
        pages = [np.array(page) for page in ImageSequence.Iterator(image)]
    np.testing.assert_array_equal(np.stack(pages), stack)


def test_no_side_is_taken_for_colour_channels(tmp_path):
    for shape in ((1, 1, 1), (3, 1, 1), (4, 7, 1), (3, 1, 7), (4, 3, 3), (2, 4, 3)):
        write_stack(tmp_path / "x.tif", ramp(shape))
        np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), ramp(shape))


def test_a_written_stack_says_that_its_slices_are_first(tmp_path):
    """So that no program, ours the least, takes it for (height, width, slices)."""
    write_stack(tmp_path / "x.tif", ramp((64, 64, 10)))
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), ramp((64, 64, 10)))
    with tifffile.TiffFile(tmp_path / "x.tif") as tiff:
        assert tiff.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tiff.asarray(), ramp((64, 64, 10)))
    write_stack(tmp_path / "one.tif", ramp((4, 6)))  # a single slice
    np.testing.assert_array_equal(read_stack(tmp_path / "one.tif"), ramp((4, 6))[None])


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        (np.zeros((2, 3, 3), np.int32), "dtype int32: must be float32, uint8 or uint16"),
        (np.zeros((2, 3, 3)), "dtype float64"),
        (np.zeros((0, 3, 3), np.uint8), r"shape \(0, 3, 3\)"),
        (np.zeros((2, 2, 3, 3), np.uint8), r"shape \(2, 2, 3, 3\)"),
    ],
)
def test_a_stack_that_cannot_be_written_is_refused(tmp_path, stack, message):
    with pytest.raises(ValueError, match=message):
        write_stack(tmp_path / "stack.tif", stack)
    assert list(tmp_path.iterdir()) == []


def gray(path: Path, stack: np.ndarray, **options) -> None:
    tifffile.imwrite(path, stack, photometric="minisblack", **options)


WRITERS = {
    "one slice": ((20, 30), {}),
    "pages": ((5, 20, 30), {"metadata": None}),
    "contiguous": ((5, 20, 30), {}),
    "shaped": ((5, 20, 30), {"metadata": {"truncate": True}}),
    "imagej": ((5, 20, 30), {"imagej": True, "metadata": {"axes": "ZYX"}}),
    "deflate": ((5, 20, 30), {"compression": "zlib"}),
    "packbits": ((5, 20, 30), {"compression": "packbits"}),
    "lzw": ((5, 20, 30), {"compression": "lzw"}),
    "strips": ((5, 20, 30), {"rowsperstrip": 3, "compression": "zlib"}),
    "tiles": ((5, 20, 30), {"tile": (16, 16)}),
    "bigtiff": ((5, 20, 30), {"bigtiff": True}),
    "big-endian": ((5, 20, 30), {"byteorder": ">"}),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_kind_of_gray_tiff_is_read(tmp_path, writer):
    shape, options = WRITERS[writer]
    if "lzw" in writer:
        pytest.importorskip("imagecodecs", reason="LZW needs imagecodecs")
    for dtype in ("uint8", "uint16", "float32"):
        stack = ramp(shape, dtype)
        gray(tmp_path / "x.tif", stack, **options)
        read = read_stack(tmp_path / "x.tif")
        assert read.dtype == np.dtype(dtype)
        assert read.dtype.isnative
        assert read.flags.c_contiguous
        np.testing.assert_array_equal(read, stack.reshape(-1, *shape[-2:]))


def test_reads_a_stack_that_pillow_wrote(tmp_path):
    stack = ramp((3, 20, 30))
    first, *others = [Image.fromarray(page) for page in stack]
    first.save(tmp_path / "x.tif", save_all=True, append_images=others)
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), stack)


def test_one_bit_images_become_0_and_1(tmp_path):
    mask = ramp((20, 30)) > 100
    Image.fromarray(mask).save(tmp_path / "x.tif")
    read = read_stack(tmp_path / "x.tif")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read[0], mask)


def test_an_imagej_stack_with_a_single_directory_is_read_whole(tmp_path):
    """ImageJ writes large stacks with one directory, and the other slices behind the first."""
    stack = ramp((5, 20, 30))
    path = tmp_path / "x.tif"
    imagej_with_one_directory(path, stack)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 1
    np.testing.assert_array_equal(read_stack(path), stack)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"x\.tif: .*truncated"):
        read_stack(path)


def imagej_with_one_directory(path: Path, stack: np.ndarray, photometric: str = "MINISBLACK"):
    text = f"ImageJ=1.53t\nimages={len(stack)}\nslices={len(stack)}\n"
    tifffile.imwrite(
        path, stack[0], description=text, metadata=None, software=False, photometric=photometric
    )
    with path.open("ab") as file:
        file.write(stack[1:].tobytes())


def read_or_refusal(path: Path) -> np.ndarray | str:
    try:
        return read_stack(path)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_cut_anywhere_is_refused_never_filled_up(tmp_path, writer):
    """Either the cut took nothing but padding, or there is one message that names the file."""
    shape, options = WRITERS[writer]
    if "lzw" in writer:
        pytest.importorskip("imagecodecs", reason="LZW needs imagecodecs")
    stack = ramp(shape)
    path = tmp_path / "x.tif"
    gray(path, stack, **options)
    content = path.read_bytes()
    refused = 0
    for length in {*range(0, len(content), max(1, len(content) // 60)), len(content) - 1}:
        path.write_bytes(content[:length])
        outcome = read_or_refusal(path)
        if isinstance(outcome, np.ndarray):
            np.testing.assert_array_equal(outcome, stack.reshape(-1, *shape[-2:]))
        else:
            assert outcome.startswith(f"{path}: ")
            refused += 1
    assert refused >= 55


def test_damage_is_reported_in_one_message(tmp_path, caplog):
    path = tmp_path / "x.tif"
    gray(path, ramp((5, 20, 30)), compression="zlib")
    content = bytearray(path.read_bytes())
    content[-200:-150] = bytes(50)
    path.write_bytes(content)
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match="truncated or damaged"):
        read_stack(path)
    assert caplog.records == []


def test_an_empty_strip_is_not_read_as_zeros(tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, ramp((20, 30)), compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["StripByteCounts"].overwrite(0)
    assert not tifffile.imread(path).any(), "the reader below does fill up with zeros"
    with pytest.raises(ValueError, match="the pixels of page 0 are not all there"):
        read_stack(path)


def test_directories_in_a_circle_are_refused(tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, ramp((20, 30)), metadata=None)
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * tags, first)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_stack(path)


def test_what_is_no_tiff_is_named(tmp_path):
    for content, message in (
        (b"", r"x\.tif: is not a TIFF file \(0 bytes"),
        (b"\x89PNG\r\n\x1a\n and so on", "is not a TIFF file"),
        (b"II\x2b", "is not a TIFF file"),
        (b"II\x2a\x00\x00\x00\x00\x00", "a TIFF file without any page"),
        (b"II\x2a\x00\x08", "truncated or damaged"),
    ):
        (tmp_path / "x.tif").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_stack(tmp_path / "x.tif")
    with pytest.raises(ValueError, match="is not a file"):
        read_stack(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.tif: no such file"):
        read_stack(tmp_path / "nothing.tif")


@pytest.mark.parametrize(
    ("stack", "options", "message"),
    [
        (
            ramp((20, 30, 3)),
            {"photometric": "rgb"},
            r"3 channels \(.* axes YXS\) .* channel 0 … 2$",
        ),
        (
            ramp((2, 3, 20, 30)),
            {"photometric": "rgb", "planarconfig": "separate"},
            r"has 3 channels \(shape \(2, 3, 20, 30\)\)",
        ),
        (
            # what tifffile makes of three slices by default, up to now
            ramp((3, 20, 30)),
            {"photometric": "rgb", "planarconfig": "separate"},
            r"3 channels \(shape \(3, 20, 30\), axes SYX\)",
        ),
        (
            ramp((2, 3, 20, 30)),
            {"imagej": True, "metadata": {"axes": "ZCYX"}},
            r"has 3 channels \(shape \(2, 3, 20, 30\), axes ZCYX\) .* channel 0 … 2$",
        ),
        (
            ramp((3, 20, 30)),
            {"imagej": True, "metadata": {"axes": "CYX"}},
            "3 channels",
        ),
        (ramp((2, 3, 20, 30)), {"photometric": "minisblack"}, r"has shape \(2, 3, 20, 30\)"),
        (ramp((20, 30)).astype("complex64"), {}, "page 0 holds complex64"),
        (ramp((20, 30)), {"photometric": "miniswhite"}, r"stored inverted \(white is zero\)"),
    ],
)
def test_what_is_no_gray_stack_is_refused(tmp_path, stack, options, message):
    tifffile.imwrite(tmp_path / "x.tif", stack, **options)
    with pytest.raises(ValueError, match=message) as caught:
        read_stack(tmp_path / "x.tif")
    assert str(caught.value).startswith(str(tmp_path / "x.tif"))


def test_imagejs_inverting_look_up_table_changes_no_value(tmp_path):
    imagej_with_one_directory(tmp_path / "x.tif", ramp((5, 20, 30)), "MINISWHITE")
    np.testing.assert_array_equal(read_stack(tmp_path / "x.tif"), ramp((5, 20, 30)))


def test_pages_that_are_not_alike_are_refused(tmp_path):
    for other in (ramp((10, 30)), ramp((20, 30), "uint16")):
        with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
            tiff.write(ramp((20, 30)), metadata=None)
            tiff.write(other, metadata=None)
        with pytest.raises(ValueError, match="must have one shape and one dtype"):
            read_stack(tmp_path / "x.tif")


def test_lzw_without_imagecodecs_names_the_remedy(tmp_path):
    """In a Python without the package; deflate and PackBits are read there all the same."""
    pytest.importorskip("imagecodecs", reason="writing LZW needs imagecodecs")
    stack = ramp((2, 20, 30))
    for compression in ("lzw", "zlib", "packbits"):
        tifffile.imwrite(tmp_path / f"{compression}.tif", stack, compression=compression)
    np.save(tmp_path / "stack.npy", stack)
    script = """
import sys
sys.modules["imagecodecs"] = None
import numpy as np
from unet2015.data.tiff import read_stack
for name in ("zlib", "packbits"):
    np.testing.assert_array_equal(read_stack(f"{name}.tif"), np.load("stack.npy"))
try:
    read_stack("lzw.tif")
except ValueError as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
    assert ended.stdout == (
        "lzw.tif: compressed with LZW, which needs a package: pip install imagecodecs\n"
    )


def test_more_pixels_than_the_machine_has_memory_for_are_refused_before_they_are_read(
    tmp_path, monkeypatch
):
    """However small deflate has made them."""
    write_stack(tmp_path / "a.tif", np.zeros((3, 400, 500), np.uint8))
    monkeypatch.setattr(ours, "memory_bytes", lambda: 599_999)
    with pytest.raises(ValueError, match=r"a\.tif: holds 0.0006 GB of pixels, and this machine"):
        read_stack(tmp_path / "a.tif")
    for there in (600_000, None):
        monkeypatch.setattr(ours, "memory_bytes", lambda there=there: there)
        assert read_stack(tmp_path / "a.tif").shape == (3, 400, 500)


def test_many_pages_are_said_before_they_are_read(tmp_path, monkeypatch, capsys):
    write_stack(tmp_path / "a.tif", ramp((5, 8, 8)))
    monkeypatch.setattr(ours, "MANY_PAGES", 4)
    read_stack(tmp_path / "a.tif")
    assert capsys.readouterr().err == f"{tmp_path / 'a.tif'}: 5 pages, which take a while to read\n"
