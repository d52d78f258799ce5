"""What the sides of a file's array are: slices, height, width, channels.

A file says it by its metadata (`tiff_axes`) or not at all, a user by one letter a side. What is
left open, or could be read in two ways, is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHANNELS = "CS"
"""Letters of the sides that hold channels; S: the samples of a colour image."""
SMALLEST_DOUBTED_PX = 32
"""Of arrays with shorter sides first, none is taken for (height, width, slices) (our choice)."""


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
                f"{{}}axes {whole.axes} reads all of them as slices, in the order of the file"
                + ("; of channels that are last, {}axes ZYXC" if not whole.stated else ""),
                "save one time, or one position, per file",
            )
        )
    if layout.axes is None and not read.stated and (ways := slices_may_be_last(read.values.shape)):
        way_out = layout.way_out(
            "Say which: {}axes ZYX or {}axes YXZ",
            "Save it with metadata that say so (tifffile: metadata={'axes': 'ZYX'})",
        )
        raise ValueError(f"{name}: has shape {read.values.shape}: {ways}? {way_out}")
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
    image = readings[0].without_single("YX")
    if image.values.ndim == 2 and len(axes) == 3:  # a stack of one
        (place,) = (k for k, letter in enumerate(axes) if letter not in "YX")
        return Sides(np.expand_dims(image.values, place), axes, stated=True)
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
    if len(several) > 1:
        raise ValueError(f"{name}: has channels of colours ({sides.named()}); save one per file")
    if layout.channel is None and several:
        count = shape[several[0]]
        others = len(axes) - len(places) > 2 or layout.axes is not None or axes == "YXS"
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


def slices_may_be_last(shape: Sequence[int]) -> str | None:
    """In which two ways an array may be a stack where nothing says which; None where it is clear.

    MATLAB's users have (height, width, slices). Of these the last side is nearly always the
    shortest; of slices first the width seldom is.

    >>> slices_may_be_last((512, 512, 30))
    '512 slices of 512 × 30 px, or 30 slice(s) of 512 × 512 px with the slices last'
    >>> slices_may_be_last((30, 512, 512))
    """
    if len(shape) < 3 or min(shape[:2]) < SMALLEST_DOUBTED_PX or shape[2] >= min(shape[:2]):
        return None
    first, second, last = shape
    return (
        f"{first} slices of {second} × {last} px, or {last} slice(s) of {first} × {second} px with "
        "the slices last"
    )
