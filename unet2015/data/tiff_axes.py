"""What the sides of a TIFF's pixels are, by the metadata of OME, ImageJ, tifffile, microscopes."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tifffile

from unet2015.data.axes import CHANNELS, Sides

UNKNOWN = "IQ"
"""Letters of tifffile for sides of which nothing is known."""
_SCANIMAGE = re.compile(r"channels?Save = \[([\d:; ,]+)\]|numberOfChannelsSave=(\d+)")
"""'SI.hChannels.channelSave = [1;2]', 'scanimage.SI4.channelsSave = [1:2]', 'state.acq.number…'."""


def readings(
    tiff: tifffile.TiffFile,
    images: Sequence[tifffile.TiffPage],
    pages: np.ndarray,
    *,
    heed: bool = True,
) -> list[Sides]:
    """What the sides of a TIFF's pixels may be: as its metadata say, then as its pages stand.

    images: the pages that hold them. pages: their values, (pages, …), which may have colours as a
    last side that a page has not. heed: raise ValueError for metadata that do not fit the pages;
    otherwise these are passed over.
    """
    page_axes = images[0].axes + "S" * (pages.ndim - 1 - len(images[0].shape))
    plain = Sides(pages, "I" + page_axes, stated=len(pages) == 1)
    try:
        said = _described(tiff, images, pages, page_axes)
    except ValueError:
        if heed:
            raise
        said = None
    if said is None:
        return [plain]
    axes, shape = said
    letters = named(axes)
    return [Sides(pages.reshape(shape), letters, stated=letters == axes), plain]


def named(axes: str) -> str:
    """Tifffile's axes with letters of their own for sides of which nothing is known.

    >>> named("TZCYX"), named("QQYX"), named("TQYX")
    ('TZCYX', 'TZYX', 'TZYX')
    """
    free = (letter for letter in "ZTVUWABDEFGHJKLMNOPR" if letter not in axes)
    return "".join(next(free) if letter in UNKNOWN else letter for letter in axes[::-1])[::-1]


def _described(
    tiff: tifffile.TiffFile,
    images: Sequence[tifffile.TiffPage],
    pages: np.ndarray,
    page_axes: str,
) -> tuple[str, tuple[int, ...]] | None:
    """Axes and shape as the file's metadata have them; None where there are none."""
    text, page = images[0].description, pages.shape[1:]
    if re.search(r"<(\w+:)?OME[\s>]", text):
        said = _ome(text, len(images))
    elif tiff.imagej_metadata:
        said = _imagej(tiff.imagej_metadata, len(images))
    elif shaped := shaped_metadata(tiff):
        return _shaped(shaped, pages.size, gray="S" not in page_axes)
    elif saved := _SCANIMAGE.search(f"{images[0].software}\n{text}"):
        said = _scanimage(saved, len(images))
    else:
        return _of_microscope(tiff, images, pages.size)
    return None if said is None else (said[0] + page_axes, said[1] + page)


def _of_microscope(
    tiff: tifffile.TiffFile, images: Sequence[tifffile.TiffPage], size: int
) -> tuple[str, tuple[int, ...]] | None:
    """What tifffile knows of the files of FluoView, LSM, MetaMorph and others."""
    series = first_series(tiff)
    if series is None or series.kind in ("generic", "uniform", "shaped") or series.size != size:
        return None
    places = [None if page is None else page.index for page in series.pages]
    if places != [page.index for page in images]:
        raise ValueError(f"its pages stand in another order than its {series.kind} metadata say")
    return series.axes, series.shape


