"""Synthetic images of the Go logo, made as a later re-implementation of the U-Net makes them.

The logo, scaled, at a random place on white; the foreground is the logo. The logo (1061 × 938 px)
is copyrighted by The Go Authors and a trademark: neither it nor an image made with it is part of
this repository. Without the file, a drawn glyph of similar shape stands in.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage import draw

from unet2015.data.image_file import read_rgb
from unet2015.data.isbi2012 import pixel_sha256
from unet2015.data.pairs import find_folder, resize_pair

NAME = "golang-logo"
LOGO = "Go-Logo_LightBlue.png"
LOGO_SHA256 = "c3a31c88114647870de70161c58e74279c0bbb0660b36e37342fd3afb6ad65eb"
"""Of the file in github.com/golang/website and, the same, in the re-implementation's repository."""
IMAGE_PX = 572
"""Side of the synthetic images (the re-implementation; the paper's input tile, Fig. 1)."""
SCALES = (0.6, 1.0)
"""Least and largest scale (the re-implementation)."""
BLUE = (90, 201, 226)
"""The logo's light blue."""
HOW_TO_GET = (
    f"Get it from https://go.dev/blog/go-brand (Go-Logo/PNG/{LOGO}), no account, and put it into "
    f"the folder {NAME}/."
)


@dataclass(frozen=True, eq=False)
class GoLogo:
    """The logo and its annotation, from which any number of synthetic pairs is made."""

    name: str
    """'golang-logo'."""
    logo: np.ndarray
    """(H, W, 3) uint8, on white."""
    annotation: np.ndarray
    """(H, W) bool, `annotate` of the logo."""
    source: str
    """Where the logo was found, in words, or that it is a drawn glyph."""
    hashes: dict[str, str]
    """'logo', 'annotation' → SHA-256 of the array above."""

    def pair(self, seed: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Synthetic image k: (572, 572, 3) uint8 on white, and its mask, (572, 572) bool.

        The logo with its margins, by `resize_pair`, wholly inside the image; scale and place are
        uniform, of a Generator seeded by (seed, k). Scale 1 is the largest that fits (our choice,
        because the file is larger than the image, and it is not known what the re-implementation's
        scale refers to). Raises ValueError for a negative seed or k.
        """
        if seed < 0 or k < 0:
            raise ValueError(f"seed, k = {seed}, {k}: must not be negative")
        rng = np.random.default_rng([seed, k])
        scale = rng.uniform(*SCALES) * IMAGE_PX / max(self.annotation.shape)
        height, width = (max(1, round(scale * side)) for side in self.annotation.shape)
        logo, annotation = resize_pair(self.logo, self.annotation, height, width)
        top, left = (int(rng.integers(IMAGE_PX - side + 1)) for side in (height, width))
        there = slice(top, top + height), slice(left, left + width)
        image = np.full((IMAGE_PX, IMAGE_PX, 3), 255, dtype=np.uint8)
        mask = np.zeros((IMAGE_PX, IMAGE_PX), dtype=bool)
        image[there], mask[there] = logo, annotation
        return image, mask


def load_go_logo(data: str | Path | None = None) -> GoLogo:
    """The Go logo with its annotation, or a drawn glyph where the logo's file is nowhere.

    data: the folder, and no other is looked at if it is given; see `find_folder`. `source` says
    which of the two it is. Raises FileNotFoundError if `data` is given and has no logo; ValueError
    for a damaged file.
    """
    try:
        folder, words = find_folder(data, NAME, (LOGO,), HOW_TO_GET)
    except FileNotFoundError:
        if data is not None:
            raise
        logo, source = draw_glyph(), f"drawn glyph in place of the Go logo ({LOGO} not found)"
    else:
        logo = read_rgb(folder / LOGO)
        digest = hashlib.sha256((folder / LOGO).read_bytes()).hexdigest()
        known = "the file" if digest == LOGO_SHA256 else "another file than the one"
        source = f"Go logo, {words}; {known} known here"
    annotation = annotate(logo)
    return GoLogo(
        name=NAME,
        logo=logo,
        annotation=annotation,
        source=source,
        hashes={"logo": pixel_sha256(logo), "annotation": pixel_sha256(annotation)},
    )


def annotate(logo: np.ndarray) -> np.ndarray:
    """The logo's foreground as the re-implementation annotates it: (H, W) bool.

    White becomes black, and then every pixel whose three channels are all non-zero is foreground.
    logo: (H, W, 3) uint8 without alpha, under which half-transparent edges are opaque. Raises
    ValueError for an array of another kind.

    >>> annotate(np.array([[[255, 255, 255], [90, 201, 226], [0, 201, 226]]], dtype=np.uint8))
    array([[False,  True, False]])
    """
    if logo.dtype != np.uint8 or logo.ndim != 3 or logo.shape[2] != 3:
        raise ValueError(f"logo is {logo.dtype} of shape {logo.shape}: must be uint8 (H, W, 3)")
    return (logo != 0).all(axis=2) & ~(logo == 255).all(axis=2)


def draw_glyph() -> np.ndarray:
    """A stand-in of the logo's size, colour and coverage: (938, 1061, 3) uint8 on white.

    Two slanted rings, the left one open to the right and with a bar, and three lines before them.
    """
    glyph = np.zeros((938, 1061), dtype=bool)
    for column in (520, 790):
        for radii, inside in (((160, 172), True), ((86, 94), False)):
            rows, columns = draw.ellipse(485, column, *radii, shape=glyph.shape, rotation=0.3)
            glyph[rows, columns] = inside
    opening = draw.polygon([400, 400, 465, 465], [540, 660, 655, 540])
    glyph[opening] = False
    glyph[465:505, 520:640] = True
    for top, left, right in ((408, 190, 320), (455, 103, 310), (502, 240, 310)):
        glyph[top : top + 22, left:right] = True
    image = np.full((*glyph.shape, 3), 255, dtype=np.uint8)
    image[glyph] = BLUE
    return image
