"""The command line for one's own stacks: python -m unet2015 train | predict | evaluate | …

    python -m unet2015 train --images stack.tif --labels labels.tif --output runs/mine
    python -m unet2015 predict other.tif --checkpoint runs/mine --output probability.tif
    python -m unet2015 evaluate other-labels.tif probability.tif --figure errors.png

Every command has a --help of its own.
"""

import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro import MISSING
from tyro.conf import Positional, arg, subcommand

import experiments
from unet2015.augmentation.samples import LabelKind, cells_of, training_tiles, weight_maps
from unet2015.cli.command_line import option_before_others, parse_options, run_command
from unet2015.cli.overfit import OverfitSearch
from unet2015.config import ExperimentConfig, WeightMapConfig
from unet2015.data.gray_scale import GrayScale, GrayValues
from unet2015.data.isbi2012 import pixel_sha256
from unet2015.data.tiff import read_binary_labels, read_instance_labels, read_stack, write_stack
from unet2015.runtime.atomic import writable_file, writable_folder, writable_outputs
from unet2015.runtime.numerics import resolve_device
from unet2015.studies.budget import FINISH_S, Budget, Cost, planned, time_steps
from unet2015.studies.run_folder import predict_gray, refuse_kept
from unet2015.training.checkpoint import Checkpoint, load_checkpoint
from unet2015.training.cuda_step import Compile
from unet2015.training.engine import Engine
from unet2015.training.loop import train
from unet2015.weight_map import OneClass


