"""A user's own stacks: what was read, in a line, and what of it may be meant otherwise.

A file of the right type can have the wrong meaning: a mask read as instances is one cell, a slice
that nobody annotated is all background. What cannot be refused for certain is said.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from skimage.measure import label

from unet2015.data.labels import COMPRESSED, Annotation, LabelKind, looks_compressed
from unet2015.reports.words import spans
from unet2015.weight_map import cells_from_binary, separate_touching

FEW_PIXELS = 5
"""A cell of fewer is doubted: brushes, resizing and compression leave such (our choice)."""
PIECES = 0.5
"""So many more pieces than ids, as a share, are not doubted, as of cells that leave the plane and
come back (our choice)."""
CLASSES = 3
"""So few ids in a whole stack, of many pieces, are a mask or classes (our choice)."""


def images_in_words(name: str | Path, stack: np.ndarray, values: str = "gray values") -> str:
    """What was read of (N, H, W) images.

    >>> images_in_words("images.tif", np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    'images.tif: 2 slices of 3 × 4 px (height × width), uint8, gray values 0 to 23'
    """
    count, height, width = stack.shape
    slices = "1 slice" if count == 1 else f"{count} slices"
    numbers = stack[np.isfinite(stack)] if stack.dtype.kind == "f" else stack
    span = f"{numbers.min():g} to {numbers.max():g}" if numbers.size else "none"
    if stray := stack.size - numbers.size:
        span += f", {stray} pixel(s) NaN or infinite"
    size = f"{height} × {width} px (height × width)"
    return f"{name}: {slices} of {size}, {stack.dtype}, {values} {span}"


def labels_in_words(name: str | Path, given: Annotation, kind: LabelKind, slices: int) -> str:
    """What was read of labels that have so many `slices`; of binary ones the cells are 4-connected.

    >>> given = Annotation(np.array([[[0, 3], [3, 8]]], np.int32), None, np.array([0]))
    >>> labels_in_words("labels.tif", given, "instances", 1)
    'labels.tif: instances, cell on 75.0 % of the pixels, 2 cells'
    """
    if kind == "binary":
        cells = sum(int(cells_from_binary(plane).max()) for plane in given.labels)
    else:
        cells = sum(len(np.unique(plane[plane != 0])) for plane in given.labels)
    words = f"{name}: {kind}, cell on {100 * np.mean(given.labels != 0):.1f} % of the pixels, "
    words += "1 cell" if cells == 1 else f"{cells} cells"
    if given.ignore is not None:
        words += f", {100 * given.ignore.mean():.1f} % ignored"
    if left_out := sorted(set(range(slices)) - set(given.slices.tolist())):
        words += f", without the empty slice(s) {spans(left_out)}"
    return words


def label_doubts(given: Annotation, kind: LabelKind, *, separate: bool = True) -> Iterator[str]:
    """What of labels may be meant otherwise, each in a sentence that names the option.

    Slices without any cell, beside others; and of instances: ids of many pieces, ids of a few
    pixels, and, with `separate` (`WeightMapConfig.separate_touching`), cells of which nothing is
    left by it.
    """
    empty = ~given.labels.any(axis=(1, 2))
    if given.ignore is not None:
        empty &= ~given.ignore.all(axis=(1, 2))
    if empty.any() and not empty.all():
        yield (
            f"no cell in slice(s) {spans(given.slices[empty].tolist())}: learnt as background; if "
            "nobody annotated them, --skip-empty leaves them out"
        )
    if kind == "instances":
        yield from _doubts_of_instances(given, separate=separate)


def _doubts_of_instances(given: Annotation, *, separate: bool) -> Iterator[str]:
    ids, pieces, few, lost = 0, 0, [], 0
    for index, plane in zip(given.slices, given.labels, strict=True):
        found, pixels = np.unique(plane[plane != 0], return_counts=True)
        ids += len(found)
        # pieces that touch at a corner are one, as of a thin fibre
        pieces += int(np.asarray(label(plane, connectivity=2)).max())
        few += [(index, *pair) for pair in zip(found, pixels, strict=True) if pair[1] < FEW_PIXELS]
        if separate:
            lost += len(np.setdiff1d(found, separate_touching(plane)))
    distinct = np.setdiff1d(given.labels, 0)
    inverted = len(distinct) == 1 and np.mean(given.labels != 0) > 0.5
    if pieces > (1 + PIECES) * ids or inverted:
        meant = "each id is learnt as one cell"
        if looks_compressed(given.labels):
            meant = f"they look {COMPRESSED}"
        elif len(distinct) <= CLASSES:
            meant = (
                "they look like a mask or classes: --label-kind binary, for which every cell has "
                "the same number"
            )
            if given.labels.all():
                meant += ", and background 0, which no pixel is"
        yield f"{ids} id(s) of single slices lie in {pieces} separate piece(s); {meant}"
    if few:
        index, number, size = few[0]
        yield (
            f"{len(few)} of {ids} cells have fewer than {FEW_PIXELS} pixels (slice {index}: id "
            f"{number} has {size}), as strays have, and masks that were compressed or resized"
        )
    if lost:
        yield (
            f"{lost} of {ids} cells are lost in the ridges that separate touching ones, where the "
            "network is taught background; the setting separate_touching, off, keeps them"
        )
