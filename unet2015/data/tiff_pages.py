"""The pages of a TIFF file: how many there are, and what may not be taken for a gray image."""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

SHORT_OF_THE_FILE = "the file is truncated or damaged; copy or download it again"
AS_GRAY = "save it as gray (ImageJ: Image > Type > 8-bit)"
UPRIGHT = (0, 1)
"""Values of the orientation tag in TIFF and EXIF for an image as it stands; 0: not said."""
TURNED = (
    "is stored turned or mirrored (orientation {}), which some programs heed and others do not; "
    "open it in one that shows it upright and save it again"
)
Palette = Literal["gray", "indices", "colours"]
_COLOURS = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)


class Refused(Exception):
    """A message of ours, so that it is not taken for the damage that tifffile stumbled over."""


def images_of(path: Path, tiff: tifffile.TiffFile, pages: int) -> list[tifffile.TiffPage]:
    """The pages that hold the images, in the order of the file, all of one shape and dtype.

    Reduced copies of others, as in pyramids and thumbnails, are left out. pages: how many the file
    has, from `count_pages`. Raises Refused.
    """
    if len(tiff.pages) != pages:
        raise Refused(
            f"{path}: {len(tiff.pages)} of {pages} pages can be read; {SHORT_OF_THE_FILE}"
        )
    all_of_them = [page.aspage() for page in tiff.pages]
    found = [page for page in all_of_them if not page.is_reduced]
    if not found:
        raise Refused(f"{path}: has reduced copies of an image only; export it at full size")
    for page in found:
        _check_page(path, page, tiff)
    kinds = sorted({f"{p.shape} {p.dtype}, {p.bitspersample} bits" for p in found})
    if len(kinds) > 1:
        raise Refused(
            f"{path}: has pages of {' and '.join(kinds)}; all slices of a stack must have one "
            "shape and one dtype, of as many bits"
        )
    return found


def _check_page(path: Path, page: tifffile.TiffPage, tiff: tifffile.TiffFile) -> None:
    """Refuse what is no image, has values that mean something else, or is not wholly there."""
    name = f"{path}: page {page.index}"
    if page.is_mask:
        raise Refused(f"{name} is a transparency mask of another page; {AS_GRAY}")
    if (turned := page.tags.valueof("Orientation", 1)) not in UPRIGHT:
        raise Refused(f"{name} {TURNED.format(int(turned))}")
    if page.dtype is None or page.dtype.kind not in "buif":
        raise Refused(
            f"{name} holds {page.dtype or 'numbers of an unknown type'}; must be "
            "unsigned or signed integers or floats: convert it to uint8, uint16 or float32"
        )
    # ImageJ's look-up tables do not change the values; elsewhere white-is-zero inverts them
    if page.photometric == PHOTOMETRIC.MINISWHITE and not tiff.is_imagej:
        raise Refused(
            f"{path}: is stored inverted (white is zero), which programs read in two ways; save "
            "it with black as zero (ImageJ: Image > Lookup Tables > Invert LUT, then Edit > Invert)"
        )
    if page.is_mdgel:
        raise Refused(f"{name} has its gray values in Molecular Dynamics' code; {AS_GRAY}")
    gray = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE)
    if page.photometric not in (*gray, *_COLOURS) or (
        page.photometric == PHOTOMETRIC.PALETTE and page.samplesperpixel > 1
    ):
        kind = getattr(page.photometric, "name", str(page.photometric))
        raise Refused(f"{name} has values of the kind {kind}, which are no gray values; {AS_GRAY}")
    for inner in (each.aspage() for each in page.pages or ()):
        larger = _area(inner) - _area(page)
        if larger > 0 or (larger == 0 and not inner.is_reduced):
            raise Refused(f"{name} has an image within it that is no smaller (SubIFD); export it")
    _check_pixels(path, page, tiff.filehandle.size)


def _area(page: tifffile.TiffPage) -> int:
    return page.imagelength * page.imagewidth


def _check_pixels(path: Path, page: tifffile.TiffPage, size: int) -> None:
    """Refuse a page that is not wholly in a file of `size` bytes."""
    stretches = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    missing = not stretches or any(
        start == 0 or count == 0 or start + count > size for start, count in stretches
    )
    uncompressed = page.compression == tifffile.COMPRESSION.NONE
    needed = page.size * page.bitspersample / 8 if uncompressed else 0
    if missing or sum(page.databytecounts) < needed:
        raise Refused(
            f"{path}: the pixels of page {page.index} are not all there; {SHORT_OF_THE_FILE}"
        )


def table_step(images: Iterable[tifffile.TiffPage]) -> int:
    """What the 16-bit tables of indexed colours count one of 8 bits as; 0: they have 16 bits."""
    indexed = [page for page in images if page.photometric == PHOTOMETRIC.PALETTE]
    tables = [np.asarray(page.colormap) for page in indexed]
    for step in (1, 257, 256):  # unscaled, as most programs scale 8 bits to 16, as some do
        if all(table.max() <= 255 * step and not (table % step).any() for table in tables):
            return step
    return 0


def values_of(
    path: Path, page: tifffile.TiffPage, palette: Palette, *, step: int, imagej: bool
) -> np.ndarray:
    """The values of a page; for one of indexed colours as `palette` says.

    'gray': the gray values of its table (ImageJ's, only a way to display values, must change none);
    colours raise Refused. 'indices': the places in the table. 'colours': (H, W, 3) from the table.
    step: `table_step` of all pages.
    """
    values = page.asarray()
    if page.photometric != PHOTOMETRIC.PALETTE or palette == "indices":
        return values
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)  # places, no mask of them
    table = np.asarray(page.colormap)
    if step:
        table = (table // step).astype(np.uint8)
    used = np.unique(values)
    colours = table[:, used]
    if palette == "colours":
        return np.moveaxis(table[:, values], 0, -1)
    if (colours != colours[0]).any() or (imagej and (table[0][used] != used).any()):
        raise Refused(
            f"{path}: page {page.index} has indexed colours, so that its numbers are places in a "
            "table and no gray values. If the colours only display values, remove them (ImageJ: "
            f"Image > Lookup Tables > Grays), otherwise {AS_GRAY}"
        )
    return table[0][values]


def count_pages(path: Path, file: BinaryIO) -> int:
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
