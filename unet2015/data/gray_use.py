"""Which gray values images use, and whether a network has learned from such.

A longer exposure, another dark offset or another bit depth shows the same cells in other grays,
which a network may not know. A training keeps quantiles of its images, and a prediction compares.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from unet2015.data.gray_scale import PERCENTILES, GrayScale, finite_range, gray_range

GRAY_QUANTILES = "gray_quantiles"
"""The key of a checkpoint's data for `gray_quantiles` of its training images."""
Quantiles = Mapping[str, float]
QUANTILES = (0, PERCENTILES[0], 50, PERCENTILES[1], 100)
"""In percent (our choice). The second and the fourth are what is compared, the range in use: a few
hot pixels do not move it, and cells on one pixel in a hundred count."""
LEAST_SHARED = 0.5
"""Of two ranges in use, intersection over union below which is warned (our choice): sequences of
one set, and the EM stack's volumes, share more (tests on the real sets); crops with hardly a cell
may share less, which is why the warning says 'if'."""
MOST_MOVED = 0.5
"""How far the median may stand from where it stood, as a share of the range in use (our choice: so
an image and its inverse are told apart where one of them is mostly dark)."""
FEW_BEYOND = 0.01
"""Share of pixels beyond black and white up to which it is a note, and no warning (our choice)."""
Remark = tuple[Literal["warning", "note"], str]


def gray_quantiles(stack: np.ndarray) -> dict[str, float]:
    """The `QUANTILES` of a stack's gray values, as they were taken, by their percentage.

    >>> gray_quantiles(np.array([3, 3, 3]))
    {'0': 3.0, '0.1': 3.0, '50': 3.0, '99.9': 3.0, '100': 3.0}
    """
    values = np.percentile(stack, QUANTILES)
    return {f"{percent:g}": float(v) for percent, v in zip(QUANTILES, values, strict=True)}


