"""From the probability of 'cell' to single cells, and how cells were merged, split or missed.

Two-class scores know cell and background only; what tells touching cells apart is the ridge of
background between them, which the border weights of Eq. 2 teach (paper §3, Fig. 3).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.segmentation import relabel_sequential, watershed

from unet2015.metrics.segmentation import object_overlaps
from unet2015.weight_map import cells_from_binary

LARGEST_LABEL = np.iinfo(np.uint16).max
"""The Cell Tracking Challenge's masks are 16-bit."""


@dataclass(frozen=True)
class InstanceConfig:
    """What becomes of the connected components of the argmax (paper §4: nothing is stated)."""

    min_size_px: int = 500
    """Components of fewer pixels are removed (release, for tracking: 500; the smallest gold mask
    has 619, PhC-C2DH-U373, and 3,915, DIC-C2DH-HeLa). 0 or 1: none is. SEG does not look at them
    unless they match a cell; the count of spurious ones does."""
    border_px: int = 0
    """Components that lie wholly within this many pixels of the image's border are removed. 0:
    none is, as SEG is measured on all pixels (challenge). 50: the 'field of interest' of both
    sets, which the challenge uses for tracking and detection."""
    fill_holes: bool = False
    """Fill the background that one component encloses (release: off)."""
    core_probability: float = 0.5
    """Components of the pixels above it, of at least `min_size_px`, are the cores of cells; cores
    within one component of the argmax divide it among them, along the valleys of the probability
    (watershed; our choice, for networks that have learned too little of the ridges to cut them
    through). 0.5: none, the components of the argmax as they are (release)."""

    def __post_init__(self) -> None:
        for name in ("min_size_px", "border_px"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} = {value!r}: must be an integer ≥ 0")
        core = self.core_probability
        if type(core) not in (int, float) or not 0.5 <= core < 1:
            raise ValueError(f"core_probability = {core!r}: must be a number, 0.5 ≤ number < 1")

    @property
    def tag(self) -> str:
        """The settings as part of a file's name.

        >>> InstanceConfig().tag, InstanceConfig(0, 50, True, 0.9).tag
        ('min500', 'min0_border50_filled_core0.9')
        """
        border = f"_border{self.border_px}" if self.border_px else ""
        core = f"_core{self.core_probability:g}" if self.core_probability > 0.5 else ""
        return f"min{self.min_size_px}{border}{'_filled' * self.fill_holes}{core}"

    def check(self, image_hw: tuple[int, ...]) -> None:
        """Raise ValueError if the border leaves nothing of an image of (height, width) pixels."""
        shortest = min(image_hw)
        if 2 * self.border_px >= shortest:
            raise ValueError(
                f"border_px = {self.border_px}: leaves nothing of an image whose shorter side has "
                f"{shortest} px; must be ≤ {(shortest - 1) // 2}"
            )

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, ready for JSON."""
        return asdict(self)


_DEFAULT = InstanceConfig()


def instances_of(probability: np.ndarray, config: InstanceConfig = _DEFAULT) -> np.ndarray:
    """The cells that a prediction shows: connected components of the argmax of its two classes.

    Not specified in the paper; the release takes the components of the argmax too. Here they are
    4-connected (our choice: a ridge that runs diagonally is then a border, as in the EM metrics).

    probability: (H, W) float in [0, 1], of 'cell'; cell where it is > 0.5, which is the argmax of
    two classes. Returns (H, W) int32, 0 = background, 1 … n = cells in the order of their first
    pixels. Raises ValueError for other values or shapes and for a border that leaves no pixel.

    >>> instances_of(np.array([[0.9, 0.2, 0.6, 0.5]]), InstanceConfig(min_size_px=0)).tolist()
    [[1, 0, 2, 0]]
    """
    probability = np.asarray(probability)
    if probability.ndim != 2 or not probability.size:
        raise ValueError(f"probability of shape {probability.shape}: must be (H, W), not empty")
    # written so that NaN fails too
    if not (probability.min() >= 0 and probability.max() <= 1):
        raise ValueError(
            f"probability from {probability.min()} to {probability.max()}: must lie in [0, 1]; "
            "apply the softmax to a network's scores first"
        )
    config.check(probability.shape)
    cells = cells_from_binary(probability > 0.5)
    if config.core_probability > 0.5:
        cells = _divided_by_cores(cells, probability, config)
    if config.fill_holes:
        _fill_holes(cells)
    kept = np.bincount(cells.ravel()) >= config.min_size_px
    if border := config.border_px:
        inside = np.zeros(len(kept), bool)
        inside[cells[border:-border, border:-border]] = True
        kept &= inside
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[cells]


def _divided_by_cores(
    cells: np.ndarray, probability: np.ndarray, config: InstanceConfig
) -> np.ndarray:
    """Components with several cores, divided among them; a component without a core stays whole."""
    cores = cells_from_binary(probability > config.core_probability)
    cores[(np.bincount(cores.ravel()) < config.min_size_px)[cores]] = 0
    whole = np.setdiff1d(cells, cells[cores > 0])
    whole = np.isin(cells, whole[whole > 0])
    seeds = np.where(whole, cells + cores.max(), cores)
    divided = np.asarray(watershed(-probability, seeds, mask=cells > 0))
    return relabel_sequential(divided)[0]


def _fill_holes(cells: np.ndarray) -> None:
    """Give each cell, in place, the background that it alone encloses."""
    for number, window in enumerate(ndimage.find_objects(cells), start=1):
        view = cells[window]
        holes = np.asarray(ndimage.binary_fill_holes(view == number)) & (view == 0)
        view[holes] = number


@dataclass(frozen=True)
class CellCounts:
    """How many reference cells were found as one, and what happened to the others."""

    cells: int
    """Reference cells."""
    merged: int
    """Reference cells that share their match with another one."""
    split: int
    """Reference cells in which the greater part of two or more predicted cells lies."""
    missed: int
    """Reference cells without match that are not split."""
    predicted: int
    """Predicted cells."""
    spurious: int
    """Predicted cells that lie for the greater part where annotated background is."""

    def as_dict(self) -> dict[str, int]:
        """The counts, ready for JSON."""
        return asdict(self)


def count_cells(
    truth_instances: np.ndarray,
    predicted_instances: np.ndarray,
    *,
    ignore: np.ndarray | None = None,
) -> CellCounts:
    """Counts of merged, split and missed cells (our addition; the paper's Fig. 4 shows some).

    A predicted cell matches a reference cell if it covers more than half of it, as in SEG
    (`metrics.segmentation_accuracy`); so a reference cell has one match or none, and cells that
    have the same one are merged. A merged cell may be split as well. SEG does not see spurious
    cells. All arrays (H, W) or (N, H, W), the first two integers with 0 = background; ignore:
    bool, where a cell is that nobody annotated, so that a prediction there is not spurious.

    Raises ValueError as `metrics.object_overlaps`, and for an ignore of another shape.

    >>> count_cells(np.array([[1, 1, 0, 2, 2]]), np.array([[5, 5, 5, 5, 5]])).merged
    2
    """
    found = object_overlaps(truth_instances, predicted_instances)
    reverse = object_overlaps(predicted_instances, truth_instances)
    matched = found.match > 0
    pairs = np.stack([found.image[matched], found.match[matched]])
    shared = np.unique(pairs, axis=1, return_counts=True)[1]
    inside = reverse.match > 0
    pieces = np.stack([reverse.image[inside], reverse.match[inside]])
    holders, count = np.unique(pieces, axis=1, return_counts=True)
    split = set(zip(*holders[:, count > 1].tolist(), strict=True))
    unmatched = zip(found.image[~matched].tolist(), found.reference[~matched].tolist(), strict=True)
    return CellCounts(
        cells=len(found.match),
        merged=int(shared[shared > 1].sum()),
        split=len(split),
        missed=sum(cell not in split for cell in unmatched),
        predicted=len(reverse.match),
        spurious=_spurious(truth_instances, predicted_instances, ignore),
    )


def _spurious(truth: np.ndarray, predicted: np.ndarray, ignore: np.ndarray | None) -> int:
    """Predicted cells of which more than half is background that was annotated."""
    known = np.asarray(truth) == 0
    if ignore is not None:
        if np.shape(ignore) != known.shape:
            raise ValueError(
                f"ignore of shape {np.shape(ignore)}: must be that of the truth, {known.shape}"
            )
        known &= ~np.asarray(ignore, bool)
    # the background as the only reference object: what it holds the greater part of
    overlaps = object_overlaps(predicted, known.astype(np.uint8))
    return int(np.count_nonzero(overlaps.match))