def first_series(tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries | None:
    """What tifffile takes for the first image; None where it would stumble over a description."""
    if tiff.is_imagej:
        try:
            imagej_sizes(tiff.imagej_metadata or {})
        except ValueError:
            return None
    return None if tiff.is_shaped and not shaped_metadata(tiff) else tiff.series[0]


def _scanimage(saved: re.Match[str], images: int) -> tuple[str, tuple[int, ...]]:
    """A page for each saved channel in turn."""
    if saved[2]:
        channels = int(saved[2])
    else:
        numbers = [int(number) for number in re.findall(r"\d+", saved[1])]
        channels = numbers[-1] - numbers[0] + 1 if ":" in saved[1] else len(numbers)
    if not channels or images % channels:
        raise ValueError(_unfit("ScanImage", f"{channels} channels", images))
    return "TC", (images // channels, channels)


def imagej_sizes(said: dict[str, Any]) -> dict[str, int]:
    """How many images, frames, slices and channels ImageJ says there are; 1 of what it does not."""
    try:
        return {key: int(said.get(key, 1)) for key in ("images", "frames", "slices", "channels")}
    except ValueError as error:
        raise ValueError("its ImageJ metadata cannot be read") from error


def _imagej(said: dict[str, Any], images: int) -> tuple[str, tuple[int, ...]] | None:
    """Axes and sizes of a hyperstack's planes; None where only their number is said."""
    sizes = tuple(imagej_sizes(said)[key] for key in ("frames", "slices", "channels"))
    if math.prod(sizes) == 1:
        return None
    if math.prod(sizes) != images:
        raise ValueError(_unfit("ImageJ", f"{math.prod(sizes)} planes", images))
    return "TZC", sizes


def shaped_metadata(tiff: tifffile.TiffFile) -> list[dict[str, Any]]:
    """The JSON in which tifffile says what arrays it has written; empty where it cannot be read."""
    try:
        said = [each for each in tiff.shaped_metadata or () if each.get("shape")]
        return [each | {"shape": tuple(map(int, each["shape"]))} for each in said]
    except (ValueError, TypeError, AttributeError):
        return []


def _shaped(
    said: list[dict[str, Any]], size: int, *, gray: bool
) -> tuple[str, tuple[int, ...]] | None:
    """What tifffile's JSON says of all pixels of the file, which may have several descriptions."""
    shape, axes = _sides_of(said[0])
    if len(said) == 1 and math.prod(shape) == size:
        stated = not set(axes) & set(UNKNOWN)
        return (axes, shape) if stated or (gray and len(shape) > 3) else None
    if gray and any(not _is_stack(*_sides_of(each)) for each in said):
        raise ValueError(f"it holds {len(said)} arrays, must be one stack (tifffile's metadata)")
    return None


def _sides_of(said: dict[str, Any]) -> tuple[tuple[int, ...], str]:
    """Shape and axes of an array; unknown ones but for height and width, without sides of 1."""
    shape, axes = said["shape"], str(said.get("axes", ""))
    if len(axes) == len(shape) and {"Y", "X"} <= set(axes):
        return shape, axes
    while len(shape) > 3 and 1 in shape:  # (N, H, W, 1), as Keras has it
        place = len(shape) - 1 - shape[::-1].index(1)
        shape = shape[:place] + shape[place + 1 :]
    return shape, "I" * (len(shape) - 2) + "YX"


def _is_stack(shape: tuple[int, ...], axes: str) -> bool:
    """Whether an array is slices, or one, as they stand in their pages."""
    several = [
        axis for axis, side in zip(axes, shape, strict=True) if side > 1 and axis not in "YX"
    ]
    return axes.endswith("YX") and len(several) <= 1 and not set(several) & set(CHANNELS)


def _unfit(whose: str, what: str, images: int) -> str:
    return f"its {whose} metadata describe {what}, but it has {images} pages"


def _ome(text: str, images: int) -> tuple[str, tuple[int, ...]] | None:
    """Axes and sizes of the planes that OME-XML describes; None for one plane of a set of files."""
    try:
        images_said = _listed(tifffile.xml2dict(text)["OME"]["Image"])
        pixels = images_said[0]["Pixels"]
        axes = str(pixels["DimensionOrder"])[:1:-1]
        sizes = {letter: int(pixels[f"Size{letter}"]) for letter in axes}
        sizes["C"] //= int(_listed(pixels.get("Channel"))[0].get("SamplesPerPixel", 1))
        places = [
            (int(part.get("IFD", 0)), [int(part.get(f"First{letter}", 0)) for letter in axes])
            for part in _listed(pixels.get("TiffData"))
        ]
    except (SyntaxError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError("its OME metadata cannot be read") from error
    if len(images_said) > 1:
        raise ValueError(f"its OME metadata describe {len(images_said)} images, must be one")
    shape = tuple(sizes.values())
    if math.prod(shape) != images:
        if images == 1:
            return None
        planes = _unfit("OME", f"{math.prod(shape)} planes", images)
        raise ValueError(f"{planes}; the others are lost or in other files")
    if any(page != np.ravel_multi_index(place, shape, mode="clip") for page, place in places):
        raise ValueError("its pages stand in another order than its OME metadata say")
    return axes, shape


def _listed(found: Any) -> list[Any]:
    """The elements of one name; tifffile gives one alone as itself, and an empty one as None."""
    return [each or {} for each in (found if isinstance(found, list) else [found])]
