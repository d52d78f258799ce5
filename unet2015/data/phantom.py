"""A stand-in for the EM stack: procedural, seeded, with exact labels; needs no data, no network.

Modelled on the look and the figures of the ISBI 2012 training stack: about 100 cells in a section
of 512 × 512 px, 17-27 % membrane, mean gray value about 126, membranes about 50 gray values darker
than cells but overlapping them widely, neighbouring sections alike but far from equal. Every
number below is our choice, set so that these figures come out. Scores on it say nothing about the
paper.

Everything that outlasts one section is a smooth function of z, and what does not has a Generator
of its own, seeded by the section's number: so no section depends on how many are asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from unet2015.data.isbi2012 import EMStack, pixel_sha256

CELL_AREA_PX = 1800
"""Mean area of a Voronoi cell in px²; some are joined into one."""
MARGIN_PX = 64
"""Cells are laid out this far beyond the section, so that its border is like its middle."""
ROUNDING_PX = 4
"""Least radius of a cell's corners."""
STRUCTURE, GRAIN = 0, 1
"""Streams of random numbers: what outlasts a section, and what does not."""


def phantom_stack(
    seed: int = 0, slices: int = 30, size_px: int = 512, test_slices: int = 6
) -> EMStack:
    """An EM-like stack with exact labels, (slices, size_px, size_px) uint8 gray values 0-255.

    Labels: 0 = membrane, 1 = cell. The test stack is of other cells; with test_slices = 0 there is
    none. The same seed gives the same stack, and slice k is the same whatever `slices` is.
    Raises ValueError for sizes and counts below the smallest that make sense.
    """
    for name, value, least in (
        ("seed", seed, 0),
        ("slices", slices, 1),
        ("size_px", size_px, 16),
        ("test_slices", test_slices, 0),
    ):
        if value < least:
            raise ValueError(f"{name} = {value}: must be an integer ≥ {least}")
    images, labels = _block(seed, 0, range(slices), size_px)
    arrays = {"train images": images, "train labels": labels}
    test_images = test_labels = None
    if test_slices:
        test_images, test_labels = _block(seed, 1, range(test_slices), size_px)
        arrays |= {"test images": test_images, "test labels": test_labels}
    return EMStack(
        name="phantom",
        train_images=images,
        train_labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        hashes={f"phantom {name}": pixel_sha256(array) for name, array in arrays.items()},
        source=f"procedural phantom, seed {seed}, {slices} slices of {size_px} px",
    )