@dataclass(frozen=True)
class Train:
    """Train a U-Net on a stack of images and its labels; the same command continues a run."""

    images: Path
    """TIFF with the images, 8-bit, 16-bit or float: (slices, height, width)."""
    labels: Path
    """TIFF with the labels, as large as the images."""
    output: Path
    """Folder of the run: checkpoints, history.csv, weights.safetensors."""
    label_kind: LabelKind = "binary"
    """binary: 0 = membrane or background, one other value = cell. instances: 0 = background,
    one number per cell; touching cells are separated by a thin ridge of background."""
    experiment: str = "quick"
    """Settings to start from: quick (two CPU cores), paper (an accelerator), or another file of
    experiments/. Every setting can be changed below."""
    value_range: tuple[float, float] | None = None
    """Gray values of black and white; default: the full range of the integer type, 0 1 for
    floats. Kept in the checkpoint, and used for prediction."""
    seed: int = 0
    """Seed of initialisation, sample order, augmentation and drop-out."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    workers: int = 1
    """Threads that prepare training tiles (the result does not depend on it)."""
    tensorboard: bool = False
    """Also write TensorBoard files (pip install tensorboard)."""
    budget: Annotated[Budget, arg(name="")] = field(default_factory=Budget)
    engine: Annotated[Engine, arg(name="")] = field(default_factory=Engine)
    config: Annotated[ExperimentConfig, arg(name="")] = field(default_factory=ExperimentConfig)

    def run(self) -> None:
        began = time.monotonic()
        experiments.load(self.experiment)  # an unknown name is refused before anything is read
        self.budget.check()
        self.engine.prepare()
        device = resolve_device(self.device)
        self.engine.check(device, self.workers)
        stack = read_stack(self.images)
        labels = _read_labels(self.labels, self.label_kind, stack.shape)
        scale = _gray_scale(stack, self.images, self.value_range, self.config.training.gray_values)
        try:
            tiles = training_tiles(
                scale.apply(stack), labels, self.config, label_kind=self.label_kind, seed=self.seed
            )
        except OneClass as error:
            raise ValueError(
                f"--labels {self.labels}: {error} (--weight-map.class-weights none)"
            ) from error
        data = {
            "gray_scale": scale.as_dict(),
            "label_kind": self.label_kind,
            "images": pixel_sha256(stack),
            "labels": pixel_sha256(labels),
        }
        output, config = writable_folder(self.output, "--output"), self.config
        way = {**self.engine.way(), "device": device, "workers": self.workers}
        if self.budget.minutes is not None:

            def costs() -> list[Cost]:
                step_s, compile_s = time_steps(config, tiles, **way)
                return [Cost(step_s, compile_s + FINISH_S)]

            runs = {"experiment": "train", "seed": self.seed, "data": data}
            planned_for = self.budget.minutes
            config, _ = planned(output, runs, self.config, planned_for, costs, began=began)
        checkpoint = train(
            config,
            tiles,
            output,
            seed=self.seed,
            tensorboard=self.tensorboard,
            checkpoint_every_s=self.engine.checkpoint_every_s,
            data=data,
            **way,
        )
        print(f"trained for {checkpoint.step} steps: {self.output / 'weights.safetensors'}")
        print(f"python -m unet2015 predict IMAGE.tif --checkpoint {self.output} --output P.tif")


@dataclass(frozen=True)
class Predict:
    """Predict the probability of 'cell' for every pixel, by the overlap-tile strategy (Fig. 2)."""

    image: Positional[Path]
    """TIFF with one or many images of any size, of the type the network was trained on."""
    checkpoint: Path
    """Folder of a run, or one of its .safetensors files."""
    output: Path
    """TIFF to write: float32, 0 = membrane or background, 1 = cell."""
    averaging: Literal["rotations7", "dihedral8", "flips4", "none"] | None = None
    """Views that are averaged; default: as in the run's settings. none is 7-8 times as fast."""
    largest_input_tile_px: int | None = None
    """Upper bound of an input tile's side, which bounds a tile's memory; default: the run's."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""

    def run(self) -> None:
        device = resolve_device(self.device)
        refuse_kept("--output", self.output, self.checkpoint)
        writable_outputs(
            {"--output": self.output}, {"image": self.image, "checkpoint": self.checkpoint}
        )
        checkpoint = load_checkpoint(self.checkpoint)
        _note_if_unfinished(self.checkpoint, checkpoint)
        if "gray_scale" not in checkpoint.data:
            raise ValueError(
                f"{self.checkpoint}: does not say which gray values are black and white"
            )
        scale = GrayScale.from_dict(checkpoint.data["gray_scale"])
        stack = read_stack(self.image)
        settings = checkpoint.config.prediction
        if self.averaging is not None:
            settings = replace(settings, averaging=self.averaging)
        if self.largest_input_tile_px is not None:
            settings = replace(settings, largest_input_tile_px=self.largest_input_tile_px)
        try:
            for plane in stack:  # before the long work; kept of one slice at a time only
                scale.apply(plane)
        except ValueError as error:
            raise ValueError(f"{self.image}: {error}") from error
        try:
            network = checkpoint.network().to(device)
        except ValueError as error:
            raise ValueError(f"{self.checkpoint}: {error}") from error
        write_stack(self.output, predict_gray(network, stack, scale, settings, device=device))
        print(self.output)


@dataclass(frozen=True)
class Evaluate:
    """Score a prediction with the metrics of the ISBI 2012 challenge."""

    labels: Positional[Path]
    """TIFF with the true segmentation: 0 = membrane, one other value = cell."""
    prediction: Positional[Path]
    """TIFF with the probability of 'cell', float in [0, 1], as large as the labels."""
    protocol: Literal["2015", "2016"] = "2015"
    """2015: what the paper's Table 1 was scored with, as far as the organisers' public scripts
    tell. 2016: the script in today's archive."""
    slices: tuple[int, ...] | None = None
    """Slices to score, from 0; default: all (protocol 2016: 2, 5, 8, …)."""
    json: Path | None = None
    """JSON file for all figures with their curves over the thresholds."""
    figure: Path | None = None
    """PNG file: the curves, and one slice's topological errors in colour."""

    def run(self) -> None:
        from unet2015.cli.evaluation import evaluate  # matplotlib takes its time to load

        print(
            evaluate(
                self.labels,
                self.prediction,
                protocol=self.protocol,
                slices=self.slices,
                json=self.json,
                figure=self.figure,
            )
        )


