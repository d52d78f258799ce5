"""What happens before the step: weight maps and augmented tiles."""

import numpy as np
from scipy import ndimage

from unet2015.augmentation import TileSequence
from unet2015.benchmarks.timing import Benchmark, Timed, side_by_side
from unet2015.config import AugmentationConfig, WeightMapConfig
from unet2015.data.phantom import phantom_stack
from unet2015.deformation import deform, random_displacement
from unet2015.weight_map import border_weight_map, cells_from_binary


def weight_map(*, size_px: int = 512, repeats: int = 3) -> Benchmark:
    """Eq. 2 of one phantom slice beside one distance transform of the whole slice per cell.

    The two agree within 1e-6 (checked in the run; ValueError otherwise).
    """
    labels = phantom_stack(seed=0, slices=1, size_px=size_px, test_slices=0).train_labels[0]
    cells = cells_from_binary(labels)
    config = WeightMapConfig(class_weights="none", separate_touching=False)
    difference = np.abs(border_weight_map(cells, config) - plain_weight_map(cells, config)).max()
    if difference > 1e-5:
        raise ValueError(f"the two weight maps differ by {difference:.2g}: no comparison")
    ours, plain = side_by_side(
        lambda: border_weight_map(cells, config),
        lambda: plain_weight_map(cells, config),
        repeats=repeats,
        device="cpu",
    )
    work = f"weight map of {size_px} × {size_px} px, {cells.max()} cells"
    what = "a distance transform of the slice per cell, sorted"
    row = Timed(work, ours, plain, what, headline=True)
    return Benchmark([row], [f"One slice of the phantom; equal within {difference:.0e}."])


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
        for cell in range(1, cells.max() + 1)
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
