"""A user's files as the commands read them: options, reading, and what is said of it."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet2015.data.labels import Annotation, LabelKind, LabelReading
from unet2015.data.tiff import read_stack
from unet2015.studies.own_data import images_in_words, label_doubts, labels_in_words


@dataclass(frozen=True)
class ImageFile:
    """How an image file is read where it does not say it itself."""

    axes: str | None = None
    """Sides of the image file where it does not say them, or says them wrongly: one letter each,
    Y and X for height and width, C for channels, any other for slices: ZYX, CYX, YXZ, TZCYX."""
    channel: int | None = None
    """The channel to read, from 0, of an image file that has several."""

    def stack(self, path: Path) -> np.ndarray:
        """The (N, H, W) slices of an image file, as `read_stack`."""
        return read_stack(path, axes=self.axes, channel=self.channel, option="--")

    def read(self, path: Path) -> np.ndarray:
        """The same; says what was read."""
        stack = self.stack(path)
        print(images_in_words(path, stack))
        return stack


@dataclass(frozen=True)
class LabelFile:
    """How a label file is read where it does not say it itself."""

    label_axes: str | None = None
    """Sides of the label file where it does not say them, or says them wrongly, a letter each:
    ZYX, CYX, YXZ (Y, X: height, width; C: channels; any other: slices)."""
    label_channel: int | None = None
    """The channel to read, from 0, of a label file that has several."""

    def stack(self, path: Path, kind: LabelKind = "binary") -> np.ndarray:
        """The (N, H, W) labels in a file, as `read_stack`; of instances indexed colours are ids."""
        way: dict[str, Any] = {"axes": self.label_axes, "channel": self.label_channel}
        palette = "indices" if kind == "instances" else "gray"
        return read_stack(path, **way, palette=palette, option="--label-")

    def read(
        self,
        path: Path,
        reading: LabelReading,
        shape: tuple[int, ...] | None = None,
        *,
        separate: bool,
    ) -> Annotation:
        """The annotation in a label file; says what was read, and what of it is doubtful.

        shape: that of the images. separate: whether touching cells will be separated.
        """
        stack = self.stack(path, reading.label_kind)
        given = reading.of(stack, path, shape)
        print(labels_in_words(path, given, reading.label_kind, len(stack)))
        warn(path, label_doubts(given, reading.label_kind, separate=separate))
        return given


def warn(path: Path, doubts: Iterable[str]) -> None:
    """Say on stderr what is doubtful about a file."""
    for doubt in doubts:
        print(f"warning: {path}: {doubt}", file=sys.stderr)
