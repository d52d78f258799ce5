"""What the sides of a file's array are: slices, height, width, channels.

A file says it by its metadata (ImageJ, OME, tifffile) or not at all, a user by one letter a side.
What is left open, or could be read in two ways, is refused.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile

CHANNELS = "CS"
"""Letters of the sides that hold channels; S: the samples of a colour image."""
SMALLEST_DOUBTED_PX = 32
"""Below it, no array is so clearly a stack saved as (height, width, slices) that it is refused."""


@dataclass(frozen=True)
class Layout:
    """What a user says of a file's sides where the file says nothing, or something else."""

    axes: str | None = None
    """One letter a side, from the slowest to the fastest, Y and X among them; C: channels."""
    channel: int | None = None
    """The channel to read, from 0."""
    option: str | None = None
    """What stands before 'axes' and 'channel' where a message names them as options; None: there
    are no such options, and it says how to save the file."""

    def way_out(self, options: str, otherwise: str) -> str:
        """The end of a message: options with `{}` before each, or what to do without any."""
        return otherwise if self.option is None else options.format(*[self.option] * 2)


@dataclass(frozen=True, eq=False)
class Sides:
    """An array, and what its sides are."""

    values: np.ndarray
    axes: str
    """One letter a side, each once; Y and X: height and width, C and S: channels."""
    stated: bool
    """Whether the file itself says so; otherwise the letters beside Y and X mean nothing."""

    def named(self) -> str:
        """The shape, and the axes where they are known, for a message."""
        return f"shape {self.values.shape}" + (f", axes {self.axes}" if self.stated else "")

    def without_single(self, keep: str = "YX" + CHANNELS) -> "Sides":
        """The same without sides of length 1 whose letter is none of `keep`."""
        shape = self.values.shape
        kept = [k for k, a in enumerate(self.axes) if shape[k] > 1 or a in keep]
        axes = "".join(self.axes[k] for k in kept)
        return Sides(self.values.reshape([shape[k] for k in kept]), axes, self.stated)


def slices_of(name: object, readings: Sequence[Sides], layout: Layout) -> np.ndarray:
    """The gray images of an array, (N, H, W), as its file or `layout` says.

    readings: what the sides of the array may be, the likeliest first; the first counts unless
    `layout` names the axes, which then are those of the first that has as many. One side beside
    height and width is that of the slices. Several are refused unless `layout` names them (then all
    of them are slices, the last one fastest), and so are channels of which none is chosen. name:
    what messages begin with. Raises ValueError naming the option.

    >>> sides = Sides(np.zeros((5, 2, 30, 40)), "ZCYX", stated=True)
    >>> slices_of("stack", [sides], Layout(channel=1)).shape
    (5, 30, 40)
    """
    whole = readings[0] if layout.axes is None else _given(name, readings, layout)
    whole = whole.without_single()
    read = _one_channel(name, whole, layout)
    others = read.axes.replace("Y", "").replace("X", "")
    if layout.axes is None and len(others) > 1:
        raise ValueError(
            f"{name}: has {read.named()}; must be one gray image (height, width) or a stack of "
            "them (slices, height, width): "
            + layout.way_out(
                f"{{}}axes {whole.axes} reads all of them as slices, in the order of the file",
                "save one time, or one position, per file",
            )
        )
    if layout.axes is None and not read.stated:
        _refuse_doubtful(name, read.values.shape, layout)
    ordered = read.values.transpose([read.axes.index(letter) for letter in others + "YX"])
    return ordered.reshape(-1, *ordered.shape[-2:])


def _given(name: object, readings: Sequence[Sides], layout: Layout) -> Sides:
    """The first reading with as many sides as `layout` has letters, with these letters."""
    axes = (layout.axes or "").upper()
    said = f"{name}: {layout.option or ''}axes {layout.axes}"
    if not axes.isalpha() or len(set(axes)) < len(axes) or not {"Y", "X"} <= set(axes):
        raise ValueError(
            f"{said}: must be one letter a side, each once, with Y (height) and X (width), such as "
            "ZYX, CYX or YXZ"
        )
    for reading in readings:
        for sides in (reading, reading.without_single(), reading.without_single("YX")):
            if sides.values.ndim == len(axes):
                return Sides(sides.values, axes, stated=True)
    first = readings[0].without_single()
    raise ValueError(
        f"{said}: must be one letter for each of the {first.values.ndim} sides ({first.named()})"
    )


def _one_channel(name: object, sides: Sides, layout: Layout) -> Sides:
    """The array without its sides of channels."""
    shape, axes, option = sides.values.shape, sides.axes, f"{layout.option or ''}channel"
    places = [k for k, letter in enumerate(axes) if letter in CHANNELS]
    several = [k for k in places if shape[k] > 1]
    if layout.channel is None and several:
        count = shape[several[0]]
        others = len(axes) - len(places) > 2 or layout.axes is not None
        slices = "" if others else f", or {{}}axes {axes.replace(axes[several[0]], 'Z')} for slices"
        raise ValueError(
            f"{name}: has {count} channels ({sides.named()}) and only gray images are read; "
            + layout.way_out(
                f"say which one, {{}}channel 0 … {count - 1}{slices}", "save one of them per file"
            )
        )
    if layout.channel is not None and not places:
        raise ValueError(
            f"{name}: {option} {layout.channel}: there are no channels ({sides.named()}); leave "
            f"it out, or say which side they are, {layout.option or ''}axes CYX, say"
        )
    if layout.channel is not None and len(several) > 1:
        raise ValueError(f"{name}: has channels of colours ({sides.named()}); save one per file")
    for place in reversed(places):
        count = sides.values.shape[place]
        channel = layout.channel if place in several or not several else 0
        if not 0 <= (channel or 0) < count:
            raise ValueError(
                f"{name}: {option} {channel}: there are {count} channels; must be 0 … {count - 1}"
            )
        values = sides.values.take(channel or 0, place)
        sides = Sides(values, sides.axes[:place] + sides.axes[place + 1 :], sides.stated)
    return sides


