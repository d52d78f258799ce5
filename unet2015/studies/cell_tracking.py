"""One direction of the cell tracking experiment: train on one sequence, predict and score another.

Each step continues from what it finds in the folder, so that a command which was cut off goes on
where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unet2015.augmentation.samples import SampleTiles, cells_of, training_tiles
from unet2015.config import ExperimentConfig, config_hash
from unet2015.data.cell_tracking import SEQUENCES, AnnotatedSequence, CellTracking
from unet2015.data.gray_scale import GrayScale
from unet2015.data.gray_use import about_gray
from unet2015.data.tiff import write_stack
from unet2015.inference.instances import LARGEST_LABEL, InstanceConfig, count_cells, instances_of
from unet2015.inference.prediction import predict_image
from unet2015.metrics.segmentation import iou, object_overlaps, segmentation_accuracy
from unet2015.model import CELL
from unet2015.runtime import distributed
from unet2015.runtime.atomic import own_folder
from unet2015.runtime.numerics import numerics
from unet2015.studies.budget import Cost, Measured, measure
from unet2015.studies.run_folder import predict_once, train_once, training_summary
from unet2015.training.checkpoint import WEIGHTS, Checkpoint, load_checkpoint


@dataclass(frozen=True, eq=False)
class Split:
    """The annotated frames that are trained on, and those that are scored."""

    train: AnnotatedSequence
    train_index: tuple[int, ...]
    """Which of `train.frames` are trained on."""
    scored: AnnotatedSequence
    scored_index: tuple[int, ...]
    """Which of `scored.frames` are predicted and scored."""

    @property
    def hold_out(self) -> int:
        """How many frames of the training sequence are scored; 0: the other sequence is."""
        return len(self.scored_index) if self.scored is self.train else 0

    @property
    def train_frames(self) -> list[int]:
        """Numbers of the frames that are trained on."""
        return [self.train.frames[k] for k in self.train_index]

    @property
    def scored_frames(self) -> list[int]:
        """Numbers of the frames that are scored."""
        return [self.scored.frames[k] for k in self.scored_index]


Part = tuple[CellTracking, Split]


@dataclass(frozen=True, eq=False)
class Direction:
    """A network trained on one sequence, and what it predicts for the scored frames."""

    split: Split
    folder: Path
    probability: np.ndarray
    """(N, H, W) float32, probability of 'cell' of the scored frames."""
    instances: np.ndarray
    """(N, H, W) int32, the predicted cells."""
    cells: InstanceConfig
    """How they were found in it."""
    checkpoint: Checkpoint
    prediction_seconds: float

    def summary(self) -> dict[str, Any]:
        """What a record says of the direction."""
        split = self.split
        return {
            "train_sequence": split.train.name,
            "train_frames": split.train_frames,
            "scored_sequence": split.scored.name,
            "scored_frames": split.scored_frames,
            "hold_out": split.hold_out,
            "instances": self.cells.as_dict(),
            "scores": scores(self),
            "training": training_summary(self.checkpoint),
            "prediction_seconds": self.prediction_seconds,
        }


def split_frames(data: CellTracking, train_on: str, hold_out: int = 0) -> Split:
    """Leave one sequence out: all annotated frames of the other are scored (paper §4: Table 2).

    The paper's own test sequences are secret. hold_out: for choosing settings without a look at
    the sequence that is left out: so many of the last annotated frames of the training sequence
    are not trained on, and scored instead. Raises ValueError for another sequence or number.
    """
    if train_on not in SEQUENCES:
        raise ValueError(f"train_on = {train_on!r}: must be {' or '.join(map(repr, SEQUENCES))}")
    sequence, other = data.sequences[train_on], SEQUENCES[1 - SEQUENCES.index(train_on)]
    count = len(sequence.frames)
    if not 0 <= hold_out < count:
        raise ValueError(
            f"--hold-out {hold_out}: must be 0 … {count - 1}, as sequence {train_on} of "
            f"{data.name} has {count} annotated frames"
        )
    if hold_out:
        first = count - hold_out
        return Split(sequence, tuple(range(first)), sequence, tuple(range(first, count)))
    scored = data.sequences[other]
    return Split(sequence, tuple(range(count)), scored, tuple(range(len(scored.frames))))


def run_direction(
    split: Split,
    config: ExperimentConfig,
    cells: InstanceConfig,
    folder: Path,
    *,
    seed: int,
    device: str,
    name: str,
    **options: Any,
) -> Direction | None:
    """Train on the frames to train on, predict the scored ones, and find the cells in them.

    folder: of this direction alone; it keeps checkpoints, history.csv, probability.tif and the
    predicted cells, and a direction found there continues. name: what progress bars call it.
    Further options: as `run_folder.train_once`. Of several processes (`distributed`) all train, and
    the first alone goes on: None in the others. Raises ValueError as `train` does.
    """
    cells.check(split.scored.images.shape[1:])
    sequence = split.train
    scale = GrayScale.of(sequence.images, gray_values=config.training.gray_values)
    tiles = _tiles(split, scale, config, seed)
    checkpoint = train_once(
        config,
        tiles,
        folder,
        seed=seed,
        device=device,
        data={
            "hashes": dict(sequence.hashes),
            "trained_on": {"sequence": sequence.name, "frames": split.train_frames},
            **about_gray(scale, sequence.images[list(split.train_index)]),
        },
        name=name,
        **options,
    )
    if not distributed.is_writer():
        return None
    images = split.scored.images[list(split.scored_index)]
    probability, seconds = predict_once(checkpoint, images, folder, device=device, name=name)
    instances = np.stack([instances_of(plane, cells) for plane in probability])
    write_stack(folder / f"cells_{cells.tag}.tif", as_masks(instances))
    return Direction(split, folder, probability, instances, cells, checkpoint, seconds)


def _tiles(split: Split, scale: GrayScale, config: ExperimentConfig, seed: int) -> SampleTiles:
    sequence, index = split.train, list(split.train_index)
    return training_tiles(
        sequence.images[index],
        sequence.instances[index],
        config,
        gray=scale,
        label_kind="instances",
        ignore=sequence.ignore[index],
        seed=seed,
    )


def measure_direction(
    split: Split,
    config: ExperimentConfig,
    cells: InstanceConfig,
    *,
    seed: int,
    trained: bool = True,
    **way: Any,
) -> Measured:
    """Time what `run_direction` and the scoring of a frame would take (`budget.measure`).

    trained: False times the prediction and the scoring alone.
    """
    first = split.scored_index[0]
    scale = GrayScale.of(split.train.images, gray_values=config.training.gray_values)
    truth = split.scored.instances[[first]]

    def score(probability: np.ndarray) -> None:  # both ways to find cells, as `scores` does
        for _ in range(2):
            segmentation_accuracy(truth, instances_of(probability, cells)[None])

    image = scale.apply(split.scored.images[[first]])

    def make_tiles() -> SampleTiles:
        return _tiles(split, scale, config, seed)

    return measure(config, make_tiles if trained else None, image, score, **way)


def costs(
    parts: Sequence[Part], config: ExperimentConfig, cells: InstanceConfig, **way: Any
) -> list[Cost]:
    """What `run_direction` costs for each part; `measure_direction`."""
    measured: dict[str, Measured] = {}
    for data, split in parts:  # a set's two directions take the same but for the number of frames
        if data.name not in measured:
            measured[data.name] = measure_direction(split, config, cells, **way)
    return [measured[data.name].cost(len(split.scored_index)) for data, split in parts]


def scores(direction: Direction) -> dict[str, Any]:
    """SEG, the foreground's IoU, and counts of merged, split and missed cells (paper, Table 2).

    SEG is the mean over all gold masks of the scored frames together. The IoU is of the pixels,
    pooled over the frames, without ignore regions. label_seg is the SEG of the gold masks
    themselves once they are labels, with or without ridge, and cells again by `instances_of`:
    what a network that learned its labels by heart would score. seg_of_argmax is the SEG of the
    components of the argmax, without cores (`InstanceConfig.core_probability`).
    """
    sequence, index = direction.split.scored, list(direction.split.scored_index)
    truth, ignore = sequence.instances[index], sequence.ignore[index]
    overlaps = object_overlaps(truth, direction.instances)
    weights = direction.checkpoint.config.weight_map
    labels = [cells_of(plane, "instances", weights) != 0 for plane in truth]
    best = np.stack([instances_of(plane.astype(np.float32), direction.cells) for plane in labels])
    argmax = replace(direction.cells, core_probability=0.5)
    plain = np.stack([instances_of(plane, argmax) for plane in direction.probability])
    return {
        "seg": segmentation_accuracy(truth, direction.instances),
        "foreground_iou": iou(truth > 0, direction.instances > 0, ignore=ignore),
        "seg_of_argmax": segmentation_accuracy(truth, plain),
        "label_seg": segmentation_accuracy(truth, best),
        **count_cells(truth, direction.instances, ignore=ignore).as_dict(),
        "seg_of_frame": [
            float(overlaps.jaccard[overlaps.image == k].mean()) for k in range(len(index))
        ],
    }


def write_masks(
    data: CellTracking,
    sequence: str,
    folder: Path,
    cells: InstanceConfig,
    device: str,
    *,
    progress: bool = True,
) -> Path:
    """Segment every frame of a sequence, in the layout that the challenge takes in.

    folder: of a run that is trained. Writes `folder`/min500/01_RES/mask000.tif … (named after
    `cells`; 02_RES for sequence '02'): uint16, 0 = background, one number per cell, which does not
    follow a cell from frame to frame; file numbers with as many digits as the frames'. A mask that
    is there is left as it is, so that a command which was cut off continues. Returns the folder of
    the masks. Raises ValueError as `CellTracking.read_frame` and `load_checkpoint`.
    """
    place = folder / cells.tag / f"{sequence}_RES"
    own_folder(place.parent)
    targets = mask_files(data.sequences[sequence].frame_files, own_folder(place))
    there = {path for path in targets.values() if path.is_file() and not path.is_symlink()}
    left = {t: path for t, path in targets.items() if path not in there}
    if not left:
        return place
    checkpoint = load_checkpoint(folder / WEIGHTS)
    network = checkpoint.network().to(device)
    scale = GrayScale.from_dict(checkpoint.data["gray_scale"])
    bar = tqdm(
        left.items(),
        desc=f"sequence {sequence}, all frames",
        total=len(targets),
        initial=len(targets) - len(left),
        unit="frame",
        disable=not progress,
    )
    for t, path in bar:
        image = scale.apply(data.read_frame(sequence, t))
        with numerics(device):
            probability = predict_image(network, image[None], checkpoint.config.prediction)[CELL]
        write_stack(path, as_masks(instances_of(probability, cells)))
    return place


def mask_files(frame_files: Mapping[int, Path], folder: Path) -> dict[int, Path]:
    """Where the challenge looks for the mask of each frame: t007.tif → mask007.tif."""
    return {t: folder / f"mask{path.stem.removeprefix('t')}.tif" for t, path in frame_files.items()}


def as_masks(instances: np.ndarray) -> np.ndarray:
    """Cells as uint16, the challenge's type; ValueError for more than 65,535 in a frame."""
    if instances.max() > LARGEST_LABEL:
        raise ValueError(
            f"{instances.max()} cells in a frame: the challenge's masks hold {LARGEST_LABEL}; "
            "choose a larger --instances.min-size-px"
        )
    return instances.astype(np.uint16)


def run_name(
    preset: str, arm: str, dataset: str, split: Split, seed: int, config: ExperimentConfig
) -> str:
    """The name of a run's folder and record: what was run, on what, with which settings."""
    named = preset if arm == "none" else f"{preset}_{arm.removeprefix('cell_tracking_')}"
    held_out = f"_holdout{split.hold_out}" if split.hold_out else ""
    return (
        f"cell_tracking_{named}_{dataset}_train{split.train.name}{held_out}_seed{seed}_"
        f"{config_hash(config)}"
    )
