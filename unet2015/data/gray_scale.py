"""The one rule that turns the gray values of an image into the network's input."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np

VALUE_RANGE = "give the values of black and white with --value-range LOW HIGH"
GrayValues = Literal["type", "percentiles"]
PERCENTILES = (0.1, 99.9)
"""Of the training images: black and white under 'percentiles' (our choice)."""


def gray_range(
    dtype: np.dtype | str, given: tuple[float, float] | None = None
) -> tuple[float, float]:
    """The gray values that count as black (0) and white (1) for stacks of `dtype`.

    `given` if there is one; otherwise, not in the paper, our choice, because it does not depend on
    the image: the full range of uint8 (0, 255) and uint16 (0, 65535), and (0, 1) for floats.
    Raises ValueError for dtypes that need `given`, and unless low < high, both finite.
    """
    kind = np.dtype(dtype)
    if given is not None:
        low, high = float(given[0]), float(given[1])
        if not (math.isfinite(high - low) and low < high):
            raise ValueError(
                f"--value-range {low:g} {high:g}: must be two finite numbers, LOW below HIGH"
            )
        return low, high
    if kind.name in ("uint8", "uint16"):
        return 0.0, float(np.iinfo(kind).max)
    if kind.kind == "f":
        return 0.0, 1.0
    raise ValueError(f"stack of dtype {kind}: has no gray range of its own; {VALUE_RANGE}")


def finite_range(stack: np.ndarray) -> tuple[float, float]:
    """The least and the largest gray value; ValueError where there are NaN or infinite ones."""
    least, most = float(np.min(stack)), float(np.max(stack))
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ValueError(
            "stack has NaN or infinite values; replace them, by the values next to them, say, "
            f"and {VALUE_RANGE} if it is not 0 1"
        )
    return least, most


def scale_gray(
    stack: np.ndarray, value_range: tuple[float, float], *, clip: bool = False
) -> np.ndarray:
    """(value - low) / (high - low) for each gray value, float32 in [0, 1], of any shape.

    clip: values outside `value_range` become 0 and 1. Otherwise ValueError for them: nothing is
    clipped unseen. ValueError for NaN or infinite values in any case.
    """
    low, high = gray_range(stack.dtype, value_range)
    if stack.size:
        _check_values(stack, low, high, clip=clip)
    # integers up to 16 bits are exact in float32; the difference of longer numbers is not
    scaled = np.subtract(stack, low, dtype=np.result_type(stack.dtype, np.float32))
    scaled /= high - low
    if clip:  # after the division: where nothing is clipped, each value is what it would be without
        np.clip(scaled, 0, 1, out=scaled)
    return scaled.astype(np.float32, copy=False)


def _check_values(stack: np.ndarray, low: float, high: float, *, clip: bool) -> None:
    least, most = finite_range(stack)
    if not clip and (least < low or most > high):
        raise ValueError(
            f"stack has values from {least:g} to {most:g}, outside {low:g} to {high:g}; clip "
            f"them or {VALUE_RANGE}"
        )


@dataclass(frozen=True)
class GrayScale:
    """How the gray values of one kind of stack become the network's input; kept in checkpoints."""

    low: float
    """The gray value that becomes 0."""
    high: float
    """The gray value that becomes 1."""
    dtype: str
    """The NumPy name of the stack's dtype: the same numbers mean another gray in another dtype."""
    clip: bool = False
    """Values beyond low and high become 0 and 1 in the training too; otherwise it refuses them."""

    def __post_init__(self) -> None:
        gray_range(self.dtype, (self.low, self.high))

    @classmethod
    def of(
        cls,
        stack: np.ndarray,
        value_range: tuple[float, float] | None = None,
        gray_values: GrayValues = "type",
    ) -> Self:
        """The scale of `stack`: `value_range` if given, otherwise as `gray_values` says.

        'type': `gray_range`. 'percentiles': from the `PERCENTILES` of the stack, clipped beyond.
        Raises ValueError, as `scale_gray`, for a stack to which the scale cannot be applied, and
        for percentiles of a stack of one value.
        """
        if gray_values == "percentiles" and value_range is None:
            finite_range(stack)
            low, high = (float(value) for value in np.percentile(stack, PERCENTILES))
            if not low < high:
                raise ValueError(
                    f"training.gray_values = 'percentiles': those of the images are {low:g} and "
                    f"{high:g}, which leaves no contrast; use --training.gray-values type"
                )
            return cls(low, high, stack.dtype.name, clip=True)
        scale = cls(*gray_range(stack.dtype, value_range), dtype=stack.dtype.name)
        if stack.size:
            _check_values(stack, scale.low, scale.high, clip=False)
        return scale

    def apply(self, stack: np.ndarray, *, clip: bool = False) -> np.ndarray:
        """The stack's gray values as float32 in [0, 1]; `clip` as in `scale_gray`.

        Raises ValueError as `scale_gray`, and for a stack of another dtype than the scale was made
        for.
        """
        if stack.dtype.name != self.dtype:
            raise ValueError(f"{self.not_for(stack)}; give images as they were taken in that type")
        if self.clip:
            finite_range(stack)
            stack = np.clip(stack.astype(np.float64), self.low, self.high)
        return scale_gray(stack, (self.low, self.high), clip=clip)

    def not_for(self, stack: np.ndarray) -> str:
        """What to say of a stack of another dtype."""
        return (
            f"stack has dtype {stack.dtype.name}, but the gray scale ({self.low:g} to "
            f"{self.high:g}) was made for {self.dtype}"
        )

    def little_used(self, stack: np.ndarray) -> str | None:
        """What to warn of where the stack uses less than an eighth of the scale; None elsewhere.

        So do 12-bit values in 16 bits, which a network would see as nearly black. A few hot pixels
        are no use of the scale: what counts is between the `PERCENTILES`.

        >>> GrayScale(0, 65535, "uint16").little_used(np.array([90, 4000], np.uint16))
        'gray values 90 to 4000 only, on a scale from 0 to 65535; --value-range 0 4095 would fit'
        """
        least, most = (float(v) for v in np.percentile(stack, PERCENTILES, method="nearest"))
        if most - least >= (self.high - self.low) / 8:
            return None
        used = (
            f"gray values {least:g} to {most:g} only, on a scale from {self.low:g} to {self.high:g}"
        )
        least, most = float(stack.min()), float(stack.max())
        if most - least >= (self.high - self.low) / 8:
            return (
                f"{used}, but for a few pixels; if these are hot ones, --training.gray-values "
                "percentiles, without --value-range, passes over them"
            )
        if least == most:
            return f"{used}; there is nothing to be seen in them"
        low, high = _rounded_outward(least, most, stack.dtype)
        return f"{used}; --value-range {low:g} {high:g} would fit"

    def as_dict(self) -> dict[str, Any]:
        """Low, high and dtype, and clip where it is on, ready for JSON."""
        values = asdict(self)
        return values if self.clip else {k: v for k, v in values.items() if k != "clip"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The scale from `as_dict`'s output; ValueError for missing or unknown entries."""
        if set(values) - {"clip"} != {"low", "high", "dtype"}:
            raise ValueError(
                f"gray scale has the entries {sorted(values)}; must be dtype, high and low, and "
                "may be clip"
            )
        clip = bool(values.get("clip", False))
        return cls(float(values["low"]), float(values["high"]), str(values["dtype"]), clip)


def _rounded_outward(least: float, most: float, dtype: np.dtype) -> tuple[float, float]:
    """Round numbers about a range of gray values, of which it uses more than an eighth.

    For integers those of a camera of so many bits, 0 and 2ⁿ - 1, if that is not too wide: 90 and
    4000 become 0 and 4095, but 1003 and 1098 become 1000 and 1100.
    """
    if dtype.kind in "iu" and least >= 0:
        high = float(2 ** int(most).bit_length() - 1)
        if most - least >= high / 8:
            return 0.0, high
    digits = -math.floor(math.log10(most - least))  # the unit of the first digit of the width
    unit = 10.0**-digits
    return round(math.floor(least / unit) * unit, digits), round(
        math.ceil(most / unit) * unit, digits
    )
