"""What happens before the step: weight maps and augmented tiles."""

import numpy as np
from scipy import ndimage

from unet2015.augmentation.deformation import deform, random_displacement
from unet2015.augmentation.tile import TileSequence
from unet2015.benchmarks.timing import Benchmark, Timed, side_by_side
from unet2015.config import AugmentationConfig, WeightMapConfig
from unet2015.data.cell_tracking import load_cell_tracking
from unet2015.data.isbi2012 import load_isbi2012
from unet2015.data.phantom import phantom_stack
from unet2015.weight_map import border_weight_map, cells_from_binary, separate_touching


def weight_map(*, size_px: int = 512, repeats: int = 3, real: bool = True) -> Benchmark:
    """Eq. 2 of one slice or frame beside one distance transform of the whole of it per cell.

    A phantom slice of `size_px`, and under `real` the first EM slice and the first DIC-HeLa frame
    where they are at hand. The two agree within 1e-5 (checked in the run; ValueError otherwise).
    """
    labels = phantom_stack(seed=0, slices=1, size_px=size_px, test_slices=0).train_labels[0]
    found, missing = _real_cells() if real else ({}, [])
    config = WeightMapConfig(class_weights="none", separate_touching=False)
    rows, largest = [], 0.0
    for name, cells in ({"phantom": cells_from_binary(labels)} | found).items():
        ours, plain = border_weight_map(cells, config), plain_weight_map(cells, config)
        difference = float(np.abs(ours - plain).max())
        if difference > 1e-5:
            raise ValueError(f"{name}: the two weight maps differ by {difference:.2g}")
        largest = max(largest, difference)
        ours_s, plain_s = side_by_side(
            lambda cells=cells: border_weight_map(cells, config),
            lambda cells=cells: plain_weight_map(cells, config),
            repeats=repeats,
            device="cpu",
        )
        size = " × ".join(map(str, cells.shape))
        work = f"weight map of {size} px, {len(np.unique(cells)) - 1} cells ({name})"
        what = "a distance transform of the slice per cell, sorted"
        rows.append(Timed(work, ours_s, plain_s, what, headline=True))
    return Benchmark(rows, [f"Equal within {largest:.0e}.", *missing])


def _real_cells() -> tuple[dict[str, np.ndarray], list[str]]:
    """Cells of the first slice and frame of two data sets; a note for each that is not at hand."""
    loaders = {
        "ISBI 2012, slice 0": lambda: cells_from_binary(
            load_isbi2012(download=False).train_labels[0]
        ),
        "DIC-HeLa, first frame": lambda: separate_touching(
            load_cell_tracking("DIC-C2DH-HeLa", download=False).sequences["01"].instances[0]
        ),
    }
    found, missing = {}, []
    for name, load in loaders.items():
        try:
            found[name] = load()
        except FileNotFoundError:
            missing.append(f"{name}: not at hand.")
    return found, missing


def augment(*, size_px: int = 512, repeats: int = 5) -> Benchmark:
    """One training tile of the paper's augmentation beside SciPy on the whole slice.

    The two deform image and weights alike, within 1e-4 (checked in the run; ValueError otherwise).
    """
    rng = np.random.default_rng(0)
    image = rng.random((1, size_px, size_px), np.float32)
    labels = (rng.random((size_px, size_px)) < 0.8).astype(np.uint8)
    weights = rng.random((size_px, size_px), np.float32)
    config = AugmentationConfig()
    margin = 92
    output_px = min(388, size_px)
    sides = {"input_tile_px": output_px + 2 * margin, "output_tile_px": output_px}
    tiles = TileSequence([image], [labels], [weights], config, **sides, seed=0)

    planes, orders = [image[0], labels, weights], (3, 0, 1)
    displacement = random_displacement(np.random.default_rng(0))

    def plain() -> list[np.ndarray]:
        return [
            plain_deformation(plane, displacement, 30.0, order)
            for plane, order in zip(planes, orders, strict=True)
        ]

    whole = deform(planes, displacement, angle_deg=30.0, orders=orders)
    differences = [np.abs(a - b).max() for a, b in zip(whole[::2], plain()[::2], strict=True)]
    if max(differences) > 1e-4:
        raise ValueError(f"the deformed slices differ by {max(differences):.2g}: no comparison")

    ours_s, plain_s = side_by_side(lambda: tiles[0], plain, repeats=repeats, device="cpu")
    what = "SciPy: the field and three interpolations of the whole slice"
    row = Timed(f"one training tile, {output_px} px out", ours_s, plain_s, what, headline=True)
    notes = [
        "The paper's augmentation with any angle, on one thread; the whole slice deformed by "
        f"either is equal within {max(differences):.0e}.",
        "Ours as in training, where an image's spline coefficients are computed once and kept.",
    ]
    return Benchmark([row], notes)


def plain_weight_map(cells: np.ndarray, config: WeightMapConfig) -> np.ndarray:
    """Eq. 2 with w_c = 1, as it is written: every cell's distances, the two smallest."""
    distances = [
        np.asarray(ndimage.distance_transform_edt(cells != cell))
        for cell in np.unique(cells)
        if cell
    ]
    d1, d2 = np.sort(distances, axis=0)[:2]
    return 1 + config.w0 * np.exp(-((d1 + d2) ** 2) / (2 * config.sigma_px**2))


def plain_deformation(
    plane: np.ndarray, displacement: np.ndarray, angle_deg: float, order: int
) -> np.ndarray:
    """A plane rotated and deformed with SciPy alone."""
    grid = np.mgrid[: plane.shape[0], : plane.shape[1]].astype(float)
    zoom = [
        grid[axis] * (points - 1) / (size - 1)
        for axis, (points, size) in enumerate(zip(displacement.shape[1:], plane.shape, strict=True))
    ]
    field = [ndimage.map_coordinates(part, zoom, order=3, mode="mirror") for part in displacement]
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = (np.array(plane.shape) - 1)[:, None, None] / 2
    where = np.tensordot(turn, grid - centre, 1) + centre + np.array(field)
    return ndimage.map_coordinates(plane, where, order=order, mode="mirror")
