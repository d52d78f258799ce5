"""What the values of a label stack mean: cell and membrane, or one number for each cell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from unet2015.data.tiff import read_stack

LabelKind = Literal["binary", "instances"]

COMPRESSED = "like a compressed or resized mask: set it to 0 and 255 by a threshold"
"""What to do about labels of `looks_compressed`."""


class WrongValues(ValueError):
    """Labels with values that are none of their kind."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """What is known of the cells in a stack, slice by slice."""

    labels: np.ndarray
    """(n, H, W): uint8, 0 = background (EM: membrane) and 1 = cell, or int32, one number a cell."""
    ignore: np.ndarray | None
    """(n, H, W) bool, True where nobody annotated what is there; None: everything is annotated."""
    slices: np.ndarray
    """Which n of the stack's slices these are, from 0; the others are left out."""

    def images(self, stack: np.ndarray) -> np.ndarray:
        """Those slices of the (N, H, W) images."""
        return stack[self.slices] if len(self.slices) < len(stack) else stack


@dataclass(frozen=True)
class LabelReading:
    """How the values of a label stack are read."""

    label_kind: LabelKind = "binary"
    """binary: 0 = membrane or background, one other value = cell. instances: 0 = background,
    one number per cell; touching cells are separated by a thin ridge of background."""
    ignore_label: int | None = None
    """The value of pixels that nobody annotated: they have no weight (paper §4: partially
    annotated images)."""
    skip_empty: bool = False
    """Leave out slices without any cell, as of a stack that is annotated in part; default: they
    are learnt as background."""

    def __post_init__(self) -> None:
        if self.label_kind not in get_args(LabelKind):
            raise ValueError(f"label_kind = {self.label_kind!r}: must be 'binary' or 'instances'")

    def of(
        self, stack: np.ndarray, name: str | Path, shape: tuple[int, ...] | None = None
    ) -> Annotation:
        """The annotation in an (N, H, W) stack of labels, as large as `shape` where that is given.

        Raises ValueError, beginning with `name`, as `binary_labels` and `instance_labels`, for an
        ignore_label that no pixel has, and where every slice is left out.

        >>> found = LabelReading("instances", ignore_label=-1).of(np.array([[[-1, 7]]]), "labels")
        >>> found.labels.tolist(), found.ignore.tolist()
        ([[[0, 7]]], [[[True, False]]])
        """
        _check_shape(name, stack, shape)
        stack, ignore = self._without_ignored(stack, name)
        slices = np.arange(len(stack))
        if self.skip_empty:
            slices = np.flatnonzero(stack.any(axis=(1, 2)))
            if not len(slices):
                raise ValueError(f"{name}: has no slice with a cell, so that none is left")
        read = binary_labels if self.label_kind == "binary" else instance_labels
        try:
            told = name if ignore is None else f"{name} without {self.ignore_label}"
            labels = read(stack, told)
        except WrongValues as error:
            raise WrongValues(f"{error}{_otherwise(self.label_kind, stack)}") from error
        if len(slices) < len(stack):
            labels, ignore = labels[slices], None if ignore is None else ignore[slices]
        return Annotation(labels, ignore, slices)

    def _without_ignored(
        self, stack: np.ndarray, name: str | Path
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The stack with 0 for what is to be ignored, and where that is."""
        if self.ignore_label is None:
            return stack, None
        ignore = stack == self.ignore_label
        if self.ignore_label == 0 or not ignore.any():
            reason = "0 is background" if self.ignore_label == 0 else "no pixel has it"
            raise ValueError(
                f"{name}: --ignore-label {self.ignore_label}: {reason}; the values are "
                f"{_in_words(np.unique(stack))}"
            )
        return np.where(ignore, np.zeros_like(stack), stack), ignore


def _otherwise(kind: LabelKind, stack: np.ndarray) -> str:
    """What else labels may be that are none of the kind: the end of a message."""
    if looks_compressed(stack):
        return f"; they look {COMPRESSED}"
    if stack.dtype.kind == "f" and not _are_whole(stack).all():
        return "; fractions and NaN are no labels: make whole numbers of them, by a threshold, say"
    if kind == "binary" and len(np.unique(stack)) == 2:
        return "; of these two, set the one of the background (membrane) to 0"
    unknown = "stands for what nobody annotated, --ignore-label with it"
    if kind == "instances":
        return f"; if it {unknown}"
    return f"; if each number is one cell, --label-kind instances; if one of them {unknown}"


def _are_whole(stack: np.ndarray) -> np.ndarray:
    """Which floats are whole numbers; beyond 2⁵³ they have no last digit."""
    return (np.abs(stack) <= 2.0**53) & (stack == np.rint(stack))


def looks_compressed(labels: np.ndarray) -> bool:
    """Whether labels look like a mask that was compressed or resized: most of it near one value.

    That is within a twentieth of the highest, 20 at least (our choice). Some of it is lower, or
    next to 0; ids of a narrow band, 961 to 972, have none such.

    >>> looks_compressed(np.array([0, 1, 2, 90, 252, 253, 255, 255]))
    True
    >>> [looks_compressed(np.array(ids)) for ids in (range(60), [0, 255], [0, 961, 962, 972])]
    [False, False, False]
    """
    highest = labels.max()
    if not 20 <= highest < np.inf:  # of fewer numbers each may be a cell
        return False
    cells = labels[labels > 0.05 * highest]
    near = cells >= 0.95 * highest
    lower = (labels > 0) & (labels < 0.95 * highest)
    return bool(np.mean(near) > 0.5 and (cells[near] < highest).any() and lower.any())


def binary_labels(
    stack: np.ndarray, name: str | Path, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """The segmentation of an EM stack, (N, H, W) uint8: 0 = membrane, 1 = cell (paper §4).

    stack: two values, 0 and one other above it: {0, 1} or {0, 255}, say. name: what messages begin
    with. shape: that of the image stack, which the labels must have. Raises ValueError naming the
    slice and the values for labels that are not binary or of one class only, and for another shape.

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
            raise WrongValues(
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

    Floats are taken if they are whole numbers (ImageJ's 32-bit labels), of indexed colours the
    indices. shape: that of the image stack. Raises ValueError naming the file, the slice and the
    value for ids that are negative, fractional or, above 2³¹ - 1, the largest of their type, and
    for another shape; otherwise as `read_stack`.

    Ids above 2³¹ - 1 are renumbered, all of them, from 1 in their order.
    """
    return instance_labels(read_stack(path, palette="indices", option=None), path, shape)


def instance_labels(
    stack: np.ndarray, name: str | Path, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """`read_instance_labels` of an (N, H, W) array; `name` is what its messages begin with.

    >>> instance_labels(np.array([[[0.0, 3.0]]]), "labels").tolist()
    [[[0, 3]]]
    """
    _check_shape(name, stack, shape)
    if stack.dtype == np.float16:  # which holds no such limits
        stack = stack.astype(np.float32)
    most = np.iinfo(np.int32).max
    # the last number of a large type is -1 or 'unknown' in other words, no id
    largest = np.iinfo(stack.dtype).max - 1 if stack.dtype.kind in "iu" else most
    largest = max(most, largest)
    for index, labels in enumerate(stack):
        wrong = ~((labels >= 0) & (labels <= largest))
        if labels.dtype.kind == "f":
            wrong |= labels != np.rint(labels)
        if wrong.any():
            raise WrongValues(
                f"{name}: slice {index} has the id {labels[wrong][0]}; instance labels are whole "
                f"numbers from 0 (background) to {largest}"
            )
    if stack.max(initial=0) > most:
        ids, places = np.unique(stack, return_inverse=True)
        stack = places.reshape(stack.shape) + (ids[0] != 0)
    return stack.astype(np.int32)


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
    shown = ", ".join(f"{v:g}" if values.dtype.kind == "f" else str(v) for v in values[:5])
    return shown if len(values) <= 5 else f"{shown}, … ({len(values)} values)"
