"""The paper's Table 2: segment the cells of PhC-C2DH-U373 and DIC-C2DH-HeLa, score, tabulate.

    python reproduce/cell_tracking.py --datasets PhC-C2DH-U373 --train-on 01    # one of four parts
    python reproduce/cell_tracking.py                   # all four, two CPU cores, 12 minutes each
    python reproduce/cell_tracking.py --preset paper    # all four, needs an accelerator
    python reproduce/cell_tracking.py --arm no_border_weight    # what do the border weights do?

The challenge's test sequences are secret, so one of the two training sequences is left out: the
network is trained on the gold masks of the other, and the cells that it finds in the one left out
are scored with SEG, which the paper's table calls IOU. Both directions are run. `--hold-out 3`
scores the last three annotated frames of the training sequence instead, for choosing settings
without a look at the one that is left out. `--all-frames` also segments all frames of that one, as
the challenge takes them in: runs/<name>/<cells>/02_RES/mask000.tif ….

What it leaves, for each data set and direction: checkpoints, history.csv, probability.tif, cells
and pictures in runs/<name>/; a record in results/runs/; the page results/cell_tracking.md. The same
command continues a run that was cut off, and does nothing twice. The images may not be passed on:
no picture of them leaves runs/.
"""

import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from unet2015 import experiments
from unet2015.cli.options import FLAT, parse_options
from unet2015.cli.run import run_command
from unet2015.config import ExperimentConfig, differences
from unet2015.data.cell_tracking import SEQUENCES, CellTracking, load_cell_tracking
from unet2015.inference.instances import InstanceConfig
from unet2015.reports.cell_tracking import PRESETS, write_cell_tracking
from unet2015.runtime import distributed
from unet2015.runtime.atomic import own_folder, writable_folder
from unet2015.studies import cell_tracking
from unet2015.studies.budget import Budget
from unet2015.studies.cell_tracking_figures import draw
from unet2015.studies.session import Session, complete_already
from unet2015.training.engine import Engine

RESULTS = Path(__file__).resolve().parents[1] / "results"
Preset = Literal["quick", "paper"]
Dataset = Literal["PhC-C2DH-U373", "DIC-C2DH-HeLa"]
EMArm = Literal["no_border_weight", "no_class_weight", "no_elastic"]
Arm = Literal["none", EMArm, "cell_tracking_no_ridge", "cell_tracking_later_weights"]


@dataclass(frozen=True)
class Options:
    """The U-Net on the cell tracking sets. Settings default to those of preset and arm."""

    FIRST: ClassVar = ("preset", "arm", "datasets", "train_on", "data", "minutes")

    _: KW_ONLY
    preset: Preset = "quick"
    """quick: two CPU cores, 12 minutes a part. paper: what the paper states, nothing else."""
    arm: Arm = "none"
    """Ablation: the preset with one difference, that of the file in experiments/."""
    datasets: tuple[Dataset, ...] = ("PhC-C2DH-U373", "DIC-C2DH-HeLa")
    """Data sets to run."""
    train_on: tuple[Literal["01", "02"], ...] = SEQUENCES
    """Sequences to train on, one after the other; the other one is scored."""
    hold_out: int = 0
    """Leave so many annotated frames of the training sequence out, and score them instead."""
    all_frames: bool = False
    """Also write the masks of all frames of the scored sequence, in the challenge's layout."""
    data: Path | None = None
    """Folder that holds PhC-C2DH-U373/ and DIC-C2DH-HeLa/ (or is one of them, if it alone is
    run); otherwise $UNET2015_DATA, the per-user cache, or a download."""
    seed: int = 0
    """Seed of initialisation, sample order, augmentation and drop-out."""
    output: Path = Path("runs")
    """Folder for checkpoints, predictions, masks and pictures."""
    results: Path = RESULTS
    """Folder of the records and the page."""
    budget: Annotated[Budget, FLAT] = field(default_factory=Budget)
    engine: Annotated[Engine, FLAT] = field(default_factory=Engine)
    instances: InstanceConfig = field(default_factory=InstanceConfig)
    config: Annotated[ExperimentConfig, FLAT] = field(default_factory=ExperimentConfig)

    @property
    def preset_in_record(self) -> str:
        """The preset, marked where its settings were changed on the command line."""
        same = self.instances == cells_of(self.preset) and distributed.count() == 1
        base = settings_of(self.preset, self.arm)
        return experiments.preset_in_record(
            self.preset, PRESETS[self.preset], self.config, base=base, as_it_is=same
        )

    @property
    def way(self) -> dict[str, Any]:
        """How it is trained: what a direction and the timing before it share."""
        return {**self.engine.way(), "seed": self.seed}


def settings_of(preset: str, arm: str) -> ExperimentConfig:
    """The settings of a preset with an arm's change."""
    config = experiments.load(PRESETS[preset])
    if arm == "none":
        return config
    changed = import_module(f"unet2015.experiments.{arm}").change(config)
    if changed == config:
        raise ValueError(f"--arm {arm}: changes nothing, as --preset {preset} is so already")
    return changed


