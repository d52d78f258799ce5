"""Image and label stacks as TIFF files.

A file is read whole or not at all, and written in one step. What its tags and metadata say of its
values and sides is honoured or refused, never passed over (`tiff_pages`, `tiff_axes`).
"""

import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import tifffile

from unet2015.data.axes import Layout, Sides, slices_of
from unet2015.data.tiff_axes import first_series, imagej_sizes, named, readings, shaped_metadata
from unet2015.data.tiff_pages import (
    SHORT_OF_THE_FILE,
    Palette,
    Refused,
    count_pages,
    images_of,
    table_step,
    values_of,
)
from unet2015.runtime.atomic import write_atomically
from unet2015.runtime.memory import memory_bytes

_AS_STATED = Layout()
CLASSIC_BYTES = 2**32 - 2**25
"""What a TIFF whose offsets have 32 bits may take; 32 MiB are left for pixels that deflate makes
larger, by less than a thousandth."""
MANY_PAGES = 10_000
"""So many pages take seconds to find, whatever is on them: that is said (our choice)."""
PAGE_BYTES = 1024
"""More than a slice's directory takes, with the places of its strips (our choice)."""


def read_stack(
    path: str | Path,
    *,
    axes: str | None = None,
    channel: int | None = None,
    palette: Palette = "gray",
    option: str | None = "",
) -> np.ndarray:
    """The slices of a gray TIFF as an (N, H, W) array of the file's own dtype; one slice: N = 1.

    Reads 2-D files, multi-page files in the order of their pages, and stacks of ImageJ and OME,
    uncompressed or deflate, PackBits, LZW and others (with imagecodecs); 1-bit images become uint8
    {0, 1}. Nothing is rescaled; reduced copies (pyramids, thumbnails) are left out. axes: where the
    file does not say what its sides are, or says it wrongly, one letter a side, such as ZYX, CYX or
    YXZ (Y, X: height, width; C: channels; any other: slices). channel: the one to read, from 0, of
    several. palette: what becomes of indexed colours, see `tiff_pages.values_of`. option: what
    stands before 'axes' and 'channel' in messages; None where whoever reads them cannot give these.

    Raises FileNotFoundError if there is no such file, and ValueError, each naming the file, for:
    not a TIFF, truncated or damaged, no page, pages of unequal size, channels of which none is
    chosen, more than three dimensions unless `axes` names them, a stack that may be saved with
    the slices last, values stored inverted (white is zero), turned images, colours, complex or
    other unreadable numbers, and a compression that needs a package which is not installed. A
    damaged file is never returned with zeros in place of what is missing.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_stack(f"{folder}/x.tif", np.zeros((40, 50, 5), np.uint8))
    ...     read_stack(f"{folder}/x.tif").shape, read_stack(f"{folder}/x.tif", axes="YXZ").shape
    ((40, 50, 5), (5, 40, 50))
    """
    layout = Layout(axes, channel, option)
    stack = slices_of(path, read_sides(path, layout, palette=palette), layout)
    if stack.dtype == np.bool_:
        return stack.astype(np.uint8)
    return np.ascontiguousarray(stack, dtype=stack.dtype.newbyteorder("="))


def read_sides(
    path: str | Path, layout: Layout = _AS_STATED, *, palette: Palette = "gray"
) -> list[Sides]:
    """All pixels of a TIFF, with what their sides may be (`axes.readings`); else as `read_stack`.

    Channels are there, too, and 1-bit images are bool.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; give the path of a TIFF file")
    if not path.is_file():
        raise ValueError(f"{path}: is not a file; give the path of a TIFF file")
    with path.open("rb") as file, _without_tifffile_log():
        pages = count_pages(path, file)
        if pages > MANY_PAGES:
            print(f"{path}: {pages} pages, which take a while to read", file=sys.stderr)
        file.seek(0)
        try:
            # the pages as they stand in this file: OME metadata may point to other files, and of
            # ScanImage's the places of pages are guessed
            with tifffile.TiffFile(file, is_ome=False, is_scanimage=False) as tiff:
                return _read(path, tiff, pages, layout, palette)
        except Refused as refusal:
            raise ValueError(str(refusal)) from None
        except MemoryError:
            raise
        except Exception as error:  # tifffile and the codecs raise whatever damage makes them
            raise ValueError(_unreadable(path, error)) from error


def write_stack(path: str | Path, stack: np.ndarray) -> None:
    """Write (N, H, W) or (H, W) as a multi-page gray TIFF, deflate-compressed, in one step.

    stack: float32, uint8 or uint16; read back unchanged by `read_stack`, ImageJ, Pillow and
    scikit-image (deflate, because it needs no further package anywhere). A stack that could exceed
    the 4 GiB of a classic TIFF becomes a BigTIFF, which `read_stack`, Pillow and scikit-image read
    and ImageJ opens with Bio-Formats. Raises ValueError for another dtype or an empty stack,
    OSError as `write_atomically`.

    Of several slices the file says that they are slices, first of its sides.
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
        options = {"photometric": "minisblack", "compression": "zlib", "metadata": None}
        said = json.dumps({"shape": slices.shape, "axes": "ZYX"}) if len(slices) > 1 else None
        for index, image in enumerate(slices):
            tiff.write(image, description=None if index else said, **options)