def _refuse_doubtful(name: object, shape: Sequence[int], layout: Layout) -> None:
    """Refuse (height, width, slices), as MATLAB has it, which no metadata tell from slices first.

    Of slices the last side would be a width far below their number and height, or height and number
    of slices would be equal, but not the width.
    """
    if len(shape) < 3 or min(shape[:2]) < SMALLEST_DOUBTED_PX:
        return
    slices, height, width = shape
    if 4 * width <= min(slices, height) or (slices == height and width < height):
        raise ValueError(
            f"{name}: has shape {tuple(shape)}: {slices} slices of {height} × {width} px, or "
            f"{width} slices of {slices} × {height} px with the slices last? "
            + layout.way_out(
                "Say which: {}axes ZYX or {}axes YXZ",
                "Save it with metadata that say so (tifffile: metadata={'axes': 'ZYX'})",
            )
        )


def readings(
    tiff: tifffile.TiffFile, page: tifffile.TiffPage, pages: np.ndarray, *, heed: bool = True
) -> list[Sides]:
    """What the sides of a TIFF's pixels may be: as its metadata say, then as its pages stand.

    page: the first with an image. pages: the values of all such, (pages, …), which may have colours
    as a last side that the page has not. heed: raise ValueError for OME metadata that do not fit
    the pages; otherwise these are passed over.
    """
    page_axes = page.axes + "S" * (pages.ndim - 1 - len(page.shape))
    plain = Sides(pages, "I" + page_axes, stated=len(pages) == 1)
    try:
        said = _described(tiff, page.description, pages, page_axes)
    except ValueError:
        if heed:
            raise
        said = None
    if said is None:
        return [plain]
    axes, shape = said
    unknown = len(axes) != len(set(axes) - {"I", "Q"})
    names = iter("UVWTZ"[-len(axes) + 2 :])
    letters = "".join(next(names) if letter in "IQ" else letter for letter in axes)
    return [Sides(pages.reshape(shape), letters, not unknown), plain]


def _described(
    tiff: tifffile.TiffFile, text: str, pages: np.ndarray, page_axes: str
) -> tuple[str, tuple[int, ...]] | None:
    """Axes and shape as ImageJ's, OME's or tifffile's own metadata have them; None for none."""
    images, page = len(pages), pages.shape[1:]
    if "<OME" in text[:2000]:
        said = _ome(text, images)
    elif tiff.imagej_metadata:
        said = _imagej(tiff.imagej_metadata, images)
    elif text.startswith('{"shape":'):
        return _shaped(json.loads(text), pages.size, gray="S" not in page_axes)
    else:
        return None
    return None if said is None else (said[0] + page_axes, said[1] + page)


def _imagej(said: dict[str, Any], images: int) -> tuple[str, tuple[int, ...]] | None:
    """Axes and sizes of a hyperstack's planes; None where they are not those of the file."""
    sizes = tuple(int(said.get(key, 1)) for key in ("frames", "slices", "channels"))
    return ("TZC", sizes) if math.prod(sizes) == images else None


def _shaped(said: dict[str, Any], size: int, *, gray: bool) -> tuple[str, tuple[int, ...]] | None:
    """What tifffile's JSON says of all pixels of the file."""
    shape, axes = tuple(map(int, said["shape"])), str(said.get("axes", ""))
    if math.prod(shape) != size:
        return None
    if len(axes) != len(shape):
        return ("I" * (len(shape) - 2) + "YX", shape) if len(shape) > 3 and gray else None
    return axes, shape


def _ome(text: str, images: int) -> tuple[str, tuple[int, ...]] | None:
    """Axes and sizes of the planes that OME-XML describes; None for one plane of a set of files."""
    try:
        images_said = _listed(tifffile.xml2dict(text)["OME"]["Image"])
        pixels = images_said[0]["Pixels"]
        axes = str(pixels["DimensionOrder"])[:1:-1]
        sizes = {letter: int(pixels[f"Size{letter}"]) for letter in axes}
        sizes["C"] //= int(_listed(pixels.get("Channel", {}))[0].get("SamplesPerPixel", 1))
        places = [
            (int(part.get("IFD", 0)), [int(part.get(f"First{letter}", 0)) for letter in axes])
            for part in _listed(pixels.get("TiffData", []))
        ]
    except (SyntaxError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError("its OME metadata cannot be read") from error
    if len(images_said) > 1:
        raise ValueError(f"its OME metadata describe {len(images_said)} images, must be one")
    shape = tuple(sizes.values())
    if math.prod(shape) != images:
        if images == 1:
            return None
        raise ValueError(
            f"its OME metadata describe {math.prod(shape)} planes, but it has {images} pages; the "
            "others are lost or in other files"
        )
    if any(page != np.ravel_multi_index(place, shape, mode="clip") for page, place in places):
        raise ValueError("its pages stand in another order than its OME metadata say")
    return axes, shape


def _listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]