@dataclass(frozen=True)
class WeightMap:
    """Write the pixel-wise loss weight w(x) of a segmentation (paper §3, Eq. 2, Fig. 3)."""

    labels: Positional[Path]
    """TIFF with the labels."""
    output: Path
    """TIFF to write, float32."""
    label_kind: LabelKind = "binary"
    """binary: 0 = membrane or background, one other value = cell. instances: one number per
    cell."""
    figure: Path | None = None
    """PNG file with the cells and the weights of the first slice (paper Fig. 3)."""
    config: Annotated[WeightMapConfig, arg(name="")] = field(default_factory=WeightMapConfig)

    def run(self) -> None:
        writable_outputs(
            {"--output": self.output, "--figure": self.figure}, {"labels": self.labels}
        )
        labels = _read_labels(self.labels, self.label_kind)
        cells = [cells_of(plane, self.label_kind, self.config) for plane in labels]
        try:
            weights = weight_maps(cells, self.config)
        except OneClass as error:
            raise ValueError(f"{self.labels}: {error} (--class-weights none)") from error
        write_stack(self.output, np.stack(weights))
        if self.figure is not None:
            from unet2015.reports.figures import (
                weight_map_figure,  # matplotlib takes its time to load
            )

            weight_map_figure(None, cells[0], weights[0], self.figure)
        print(self.output)


@dataclass(frozen=True)
class Benchmark:
    """Time one part of the project beside a plain counterpart, side by side in one run."""

    part: Positional[Literal["train", "predict", "augment", "weight-map", "metrics"]]
    """train: a step of the full-size network; on CUDA in three precisions, eager, compiled, as a
    graph, and both. predict: a 512 × 512 px slice. augment: a training tile. weight-map: Eq. 2 of a
    slice. metrics: the challenge's, 30 × 512 × 512, all thresholds."""
    device: str = "auto"
    """For train and predict: auto, cpu, cuda or cuda:1."""
    json: Path | None = None
    """File for the record; reproduce/tables.py makes a page of those in results/benchmarks/."""
    ways: tuple[Compile, ...] = ()
    """For train on CUDA: how a step runs, as --compile of train; default: all ways, compiled ones
    last."""
    precisions: tuple[Literal["float32", "tf32", "bfloat16"], ...] = ()
    """For train on CUDA; default: all."""

    def run(self) -> None:
        from unet2015 import benchmarks

        device = resolve_device(self.device)
        if self.json is not None:
            writable_file(self.json, "--json")
        benchmarks.run(self.part, device, self.json, ways=self.ways, precisions=self.precisions)


Command = Train | Predict | Evaluate | WeightMap | Benchmark | OverfitSearch


def parse(argv: list[str] | None = None) -> Command:
    """The command with its options; --experiment decides the defaults of all settings."""
    argv = sys.argv[1:] if argv is None else argv
    experiment = option_before_others("--experiment", ["quick", *experiments.names()], argv)
    given: Any = MISSING
    config = experiments.load(experiment)
    defaults = Train(given, given, given, config=config)
    commands = (
        Annotated[Train, subcommand("train", default=defaults)]
        | Annotated[Predict, subcommand("predict")]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[WeightMap, subcommand("weight-map")]
        | Annotated[Benchmark, subcommand("benchmark")]
        | Annotated[OverfitSearch, subcommand("overfit", default=OverfitSearch(config=config))]
    )
    return parse_options(
        commands,
        argv,
        commands=("train", "predict", "evaluate", "weight-map", "benchmark", "overfit"),
        description=__doc__,
        prog="python -m unet2015",
    )


def _read_labels(
    path: Path, kind: LabelKind, shape: tuple[int, int, int] | None = None
) -> np.ndarray:
    read = read_binary_labels if kind == "binary" else read_instance_labels
    return read(path, shape)


def _note_if_unfinished(path: Path, checkpoint: Checkpoint) -> None:
    """Say on stderr that the weights are not those of the end of the training."""
    steps = checkpoint.config.training.steps
    if checkpoint.step < steps:
        what = f"the run in {path} is" if path.is_dir() else f"{path} is of a run"
        print(f"note: {what} at step {checkpoint.step} of {steps}", file=sys.stderr)


def _gray_scale(
    stack: np.ndarray, path: Path, value_range: tuple[float, float] | None, gray_values: GrayValues
) -> GrayScale:
    """The scale of the images, with a warning if they use only a small part of it."""
    try:
        scale = GrayScale.of(stack, value_range, gray_values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    least, most = float(stack.min()), float(stack.max())
    if most - least < (scale.high - scale.low) / 8:
        print(
            f"warning: {path} has gray values {least:g} to {most:g} only, on a scale from "
            f"{scale.low:g} to {scale.high:g}; a 12-bit camera's are --value-range 0 4095",
            file=sys.stderr,
        )
    return scale


if __name__ == "__main__":
    run_command(lambda: parse().run())
