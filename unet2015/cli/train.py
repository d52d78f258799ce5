"""python -m unet2015 train: a U-Net on a user's own stack."""

import sys
import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from unet2015 import experiments
from unet2015.augmentation.samples import SampleTiles
from unet2015.cli.files import ImageFile, LabelFile
from unet2015.cli.options import FLAT
from unet2015.config import ExperimentConfig
from unet2015.data.gray_scale import GrayScale, GrayValues
from unet2015.data.gray_use import without_quantiles
from unet2015.data.labels import LabelReading
from unet2015.runtime import distributed
from unet2015.runtime.atomic import writable_folder
from unet2015.studies.budget import FINISH_S, Budget, Cost, time_steps
from unet2015.studies.trained import training_data
from unet2015.training.engine import Engine
from unet2015.training.loop import train
from unet2015.training.memory import memory_statement
from unet2015.weight_map import OneClass


@dataclass(frozen=True)
class Train:
    """Train a U-Net on a stack of images and its labels; the same command continues a run."""

    FIRST: ClassVar = (
        *("images", "labels", "output", "experiment", "label_kind", "ignore_label", "skip_empty"),
        *("minutes", "axes", "channel", "value_range"),
    )

    _: KW_ONLY
    images: Path
    """TIFF with the images, 8-bit, 16-bit or float: (slices, height, width)."""
    labels: Path
    """TIFF with the labels, as large as the images."""
    output: Path
    """Folder of the run: checkpoints, history.csv, weights.safetensors."""
    experiment: str = "quick"
    """Settings to start from: quick (two CPU cores; a narrower network, another optimiser), paper
    (the paper's; an accelerator), or another file of experiments/. Each of its settings is an
    option, too (--help-all)."""
    value_range: tuple[float, float] | None = None
    """Gray values of black and white; default: the full range of the integer type, 0 1 for
    floats. Kept in the checkpoint, and used for prediction unless predict is given others."""
    seed: int = 0
    """Seed of initialisation, sample order, augmentation and drop-out."""
    tensorboard: bool = False
    """Also write TensorBoard files (pip install tensorboard)."""
    image_file: Annotated[ImageFile, FLAT] = field(default_factory=ImageFile)
    label_file: Annotated[LabelFile, FLAT] = field(default_factory=LabelFile)
    reading: Annotated[LabelReading, FLAT] = field(default_factory=LabelReading)
    budget: Annotated[Budget, FLAT] = field(default_factory=Budget)
    engine: Annotated[Engine, FLAT] = field(default_factory=Engine)
    config: Annotated[ExperimentConfig, FLAT] = field(default_factory=ExperimentConfig)

    def run(self) -> None:
        began = time.monotonic()
        self.budget.check()
        self.engine.check()
        writable_folder(self.output, "--output", make=False)
        tiles, data = self._training_data()
        with distributed.alone_in(writable_folder(self.output, "--output")):
            self._train(tiles, data, began)

    def _train(self, tiles: SampleTiles, data: dict[str, Any], began: float) -> None:
        def costs() -> list[Cost]:
            step_s, compile_s = time_steps(self.config, tiles, **self.engine.way())
            return [Cost(step_s, compile_s + FINISH_S)]

        runs = {"experiment": "train", "seed": self.seed, "data": without_quantiles(data)}
        config, _ = self.budget.plan(self.output, runs, self.config, costs, began=began)
        checkpoint = train(
            config,
            tiles,
            self.output,
            seed=self.seed,
            tensorboard=self.tensorboard,
            data=data,
            **self.engine.options(),
        )
        print(f"trained for {checkpoint.step} steps: {self.output / 'weights.safetensors'}")
        print(f"python -m unet2015 predict IMAGE.tif --checkpoint {self.output} --output P.tif")

    def _training_data(self) -> tuple[SampleTiles, dict[str, Any]]:
        """The training tiles of the files, and what a checkpoint says of these."""
        stack = self.image_file.read(self.images)
        separate, kind = self.config.weight_map.separate_touching, self.reading.label_kind
        given = self.label_file.read(self.labels, self.reading, stack.shape, separate=separate)
        stack = given.images(stack)
        print(memory_statement(self.config, stack))
        scale = _gray_scale(stack, self.images, self.value_range, self.config.training.gray_values)
        way: dict[str, Any] = {"label_kind": kind, "seed": self.seed}
        try:
            return training_data(stack, given, scale, self.config, **way)
        except OneClass as error:
            raise ValueError(
                f"--labels {self.labels}: {error} (--weight-map.class-weights none)"
            ) from error


def defaults_of_experiment(*, experiment: str = "quick") -> Mapping[str, Any]:
    """The settings of the experiment that --experiment names, as the options' defaults."""
    return {"config": experiments.load(experiment)}


def _gray_scale(
    stack: np.ndarray, path: Path, value_range: tuple[float, float] | None, gray_values: GrayValues
) -> GrayScale:
    """The scale of the images, with a warning if they use only a small part of it."""
    try:
        scale = GrayScale.of(stack, value_range, gray_values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if little := scale.little_used(stack):
        print(f"warning: {path} has {little}", file=sys.stderr)
    return scale