def _read(
    path: Path, tiff: tifffile.TiffFile, pages: int, layout: Layout, palette: Palette
) -> list[Sides]:
    images = images_of(path, tiff, pages)
    series = first_series(tiff) if len(images) == 1 else None
    behind = 0 if series is None else series.nbytes
    _refuse_more_than_memory(path, max(behind, sum(page.nbytes for page in images)))
    if series is not None and series.size > images[0].size:
        return [_behind_one_page(path, tiff, series)]
    stack = _stacked(path, images, palette, imagej=tiff.is_imagej)
    _check_announced(path, tiff, images[0].shape, len(images))
    try:
        return readings(tiff, images, stack, heed=layout.axes is None)
    except ValueError as error:
        raise Refused(
            f"{path}: {error}; "
            + layout.way_out(
                "{}axes ZYX reads its pages as slices, in their order", "save it as a plain stack"
            )
        ) from error


def _refuse_more_than_memory(path: Path, needed: int) -> None:
    """Before a file that deflate has made small fills it."""
    there = memory_bytes()
    if there is not None and needed > there:
        raise Refused(
            f"{path}: holds {needed / 1e9:.3g} GB of pixels, and this machine has "
            f"{there / 1e9:.3g} GB of memory; cut the stack into parts"
        )


def _stacked(
    path: Path, images: list[tifffile.TiffPage], palette: Palette, *, imagej: bool
) -> np.ndarray:
    """The values of all pages, (pages, …), of which no more than one is in memory twice."""
    step = table_step(images)
    stack = np.empty(0)
    for index, page in enumerate(images):
        values = values_of(path, page, palette, step=step, imagej=imagej)
        if index == 0:
            stack = np.empty((len(images), *values.shape), values.dtype.newbyteorder("="))
        if values.shape != stack.shape[1:] or values.dtype.newbyteorder("=") != stack.dtype:
            raise Refused(
                f"{path}: page {index} has indexed colours of {values.dtype} and others have "
                f"{stack.dtype}; all slices of a stack must have one dtype"
            )
        stack[index] = values
    return stack


def _behind_one_page(path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Sides:
    """The images of a file with one directory, all behind the first (ImageJ, for large stacks)."""
    page = tiff.pages.first.aspage()
    _check_announced(path, tiff, page.shape, series.size // page.size)
    axes = named(series.axes)
    return Sides(series.asarray(), axes, stated=axes == series.axes)


def _check_announced(
    path: Path, tiff: tifffile.TiffFile, page: tuple[int, ...], found: int
) -> None:
    """Refuse fewer slices than ImageJ's or tifffile's own description says that the file holds."""
    if tiff.imagej_metadata:
        announced = 0
        with suppress(ValueError):  # said elsewhere
            announced = imagej_sizes(tiff.imagej_metadata)["images"]
    else:
        pixels = sum(math.prod(each["shape"]) for each in shaped_metadata(tiff))
        announced = pixels // math.prod(page)
    if found < announced:
        raise Refused(f"{path}: {found} of {announced} slices found; {SHORT_OF_THE_FILE}")


def _unreadable(path: Path, error: Exception) -> str:
    """One message for what tifffile or a codec raised."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "imagecodecs" in text:
        kind = text.partition("COMPRESSION.")[2].partition(":")[0] or "an unusual codec"
        return f"{path}: compressed with {kind}, which needs a package: pip install imagecodecs"
    return f"{path}: cannot be read ({text}); {SHORT_OF_THE_FILE}"


@contextmanager
def _without_tifffile_log() -> Iterator[None]:
    """Silence tifffile's own log: what it reports is checked here and raised as one message."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