def _block(
    seed: int, stack: int, sections: Iterable[int], size_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the given sections of one block of tissue."""
    tissue = _Tissue.grow(np.random.default_rng([seed, stack, STRUCTURE]), size_px)
    images, labels = [], []
    for z in sections:
        image, label = _section(tissue, z, np.random.default_rng([seed, stack, GRAIN, z]))
        images.append(image)
        labels.append(label)
    return np.stack(images), np.stack(labels)


@dataclass(frozen=True)
class _SmoothField:
    """A smooth random function of x, y, z, about normal, mean 0, standard deviation 1.

    A sum of plane waves: the same at (x, y, z) whatever window it is looked at through, and a
    product of two small matrices on a window.
    """

    waves: np.ndarray
    """(terms, 3): angular wave numbers in x and y (1/px) and z (1/section)."""
    phases: np.ndarray
    """(terms,)."""

    @classmethod
    def grow(
        cls, rng: np.random.Generator, length_px: float, length_sections: float, terms: int = 40
    ) -> "_SmoothField":
        waves = rng.normal(size=(terms, 3)) / (length_px, length_px, length_sections)
        return cls(waves, rng.uniform(0, 2 * np.pi, terms))

    def at(self, positions: np.ndarray, z: float) -> np.ndarray:
        """The field on the grid positions × positions of section z, (y, x) float32."""
        in_x = np.outer(positions, self.waves[:, 0])
        in_y = np.outer(positions, self.waves[:, 1]) + self.phases + self.waves[:, 2] * z
        field = np.cos(in_y) @ np.cos(in_x).T - np.sin(in_y) @ np.sin(in_x).T
        return (field * np.sqrt(2 / len(self.phases))).astype(np.float32)


@dataclass(frozen=True)
class _Tissue:
    """What the sections of a block have in common."""

    size_px: int
    seeds: np.ndarray
    """(cells, 2): the resting places of the cells' centres (x, y) in px."""
    drift: np.ndarray
    """(cells, 3, 2, 3): for x, y and the weight, two waves of amplitude, 1/section, phase."""
    identity: np.ndarray
    """(cells,): centres of one identity are one cell, not convex."""
    brightness: np.ndarray
    """(cells,): gray values above or below the mean cell."""
    crowded: np.ndarray
    """(cells,): how many vesicles per px²."""
    mitochondria: np.ndarray
    """(mitochondria, 6): cell, largest radius (px), elongation, angle, 1/section, phase."""
    fields: dict[str, _SmoothField]

    @classmethod
    def grow(cls, rng: np.random.Generator, size_px: int) -> "_Tissue":
        side = size_px + 2 * MARGIN_PX
        count = max(4, round(side**2 / CELL_AREA_PX))
        seeds = rng.uniform(-MARGIN_PX, size_px + MARGIN_PX, (count, 2))
        amplitude = rng.gamma(2.0, 1.0, (count, 3, 2)) * np.array([6.0, 6.0, 300.0])[:, None]
        drift = np.stack(
            [
                amplitude,
                rng.uniform(0.15, 0.45, (count, 3, 2)),
                rng.uniform(0, 2 * np.pi, (count, 3, 2)),
            ],
            axis=-1,
        )
        return cls(
            size_px,
            seeds,
            drift,
            _joined_to_neighbours(rng, seeds, share=0.3),
            rng.normal(0, 9, count),
            rng.gamma(0.7, 0.008, count),
            _grow_mitochondria(rng, count),
            {
                "warp x": _SmoothField.grow(rng, 24, 4),
                "warp y": _SmoothField.grow(rng, 24, 4),
                "bend x": _SmoothField.grow(rng, 90, 20),
                "bend y": _SmoothField.grow(rng, 90, 20),
                "width": _SmoothField.grow(rng, 28, 3),
                "contrast": _SmoothField.grow(rng, 22, 2),
                "shading": _SmoothField.grow(rng, 110, 4),
                "cytoplasm": _SmoothField.grow(rng, 14, 2),
            },
        )


def _joined_to_neighbours(rng: np.random.Generator, seeds: np.ndarray, share: float) -> np.ndarray:
    """Identities of the cells' centres: a share of them takes that of the nearest other one."""
    distances = np.linalg.norm(seeds[:, None] - seeds[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    identity = np.arange(len(seeds))
    joined = rng.random(len(seeds)) < share
    identity[joined] = np.argmin(distances, axis=1)[joined]
    return identity


def _grow_mitochondria(rng: np.random.Generator, cells: int) -> np.ndarray:
    count = max(1, round(0.35 * cells))
    return np.stack(
        [
            rng.integers(cells, size=count),
            rng.uniform(9, 24, count),
            rng.uniform(1.0, 1.9, count),
            rng.uniform(0, np.pi, count),
            rng.uniform(0.08, 0.3, count),
            rng.uniform(0, 2 * np.pi, count),
        ],
        axis=1,
    )


def _section(tissue: _Tissue, z: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gray values and labels of one section, (size_px, size_px) uint8."""
    positions = np.arange(tissue.size_px, dtype=np.float64)
    field = {name: smooth.at(positions, z) for name, smooth in tissue.fields.items()}
    centres, weights = _centres(tissue, z)
    # the knife and the stage: the whole section is off by a little
    centres = centres + rng.normal(0, 2.0, 2)
    # x, y of the undeformed tissue at every pixel
    x = positions[None, :] + 5 * field["warp x"] + 14 * field["bend x"]
    y = positions[:, None] + 5 * field["warp y"] + 14 * field["bend y"]
    nearest = _power_cells(x.astype(np.float32), y.astype(np.float32), centres, weights)
    half_width = 2.3 + 0.7 * field["width"] + 3 * np.maximum(field["width"] - 1.6, 0)
    label = _interior(tissue.identity[nearest], np.clip(half_width, 1.5, 9))
    to_membrane = _distance(label)
    gray = _cytoplasm(tissue, nearest, field, rng)
    gray -= _vesicles(tissue.crowded[nearest] * (to_membrane > 4), rng)
    _add_mitochondria(
        gray, tissue, z, x - centres[nearest, 0], y - centres[nearest, 1], nearest, to_membrane
    )
    # drawn as wide as it looks: annotators draw membranes a little wider than they are dark
    dark = gaussian_filter((1 - label).astype(np.float32), 1.2) ** 1.5
    gray -= 75 * np.clip(1 + 0.33 * field["contrast"], 0.15, 1.6) * dark
    return _photograph(gray, field["shading"], rng), label


def _centres(tissue: _Tissue, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the cells' centres have drifted to in section z, and how much room each takes (px²)."""
    amplitude, frequency, phase = np.moveaxis(tissue.drift, -1, 0)
    offsets = np.sum(amplitude * np.sin(frequency * z + phase), axis=2)
    return tissue.seeds + offsets[:, :2], offsets[:, 2]


def _power_cells(
    x: np.ndarray, y: np.ndarray, centres: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The power diagram: for each pixel the centre with the least |pixel - centre|² - weight."""
    # |pixel|² is the same for all centres
    linear = np.column_stack([-2 * centres, np.sum(centres**2, axis=1) - weights])
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1)
    return np.stack([np.argmin(row @ linear.T.astype(np.float32), axis=1) for row in pixels])


def _interior(cells: np.ndarray, half_width: np.ndarray) -> np.ndarray:
    """Labels: 1 = cell where the border to the next cell is farther than `half_width` (px).

    Corners are rounded, as membranes are, and what is narrower than the rounding is membrane.
    """
    border = np.zeros(cells.shape, bool)
    border[1:] = cells[1:] != cells[:-1]
    border[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    if not border.any():  # one cell only: it ends at the window's edge
        border[0] = True
    to_border = _distance(~border)
    core = to_border > half_width + ROUNDING_PX
    if not core.any():
        core = to_border == to_border.max()
    return ((_distance(~core) <= ROUNDING_PX) & (to_border > 0)).astype(np.uint8)


def _distance(mask: np.ndarray) -> np.ndarray:
    """The distance in px of each pixel of the mask to the nearest one outside it."""
    return np.asarray(distance_transform_edt(mask), np.float32)


def _cytoplasm(
    tissue: _Tissue, nearest: np.ndarray, field: dict[str, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Gray values of the cells' insides: each cell its own, cloudy, and granular."""
    fine, coarse = (
        gaussian_filter(rng.standard_normal(nearest.shape, np.float32), width)
        for width in (1.1, 2.6)
    )
    cloudy = 145 + tissue.brightness[nearest] + 8 * field["cytoplasm"]
    return (cloudy + 62 * fine + 110 * coarse).astype(np.float32)


def _vesicles(density: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much darker rings of 2-4 px around `density` (per px²) random places are."""
    dots = (rng.random(density.shape) < density) * rng.uniform(0.5, 1.3, density.shape)
    dots = dots.astype(np.float32)
    # a wide bump less a narrow one is a ring
    return 1750 * gaussian_filter(dots, 1.8) - 250 * gaussian_filter(dots, 0.9)


def _add_mitochondria(
    gray: np.ndarray,
    tissue: _Tissue,
    z: float,
    right: np.ndarray,
    down: np.ndarray,
    nearest: np.ndarray,
    to_membrane: np.ndarray,
) -> None:
    """Darken `gray` where mitochondria are: ellipses with a darker rim, striped by cristae.

    They lie wholly inside cells and are labelled as cell. right, down: px from the cell's centre.
    """
    for cell, largest, elongation, angle, frequency, phase in tissue.mitochondria:
        radius = largest * np.sqrt(max(0.0, np.sin(frequency * z + phase)))
        here = np.nonzero((nearest == cell) & (to_membrane > 2)) if radius >= 5 else ((), ())
        if not len(here[0]):
            continue
        along = right[here] * np.cos(angle) + down[here] * np.sin(angle)
        across = down[here] * np.cos(angle) - right[here] * np.sin(angle)
        depth = np.minimum(radius - np.hypot(along / elongation, across), to_membrane[here] - 2)
        stripes = np.cos(across * 1.1 + 0.8 * np.sin(along * 0.25 + phase))
        added = -40 - 32 * np.exp(-((depth - 1.5) ** 2) / 3) + 22 * stripes * (depth > 3)
        gray[here] += np.where(depth > 0, added, 0)


def _photograph(tissue: np.ndarray, shading: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, uneven light, noise and the exposure of one section; uint8."""
    blurred = gaussian_filter(tissue, 0.7)
    lit = blurred + 7 * shading + 11 * rng.standard_normal(tissue.shape, np.float32)
    exposed = (lit - 126) * rng.normal(1, 0.05) + 126 + rng.normal(0, 3)
    return np.clip(np.rint(exposed), 0, 255).astype(np.uint8)
