"""One image file of a data set: PNG, JPEG, GIF or TIFF, as colours, as a mask or as instances.

TIFFs are read by `tiff`, the others by Pillow; what a tag says of the pixels is honoured or refused
by both.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from unet2015.data.labels import instance_labels
from unet2015.data.tiff import read_sides
from unet2015.data.tiff_pages import TURNED, UPRIGHT, Palette

COPY_AGAIN = "the file is truncated, damaged or no image; copy or download it again"
SHOWN_VALUES = 5
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 0x0112
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I", "F")
"""Modes of Pillow whose values are gray values, colours or ids."""


def read_rgb(path: str | Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8, values 0-255; gray is repeated, alpha dropped unseen.

    Raises FileNotFoundError if there is no such file; ValueError naming the file if it is damaged,
    has more than one image or is not 8-bit gray, palette or RGB.
    """
    pixels, mode = _read(Path(path), "colours")
    if pixels.dtype == np.bool_:
        pixels = pixels * np.uint8(255)
    if pixels.dtype != np.uint8:
        raise ValueError(f"{path}: is an image of mode {mode}; must be 8-bit gray, palette or RGB")
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        return np.repeat(pixels[..., None] if pixels.ndim == 2 else pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def read_mask(path: str | Path) -> np.ndarray:
    """A mask file as (H, W) bool, True = foreground: its values are 0 and one other, 1 or 255.

    Palette files count with their colours, RGB ones if they are gray; a mask of one class is one.
    Raises FileNotFoundError if there is no such file; ValueError naming the file if it is damaged,
    and, with the values, if there are others (lossy compression makes such, and resizing).
    """
    pixels, mode = _read(Path(path), "colours")
    if pixels.ndim == 3:
        colours = pixels[..., : 3 if pixels.shape[2] >= 3 else 1]
        if (colours != colours[..., :1]).any():
            raise ValueError(f"{path}: is a coloured image (mode {mode}); a mask must be gray")
        pixels = pixels[..., 0]
    if pixels.dtype.kind not in "bu":
        raise ValueError(f"{path}: is an image of mode {mode}; a mask must have 8 bits")
    values = distinct(pixels)
    others = values[values != 0]
    if len(others) > 1 or not set(others.tolist()) <= {1, 255}:
        shown = ", ".join(map(str, values[:SHOWN_VALUES].tolist()))
        more = f" … ({len(values)} values)" if len(values) > SHOWN_VALUES else ""
        raise ValueError(
            f"{path}: has the values {shown}{more}; a binary mask has 0 (background) and one other "
            "value, 1 or 255: take the set's own lossless file"
        )
    return pixels != 0


def read_instances(path: str | Path) -> np.ndarray:
    """A file of instances as (H, W) int32: 0 = background, each id one object.

    Palette files count with their indices. Raises FileNotFoundError if there is no such file;
    ValueError naming the file if it is damaged, coloured, or has negative or fractional ids.
    """
    pixels, mode = _read(Path(path), "indices")
    if pixels.ndim != 2:
        raise ValueError(
            f"{path}: is an image of mode {mode}; instances must be whole numbers from 0 "
            "(background) in a gray or palette image"
        )
    return instance_labels(pixels[None], path)[0]


def distinct(ids: np.ndarray) -> np.ndarray:
    """The values of an integer array, each once and in order, as `np.unique` but without sorting.

    ids: any shape, values ≥ 0.

    >>> distinct(np.array([[2, 0], [5, 2]])).tolist()
    [0, 2, 5]
    """
    if ids.max(initial=0) > 1 << 16:
        return np.unique(ids)
    return np.flatnonzero(np.bincount(ids.ravel()))


def _read(path: Path, palette: Palette) -> tuple[np.ndarray, str]:
    """The pixels of an image file, (H, W) or (H, W, channels), and its mode in words.

    palette: what becomes of indexed colours, 'colours' or 'indices'. Whatever damage makes a
    library raise: ValueError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the path of an image file")
    with path.open("rb") as file:
        tiff = file.read(4) in _TIFF
    return _read_tiff(path, palette) if tiff else _read_other(path, palette)


def _read_tiff(path: Path, palette: Palette) -> tuple[np.ndarray, str]:
    sides = read_sides(path, palette=palette)[0].without_single()
    if sides.axes == "SYX":
        return np.moveaxis(sides.values, 0, -1), f"{sides.values.dtype}"
    if sides.axes not in ("YX", "YXS"):
        raise ValueError(f"{path}: has {sides.named()}; must be one image per file")
    return sides.values, f"{sides.values.dtype}"


def _read_other(path: Path, palette: Palette) -> tuple[np.ndarray, str]:
    try:
        with Image.open(path) as image:
            frames, mode = getattr(image, "n_frames", 1), image.mode
            # Pillow gives 16 bits a channel as 8, without a word; the list ends with the loading
            deep = mode in ("RGB", "RGBA", "LA") and any("16" in str(t[3]) for t in image.tile)
            turned = image.getexif().get(_ORIENTATION, 1)
            known = frames == 1 and mode in _MODES and not deep
            if known and mode == "P" and palette == "colours":
                image = image.convert("RGBA")  # not RGB: Pillow warns of transparent colours
            pixels = np.array(image) if known else np.empty((0, 0))
    except Exception as error:
        raise ValueError(f"{path}: cannot be read ({error}); {COPY_AGAIN}") from error
    if frames > 1:
        raise ValueError(f"{path}: has {frames} images; must be one per file")
    if turned not in UPRIGHT:
        raise ValueError(f"{path}: {TURNED.format(turned)}")
    if not known:
        kind = f"{mode} with 16 bits a channel" if deep else mode
        raise ValueError(f"{path}: is an image of mode {kind}; must be 8-bit gray, palette or RGB")
    return pixels, mode