def cells_of(preset: str) -> InstanceConfig:
    """How a preset finds the cells in the probability."""
    return experiments.instances(PRESETS[preset])


def load(options: Options) -> list[CellTracking]:
    """The data sets; FileNotFoundError names every way to supply one that is missing."""
    sets = []
    for name in options.datasets:
        folder = options.data
        if folder is not None and (len(options.datasets) > 1 or (folder / name).is_dir()):
            folder = folder / name
        sets.append(load_cell_tracking(name, folder))
        print(f"data: {sets[-1].source}")
    return sets


def with_planned_steps(
    options: Options, parts: Sequence[cell_tracking.Part], began: float
) -> tuple[Options, dict[str, Any]]:
    """The options with the steps that fit into --minutes, and the plan for the records."""
    named = [[data.name, split.train.name, split.hold_out] for data, split in parts]
    config, plan = options.budget.plan(
        options.output,
        {"experiment": "cell_tracking", "parts": named, "seed": options.seed},
        options.config,
        lambda: cell_tracking.costs(parts, options.config, options.instances, **options.way),
        began=began,
    )
    return replace(options, config=config), plan


def run(
    options: Options,
    data: CellTracking,
    split: cell_tracking.Split,
    folder: Path,
    *,
    plan: dict[str, Any],
    estimate: bool,
    resumed: bool,
) -> None:
    """One data set and direction, from training to the record."""
    session = Session.begin()
    direction = cell_tracking.run_direction(
        split,
        options.config,
        options.instances,
        folder,
        name=f"trained on {split.train.name}",
        estimate=estimate,
        checkpoint_every_s=options.engine.checkpoint_every_s,
        **options.way,
    )
    if direction is None:
        return  # of several processes, the first alone goes on
    draw(direction)
    summary: dict[str, Any] = direction.summary()
    summary |= {"experiment": "cell_tracking", "preset": options.preset_in_record}
    summary |= {"dataset": data.name, "arm": options.arm}
    paper = experiments.load(PRESETS["paper"])
    record = session.leave_record(
        summary | {"resumed": resumed} | plan,
        options.results / "runs",
        folder / mark(options),
        config=options.config,
        seed=options.seed,
        data_hashes=data.hashes,
        deviations=differences(options.config, paper) + distributed.deviations(),
    )
    found = summary["scores"]
    print(f"SEG {found['seg']:.4f}, IoU of the foreground {found['foreground_iou']:.4f}: {record}")


def mark(options: Options) -> str:
    """The file in a run's folder that names its record, once there is one."""
    return f"record-{options.instances.tag}.txt"


def reproduce(
    options: Options, data: CellTracking, split: cell_tracking.Split, **about: Any
) -> None:
    """One data set and direction; what is there already is not done again."""
    name = (options.preset, options.arm, data.name, split, options.seed, options.config)
    folder = options.output / cell_tracking.run_name(*name)
    print(f"\n{data.name}, trained on {split.train.name}, scored on {split.scored.name}")
    resumed = folder.exists()
    with distributed.alone_in(own_folder(folder)):
        if not complete_already(options.results / "runs", folder / mark(options)):
            run(options, data, split, folder, resumed=resumed, **about)
        if options.all_frames and distributed.is_writer():
            masks = cell_tracking.write_masks(
                data, split.scored.name, folder, options.instances, options.way["device"]
            )
            print(f"masks of all frames: {masks}")


def check(options: Options) -> None:
    """Refuse what cannot be run, before anything is read or written."""
    options.budget.check()
    options.engine.check()
    if options.all_frames and options.hold_out:
        raise ValueError("--all-frames: segments the sequence that is left out; drop --hold-out")
    for option, given in (("datasets", options.datasets), ("train-on", options.train_on)):
        if not given or len(set(given)) < len(given):
            raise ValueError(f"--{option} {' '.join(given)}: must be one or two, each once")
    writable_folder(options.output, "--output")
    writable_folder(options.results / "runs", "--results")


def main(options: Options) -> None:
    began = time.monotonic()
    check(options)
    split, sets = cell_tracking.split_frames, load(options)
    parts = [(data, split(data, k, options.hold_out)) for data in sets for k in options.train_on]
    options, plan = with_planned_steps(options, parts, began)
    for number, part in enumerate(parts):
        estimate = options.preset == "paper" and not plan and number == 0
        reproduce(options, *part, plan=plan, estimate=estimate)
    if distributed.is_writer():
        pages = write_cell_tracking(options.results)
        print("\ntables: " + ", ".join(map(str, pages)))


def defaults(*, preset: Preset = "quick", arm: Arm = "none") -> dict[str, Any]:
    """What preset and arm decide: the defaults of all settings."""
    return {"instances": cells_of(preset), "config": settings_of(preset, arm)}


def options_from(argv: list[str] | None = None) -> Options:
    """The command line."""
    return parse_options(Options, argv, defaults=defaults, about=__doc__)


if __name__ == "__main__":
    run_command(lambda: main(options_from()))