def without_quantiles(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its data but for them, which runs of earlier versions lack.

    Hashes tell the images; a last bit of a quantile tells nothing.
    """
    return {key: value for key, value in data.items() if key != GRAY_QUANTILES}


def about_gray(scale: GrayScale, stack: np.ndarray) -> dict[str, Any]:
    """What a checkpoint keeps of the gray values of the images that are trained on."""
    return {"gray_scale": scale.as_dict(), GRAY_QUANTILES: gray_quantiles(stack)}


def scale_for(
    stack: np.ndarray,
    value_range: tuple[float, float] | None,
    trained: GrayScale,
    seen: Quantiles | None,
) -> tuple[GrayScale, list[Remark]]:
    """The gray scale to predict (N, H, W) images with, and what is to be said of them.

    value_range: black and white of the stack, of whatever dtype; None: those of the training.
    trained, seen: scale and quantiles of the training images; None (a checkpoint from before they
    were kept): nothing is compared. The scale is to be applied with clip=True.

    Raises ValueError for NaN or infinite values, for what are no real numbers, and for another
    dtype than the training's without value_range, with a range that would do.
    """
    if stack.dtype.kind not in "iuf":
        raise ValueError(f"stack has dtype {stack.dtype}: must be integers or floats")
    finite_range(stack)
    found = gray_quantiles(stack)
    if seen is not None and len(set(_used(seen))) == 1:
        seen = None  # nothing can be mapped onto one gray value
    if value_range is not None:
        scale = GrayScale(*gray_range(stack.dtype, value_range), stack.dtype.name)
    elif stack.dtype.name == trained.dtype:
        scale = trained
    else:
        advice = _range_to_give(stack.dtype, found, trained, seen)
        raise ValueError(f"{trained.not_for(stack)}; {advice}")
    return scale, [*_beyond(stack, scale), *_unlike(found, scale, trained, seen)]


def _beyond(stack: np.ndarray, scale: GrayScale) -> list[Remark]:
    """How many pixels are clipped; of a scale that clips its own images, only if they are many."""
    beyond = sum(np.count_nonzero((p < scale.low) | (p > scale.high)) for p in stack)
    where = f"beyond the gray values {scale.low:g} to {scale.high:g}: taken as black or white"
    if beyond > FEW_BEYOND * stack.size:
        return [("warning", f"{100 * beyond / stack.size:.1f} % of the pixels are {where}")]
    if beyond and not scale.clip:
        return [("note", f"{beyond} of {stack.size} pixels {where}")]
    return []


def _unlike(
    found: Quantiles, scale: GrayScale, trained: GrayScale, seen: Quantiles | None
) -> list[Remark]:
    """A warning of images in other grays than those of the training."""
    if seen is None:
        return []
    if _shared(found, scale, seen, trained) >= LEAST_SHARED:
        return _moved(found, seen)
    learned = f"but the network was trained on {_in_use(seen, trained)}"
    fitting = _fitting(found, trained, seen)
    if fitting is None:
        return [("warning", f"{_one_value(found)}, {learned}")]
    return [
        (
            "warning",
            f"gray values {_in_use(found, scale)}, {learned}; if both show the same kind of thing, "
            f"{fitting} gives these images the grays of the training; if not, expect little of the "
            "prediction",
        )
    ]


def _moved(found: Quantiles, seen: Quantiles) -> list[Remark]:
    """A warning of images whose middle gray value stands elsewhere in the range in use."""
    middles = []
    for quantiles in (found, seen):
        low, high = _used(quantiles)
        middles.append((quantiles["50"] - low) / (high - low) if low < high else 0.5)
    if abs(middles[0] - middles[1]) < MOST_MOVED:
        return []
    here, there = (f"{100 * middle:.0f} %" for middle in middles)
    return [
        (
            "warning",
            f"half of the pixels lie below {here} of the gray values in use, in the training "
            f"images below {there}: inverted images, another gamma, or many more or fewer cells",
        )
    ]


def _range_to_give(
    dtype: np.dtype, found: Quantiles, trained: GrayScale, seen: Quantiles | None
) -> str:
    """Which --value-range a stack of another dtype than the training's needs, as far as is known.

    The dtype's own range or the training's numbers, which do not depend on the image, if the stack
    then looks like the training images: so an 8-bit copy of a 16-bit image is taken as such.
    Otherwise, and where the training's range was that of its images ('percentiles'), what fits.
    """
    give = "give its own black and white with --value-range"
    for low, high in () if trained.clip else _usual(dtype, trained, seen):
        own = GrayScale(low, high, dtype.name)
        if not (low <= found["0"] and found["100"] <= high):
            continue
        if seen is None:
            return f"{give} {low:g} {high:g}, if that is its range"
        if _shared(found, own, seen, trained) >= LEAST_SHARED:
            return f"{give} {low:g} {high:g}, in which it looks like the training images"
    if seen is None:
        return f"{give} LOW HIGH"
    fitting = _fitting(found, trained, seen)
    if fitting is None:
        return f"{give} LOW HIGH, but {_one_value(found)}"
    low, high = _used(found)
    return (
        f"if it shows the same kind of thing as the training images, {fitting} gives its gray "
        f"values {low:g} to {high:g} (0.1 to 99.9 %) the grays of {_in_use(seen, trained)}"
    )


def _usual(
    dtype: np.dtype, trained: GrayScale, seen: Quantiles | None
) -> list[tuple[float, float]]:
    """The ranges that a stack may have by what it is: of its dtype, or by a plain conversion."""
    same = [] if seen is None else [(trained.low, trained.high)]
    # 1, 255, 4095: all that a type or a camera holds, and not what someone chose for some images
    if trained.low != 0 or not math.log2(trained.high + 1).is_integer():
        return same
    try:
        return [gray_range(dtype), *same]
    except ValueError:  # a dtype without a range of its own
        return same


def _fitting(found: Quantiles, trained: GrayScale, seen: Quantiles) -> str | None:
    """The --value-range that maps the range in use onto the training's; None if either is empty."""
    (low, high), (least, most) = _used(found), _used(seen)
    if not (low < high and least < most):
        return None
    # of the file's gray values to one of the training's
    step = (high - low) / (most - least)
    black = low - (least - trained.low) * step
    white = black + (trained.high - trained.low) * step
    digits = max(0, 3 - math.floor(math.log10(white - black)))  # to a thousandth of the width
    shown = (f"{round(value, digits) + 0.0:.15g}" for value in (black, white))
    return f"--value-range {' '.join(shown)}"


def _shared(found: Quantiles, scale: GrayScale, seen: Quantiles, trained: GrayScale) -> float:
    """Intersection over union of the ranges in use, from 0 = black to 1 = white."""
    low, high = ((v - scale.low) / (scale.high - scale.low) for v in _used(found))
    least, most = ((v - trained.low) / (trained.high - trained.low) for v in _used(seen))
    union = max(high, most) - min(low, least)
    return max(0.0, min(high, most) - max(low, least)) / union if union else 1.0


def _used(quantiles: Quantiles) -> tuple[float, float]:
    low, high = (quantiles[f"{percent:g}"] for percent in PERCENTILES)
    return low, high


def _in_use(quantiles: Quantiles, scale: GrayScale) -> str:
    low, high = _used(quantiles)
    return f"{low:g} to {high:g} (0.1 to 99.9 %) on a scale from {scale.low:g} to {scale.high:g}"


def _one_value(found: Quantiles) -> str:
    """What to say of a range that cannot be mapped onto another."""
    return (
        f"nearly all of its pixels have the gray value {found['50']:g} (an empty image, or floats "
        "from 0 to 1 that were turned into integers)"
    )
