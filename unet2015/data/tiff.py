"""Image and label stacks as TIFF files.

A file is read whole or not at all, and written in one step.
"""

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import tifffile

from unet2015.runtime.atomic import write_atomically

LabelKind = Literal["binary", "instances"]
CLASSIC_BYTES = 2**32 - 2**25
"""What a TIFF whose offsets have 32 bits may take; 32 MiB are left for pixels that deflate makes
larger, by less than a thousandth."""
PAGE_BYTES = 1024
"""More than a slice's directory takes, with the places of its strips (our choice)."""
SHORT_OF_THE_FILE = "the file is truncated or damaged; copy or download it again"


def read_stack(path: str | Path) -> np.ndarray:
    """The slices of a gray TIFF as an (N, H, W) array of the file's own dtype; one slice: N = 1.

    Reads 2-D files, multi-page files and ImageJ stacks, uncompressed or deflate, PackBits, LZW
    (the last with imagecodecs); 1-bit images become uint8 {0, 1}. Nothing is rescaled.

    Raises FileNotFoundError if there is no such file, and ValueError, each naming the file, for:
    not a TIFF, truncated or damaged, no page, pages of unequal size, RGB, more than three
    dimensions, values stored inverted (white is zero), complex or other unreadable numbers, and a
    compression that needs a package which is not installed. A damaged file is never returned with
    zeros in place of what is missing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; give the path of a TIFF file")
    if not path.is_file():
        raise ValueError(f"{path}: is not a file; give the path of a TIFF file")
    with path.open("rb") as file, _without_tifffile_log():
        pages = _count_pages(path, file)
        file.seek(0)
        try:
            # the pages as they stand in this file, also where OME metadata point to other files
            with tifffile.TiffFile(file, is_ome=False) as tiff:
                stack = _read_pages(path, tiff, pages)
        except _Refused as refusal:
            raise ValueError(str(refusal)) from None
        except Exception as error:  # tifffile and the codecs raise whatever damage makes them
            raise ValueError(_unreadable(path, error)) from error
    if stack.dtype == np.bool_:
        return stack.astype(np.uint8)
    return np.ascontiguousarray(stack, dtype=stack.dtype.newbyteorder("="))


def write_stack(path: str | Path, stack: np.ndarray) -> None:
    """Write (N, H, W) or (H, W) as a multi-page gray TIFF, deflate-compressed, in one step.

    stack: float32, uint8 or uint16; read back unchanged by `read_stack`, ImageJ, Pillow and
    scikit-image (deflate, because it needs no further package anywhere). A stack that could exceed
    the 4 GiB of a classic TIFF becomes a BigTIFF, which `read_stack`, Pillow and scikit-image read
    and ImageJ opens with Bio-Formats. Raises ValueError for another dtype or an empty stack,
    OSError as `write_atomically`.
    """
    stack = np.asarray(stack)
    if stack.dtype.name not in ("float32", "uint8", "uint16"):
        raise ValueError(
            f"stack for {path} has dtype {stack.dtype}: must be float32, uint8 or uint16"
        )
    if stack.ndim not in (2, 3) or stack.size == 0:
        raise ValueError(
            f"stack for {path} has shape {stack.shape}: must be (slices, height, width), none 0"
        )
    slices = stack.reshape(-1, *stack.shape[-2:])
    big = slices.nbytes + PAGE_BYTES * len(slices) > CLASSIC_BYTES
    with write_atomically(path) as file, tifffile.TiffWriter(file, bigtiff=big) as tiff:
        # page by page: of a whole stack, tifffile takes a width of 1 for the channels of a pixel
        for image in slices:
            tiff.write(image, photometric="minisblack", compression="zlib", metadata=None)


def read_binary_labels(path: str | Path, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """The segmentation of an EM stack, (N, H, W) uint8: 0 = membrane, 1 = cell (paper §4).

    The file holds two values, 0 and one other above it: {0, 1} or {0, 255}, say. shape: that of
    the image stack, which the labels must have. Raises ValueError naming the file, the slice and
    the values for labels that are not binary or of one class only, and for another shape;
    otherwise as `read_stack`.
    """
    return binary_labels(read_stack(path), path, shape)


def binary_labels(
    stack: np.ndarray, name: str | Path, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """`read_binary_labels` of an (N, H, W) array; `name` is what its messages begin with.

    >>> binary_labels(np.array([[[0, 255]]]), "labels").tolist()
    [[[0, 1]]]
    """
    _check_shape(name, stack, shape)
    seen, cell = None, None
    for index, labels in enumerate(stack):
        values = np.unique(labels)
        others = values[values != 0]
        cell = others[0] if cell is None and len(others) else cell
        # not (v > 0): NaN as well
        if len(others) > 1 or any(value != cell or not value > 0 for value in others):
            known = "" if seen is None else f" (slices before it: {_in_words(seen)})"
            raise ValueError(
                f"{name}: slice {index} has the values {_in_words(values)}{known}; binary labels "
                "have 0 (membrane) and one other value (cell), 255 or 1, in the whole stack"
            )
        seen = values if seen is None else np.union1d(seen, values)
    if seen is None or len(seen) < 2:
        raise ValueError(
            f"{name}: {_slices_have(len(stack))} the one value {_in_words(seen)}; labels "
            "need both classes, 0 (membrane) and one other value (cell), 255 or 1"
        )
    return (stack != 0).astype(np.uint8)


def read_instance_labels(path: str | Path, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """The instances of a label stack, (N, H, W) int32: 0 = background, each id one cell.

    Floats are taken if they are whole numbers (ImageJ's 32-bit labels). shape: that of the image
    stack. Raises ValueError naming the file, the slice and the value for ids that are negative,
    fractional or above 2³¹ - 1, and for another shape; otherwise as `read_stack`.
    """
    return instance_labels(read_stack(path), path, shape)


def instance_labels(
    stack: np.ndarray, name: str | Path, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """`read_instance_labels` of an (N, H, W) array; `name` is what its messages begin with.

    >>> instance_labels(np.array([[[0.0, 3.0]]]), "labels").tolist()
    [[[0, 3]]]
    """
    _check_shape(name, stack, shape)
    largest = np.iinfo(np.int32).max
    for index, labels in enumerate(stack):
        wrong = ~((labels >= 0) & (labels <= largest))
        if labels.dtype.kind == "f":
            wrong |= labels != np.rint(labels)
        if wrong.any():
            raise ValueError(
                f"{name}: slice {index} has the id {labels[wrong][0]}; instance labels are whole "
                f"numbers from 0 (background) to {largest}"
            )
    return stack.astype(np.int32)


class _Refused(Exception):
    """A message of ours, so that it is not taken for the damage that tifffile stumbled over."""


def read_labels(
    path: str | Path, kind: LabelKind, shape: tuple[int, int, int] | None = None
) -> np.ndarray:
    """The labels in a TIFF file, as `read_binary_labels` or `read_instance_labels`."""
    read = read_binary_labels if kind == "binary" else read_instance_labels
    return read(path, shape)


def _read_pages(path: Path, tiff: tifffile.TiffFile, pages: int) -> np.ndarray:
    if len(tiff.pages) != pages:
        raise _Refused(
            f"{path}: {len(tiff.pages)} of {pages} pages can be read; {SHORT_OF_THE_FILE}"
        )
    shape = _check_pages(path, tiff)
    for series in tiff.series:
        _check_axes(path, series)
    slices = [series.asarray().reshape(-1, *shape) for series in tiff.series]
    stack = slices[0] if len(slices) == 1 else np.concatenate(slices)
    announced = _announced_slices(tiff, shape)
    if len(stack) < max(announced, pages):
        raise _Refused(
            f"{path}: {len(stack)} of {max(announced, pages)} slices found; {SHORT_OF_THE_FILE}"
        )
    return stack


def _check_pages(path: Path, tiff: tifffile.TiffFile) -> tuple[int, ...]:
    """The one shape of all pages, (height, width); refuses what is no stack of gray images."""
    pages = [page.aspage() for page in tiff.pages]
    for index, page in enumerate(pages):
        _check_page(path, index, page, tiff.filehandle.size)
    # ImageJ's look-up tables do not change the values; elsewhere white-is-zero inverts them
    inverted = tifffile.PHOTOMETRIC.MINISWHITE
    if not tiff.is_imagej and any(page.photometric == inverted for page in pages):
        raise _Refused(
            f"{path}: is stored inverted (white is zero), which programs read in two ways; save "
            "it with black as zero (ImageJ: Image > Lookup Tables > Grays)"
        )
    kinds = sorted({f"{page.shape} {page.dtype}" for page in pages})
    if len(kinds) > 1:
        raise _Refused(
            f"{path}: has pages of {' and '.join(kinds)}; all slices of a stack must have one "
            "shape and one dtype"
        )
    return pages[0].shape


def _check_page(path: Path, index: int, page: tifffile.TiffPage, size: int) -> None:
    """Refuse what is no gray image or is not wholly in a file of `size` bytes."""
    if page.samplesperpixel != 1:
        channels, slices = page.samplesperpixel, ""
        # so tifffile writes three or four slices, unless it is told what they are
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            slices = f"; if it is {channels} slices, write them with photometric='minisblack'"
        raise _Refused(
            f"{path}: page {index} has {channels} colour channels; only gray images are read: "
            f"convert it to 8-bit or 16-bit gray (ImageJ: Image > Type > 8-bit){slices}"
        )
    if len(page.shape) != 2:
        raise _Refused(f"{path}: page {index} has shape {page.shape}; must be 2-D (height, width)")
    if page.dtype is None or page.dtype.kind not in "buif":
        raise _Refused(
            f"{path}: page {index} holds {page.dtype or 'numbers of an unknown type'}; must be "
            "unsigned or signed integers or floats: convert it to uint8, uint16 or float32"
        )
    stretches = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    missing = not stretches or any(
        start == 0 or count == 0 or start + count > size for start, count in stretches
    )
    uncompressed = page.compression == tifffile.COMPRESSION.NONE
    needed = page.size * page.bitspersample / 8 if uncompressed else 0
    if missing or sum(page.databytecounts) < needed:
        raise _Refused(f"{path}: the pixels of page {index} are not all there; {SHORT_OF_THE_FILE}")


def _check_axes(path: Path, series: tifffile.TiffPageSeries) -> None:
    """Refuse more than one direction beside the image's own, and what are surely channels."""
    stacked = [
        (axis, length)
        for axis, length in zip(series.axes, series.shape, strict=True)
        if axis not in "YX" and length > 1
    ]
    # tifffile's ImageJ files call any stack 'channels' unless told otherwise
    if len(stacked) > 1 or any(axis == "C" and length <= 4 for axis, length in stacked):
        raise _Refused(
            f"{path}: has shape {series.shape} (axes {series.axes}); must be one gray image "
            "(height, width) or a stack of them (slices, height, width): save one channel, or "
            "one time, per file"
        )


def _announced_slices(tiff: tifffile.TiffFile, page: tuple[int, ...]) -> int:
    """How many slices ImageJ's or tifffile's own description says that the file holds."""
    if tiff.imagej_metadata:
        return int(tiff.imagej_metadata.get("images", 0))
    described = tiff.shaped_metadata or ()
    pixels = sum(int(np.prod(series["shape"])) for series in described if "shape" in series)
    return pixels // int(np.prod(page))


def _unreadable(path: Path, error: Exception) -> str:
    """One message for what tifffile or a codec raised."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "imagecodecs" in text:
        kind = text.partition("COMPRESSION.")[2].partition(":")[0] or "an unusual codec"
        return f"{path}: compressed with {kind}, which needs a package: pip install imagecodecs"
    return f"{path}: cannot be read ({text}); {SHORT_OF_THE_FILE}"


def _check_shape(name: str | Path, stack: np.ndarray, shape: tuple[int, ...] | None) -> None:
    if shape is not None and stack.shape != tuple(shape):
        raise ValueError(
            f"{name}: labels of shape {stack.shape}, but the images have shape {tuple(shape)} "
            "(slices, height, width); both must be the same"
        )


def _slices_have(count: int) -> str:
    return "slice 0 has" if count == 1 else f"slices 0-{count - 1} have"


def _in_words(values: np.ndarray | None) -> str:
    """The first few of the values.

    >>> _in_words(np.array([0, 1, 2, 3, 4, 5, 6]))
    '0, 1, 2, 3, 4, … (7 values)'
    """
    values = np.array([]) if values is None else values
    shown = ", ".join(f"{value:g}" for value in values[:5])
    return shown if len(values) <= 5 else f"{shown}, … ({len(values)} values)"


def _count_pages(path: Path, file: BinaryIO) -> int:
    """The number of pages, from the file's chain of directories (TIFF 6.0 §2; BigTIFF).

    tifffile ends a chain that points beyond the file with a log message only.
    """
    header = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2], "")
    version = struct.unpack(order + "H", header[2:4])[0] if order and len(header) >= 4 else 0
    if version not in (42, 43):
        size = path.stat().st_size
        raise ValueError(
            f"{path}: is not a TIFF file ({size} bytes, begins with {header[:4]!r}); save the "
            "image as TIFF, or give another file"
        )
    big = version == 43
    tag_bytes, entries, pointer = (20, "Q", "Q") if big else (12, "H", "I")
    seen: set[int] = set()
    try:
        offset = struct.unpack_from(order + pointer, header, 8 if big else 4)[0]
        while offset:
            if offset in seen:
                raise struct.error("its directories form a circle")
            seen.add(offset)
            count = _number(file, offset, order + entries)
            after = offset + struct.calcsize(order + entries) + count * tag_bytes
            offset = _number(file, after, order + pointer)
    except struct.error as error:
        raise ValueError(
            f"{path}: directory {len(seen)} is missing; {SHORT_OF_THE_FILE}"
        ) from error
    if not seen:
        raise ValueError(f"{path}: a TIFF file without any page; save the image again")
    return len(seen)


def _number(file: BinaryIO, offset: int, form: str) -> int:
    file.seek(offset)
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


@contextmanager
def _without_tifffile_log() -> Iterator[None]:
    """Silence tifffile's own log: what it reports is checked here and raised as one message."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
