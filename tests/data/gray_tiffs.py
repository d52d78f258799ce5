"""TIFFs of gray pages for tests, read as the commands do."""

import itertools
from pathlib import Path

import numpy as np
import tifffile

from unet2015.data.tiff import read_stack as read_with


def read_stack(path: Path, axes: str | None = None, channel: int | None = None) -> np.ndarray:
    """As the commands do, with options named in messages."""
    return read_with(path, axes=axes, channel=channel, option="--")


GRAY = {"photometric": "minisblack"}


def ramp(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)


def pages(path: Path, stack: np.ndarray, *options: dict) -> Path:
    """A file with one page for each slice, written with the options in turn."""
    with tifffile.TiffWriter(path) as tiff:
        for image, chosen in zip(stack, itertools.cycle(options), strict=False):
            tiff.write(image, **(GRAY | {"metadata": None} | chosen))
    return path
