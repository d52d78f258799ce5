"""Whole images of one size as training samples, as most later re-implementations use them.

The paper cuts tiles out of large images (`samples`); the re-implementations resize every image and
go through the set epoch by epoch.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from skimage.transform import rotate

from unet2015.augmentation.tile import TrainingTile
from unet2015.data.pairs import PairSet, read_pair, resize_pair

Augment = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""augment(image, labels, rng), shapes as in `Example`, to both anew."""
_ORDER, _AUGMENTATION, _SPLIT = 11, 12, 13  # one random stream each


@dataclass(frozen=True, eq=False)
class Example:
    """One image with its labels."""

    name: str
    group: str | None
    """What an honest split must not cut through: the patient, the car; None: nothing."""
    image: np.ndarray
    """(C, H, W) float32 in [0, 1]."""
    labels: np.ndarray
    """(h, w) uint8, 1 = cell; h = H and w = W unless the network is unpadded."""


class ExampleSequence:
    """Examples as training samples by number: each once an epoch, in an order drawn anew.

    Sample k is a function of (seed, k) alone, so that a run continues with the samples it would
    have had. All weights are 1. Raises ValueError for no examples.
    """

    def __init__(
        self, examples: Sequence[Example], *, seed: int, augment: Augment | None = None
    ) -> None:
        if not examples:
            raise ValueError("examples: there is none to train on")
        self.examples, self.seed, self.augment = list(examples), seed, augment

    def __getitem__(self, k: int) -> TrainingTile:
        epoch, place = divmod(k, len(self.examples))
        order = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(len(self.examples))
        example = self.examples[order[place]]
        image, labels = example.image, example.labels
        if self.augment is not None:
            rng = np.random.default_rng([self.seed, _AUGMENTATION, k])
            image, labels = self.augment(image, labels, rng)
        return TrainingTile(image, labels, np.ones(labels.shape, np.float32))


def examples_of(
    pairs: PairSet, height: int, width: int, read: Callable = read_pair, *, divide_by: float = 255.0
) -> list[Example]:
    """Every pair of a set, resized to height × width px by `resize_pair`; gray values / divide_by.

    read: gives image (H, W, 3) uint8 and foreground of a `Pair`. Raises what it raises.
    """
    found = []
    for pair in pairs.pairs:
        image, mask = read(pair)
        image, mask = resize_pair(image, mask, height, width)
        planes = np.moveaxis(image, 2, 0).astype(np.float32) / np.float32(divide_by)
        found.append(Example(pair.name, pair.group, planes, mask.astype(np.uint8)))
    return found


def rotate_and_flip(
    image: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    *,
    degrees: float,
    horizontal: float,
    vertical: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels turned by U(-degrees, degrees) and mirrored with the given probabilities.

    Counter-clockwise about the centre; mirrored at the border, the image bilinear, the labels
    nearest (our choice: what the common augmentation library does by itself). Shapes as in
    `Example`, both of one size.
    """
    angle = rng.uniform(-degrees, degrees)
    turn = partial(rotate, angle=angle, mode="reflect", preserve_range=True)
    planes = turn(np.moveaxis(image, 0, 2), order=1)
    turned = np.moveaxis(planes, 2, 0).astype(np.float32), turn(labels, order=0).astype(np.uint8)
    chances = ((horizontal, -1), (vertical, -2))
    axes = tuple(axis for chance, axis in chances if rng.random() < chance)
    first, second = (np.ascontiguousarray(np.flip(plane, axes)) for plane in turned)
    return first, second


def split_off(
    groups: Sequence[Hashable], share: float, *, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices to train on and to score: about `share` of the groups are scored, drawn by `seed`.

    groups: of each example; equal ones stay together. With one group for each example it is the
    usual random split. At least one group is on either side. Raises ValueError for fewer than two
    groups and unless 0 < share < 1.

    >>> split_off(["a", "a", "b", "c"], 0.25, seed=0)
    ((0, 1, 2), (3,))
    """
    names = sorted(set(groups), key=str)
    if not 0 < share < 1:
        raise ValueError(f"share = {share}: must be between 0 and 1, without either")
    if len(names) < 2:
        shown = ", ".join(map(str, names)) or "none"
        raise ValueError(
            f"groups ({shown}): a split takes two different ones or more; add examples of another "
            "patient, car …"
        )
    count = min(max(1, round(share * len(names))), len(names) - 1)
    drawn = np.random.default_rng([seed, _SPLIT]).permutation(len(names))[:count]
    scored = {names[k] for k in drawn}
    train = tuple(k for k, group in enumerate(groups) if group not in scored)
    return train, tuple(k for k, group in enumerate(groups) if group in scored)
