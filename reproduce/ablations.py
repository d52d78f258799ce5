"""Which part of the recipe matters: one difference from the baseline at a time.

    python reproduce/ablations.py --preset quick                  # two CPU cores, about 45 minutes
    python reproduce/ablations.py --preset quick --arms all       # every arm, several hours
    python reproduce/ablations.py --preset long --processes 2     # at 500, 2000 and 8000 steps
    python reproduce/ablations.py --preset paper --processes 4    # needs accelerators
    python reproduce/ablations.py --dataset DIC-C2DH-HeLa         # 16 runs of about 12 minutes

On the EM stack unless told otherwise; --dataset PhC-C2DH-U373 or DIC-C2DH-HeLa takes a cell
tracking set. There, a fold is a direction: fold 1 is trained on sequence 01 and scored on 02, fold
2 is trained on 02 and scored on 01.

Every arm is a file in experiments/. It is run on the same folds, with the same seeds, sequence of
samples, number of steps and learning rate as the baseline, and compared with it pair by pair. Arms
that differ in prediction only use the baseline's networks. `long` compares at several lengths
(--lengths), for an arm may lose at first and pay later; a longer run begins with the shorter one.

What it leaves: one record per arm, fold and seed in results/runs/; results/ablations.md (of a cell
tracking set, results/ablations_<dataset>.md) and results/figures/ablations_*.png, made from the
records alone; checkpoints in runs/. The same command continues where it was cut off, and does
nothing twice. With `--processes` or `--scheduler` the runs are spread over processes, GPUs or
machines by Dask; all need the same files.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from unet2015 import experiments
from unet2015.cli.options import FLAT, parse_options
from unet2015.cli.run import run_command
from unet2015.config import ExperimentConfig, config_hash
from unet2015.data.cell_tracking import RELEASES, load_cell_tracking
from unet2015.data.isbi2012 import load_isbi2012
from unet2015.data.phantom import phantom_stack
from unet2015.inference.instances import InstanceConfig
from unet2015.model import valid_output_size
from unet2015.reports.ablations import write_ablations
from unet2015.reports.statistics import BASELINE, FINISHED, refuse_other_data
from unet2015.runtime import distributed
from unet2015.runtime.atomic import writable_folder
from unet2015.runtime.record import code_version, command_line, read_records
from unet2015.studies.ablation import Job, run_jobs, still_to_do, training_hashes
from unet2015.studies.ablation_data import SETS, Data, cells_fit, costs
from unet2015.studies.budget import Budget
from unet2015.training.engine import Engine

RESULTS = Path(__file__).resolve().parents[1] / "results"
Preset = Literal["quick", "long", "paper"]
Dataset = Literal["isbi2012", "phantom", "PhC-C2DH-U373", "DIC-C2DH-HeLa"]
_FIRST_ASKED = ("batch_norm", "same_padding", "no_rotation")
ASKED = {"quick": _FIRST_ASKED, "long": (*_FIRST_ASKED, "no_border_weight"), "paper": ("all",)}
"""The arms that a preset runs unless told otherwise."""
LONG = {"lengths": (500, 2000, 8000), "seeds": (0, 1, 2, 3)}
"""Of `long`: steps at which it compares, four times as many each time, and seeds, which give eight
pairs with two folds (our choice)."""


@dataclass(frozen=True)
class Options:
    """Compare arms with the baseline, on the same folds and with the same seeds.

    Settings (--training.steps …) change the baseline and thereby all arms; such runs get a section
    of their own.
    """

    FIRST: ClassVar = ("preset", "arms", "dataset", "folds", "seeds", "lengths", "minutes")

    _: KW_ONLY
    preset: Preset = "quick"
    """quick: two CPU cores. long: two CPU cores too, at several lengths. paper: the paper's
    settings, needs an accelerator."""
    arms: tuple[str, ...] = ()
    """Names of experiments, or 'all'; default: batch_norm same_padding no_rotation for quick, these
    and no_border_weight for long, all for paper. The baseline is always run."""
    dataset: Dataset = "isbi2012"
    """isbi2012, the EM stack; quick takes the phantom where there is none. The phantom and each
    cell tracking set have a page of their own."""
    data: Path | None = None
    """Folder with train-volume.tif and train-labels.tif, or the cell tracking set's (or what holds
    it); otherwise $UNET2015_DATA/<dataset>, the per-user cache, or a download."""
    folds: tuple[int, ...] = (1, 4)
    """EM stack: held-out folds, 0-4; 0 is for choosing settings. Cell tracking, where 1 2 is the
    default: directions, 1 = train on 01 and score 02, 2 = train on 02 and score 01."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds of initialisation, sample order, augmentation and drop-out; default: 0 1, for long 0 1
    2 3."""
    lengths: tuple[int, ...] = ()
    """Numbers of steps at which to compare; default: 500 2000 8000 for long, else
    --training.steps alone. A longer run begins with the shorter one where the rate is constant at
    first and then falls (--training.schedule constant_then_fall)."""
    processes: int = 0
    """On this machine, each with its share of the cores or one GPU; 0: none but this."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, tcp://…, also of dask-jobqueue's (SLURM)."""
    output: Path = Path("runs")
    """Folder for checkpoints and predictions."""
    results: Path = RESULTS
    """Folder of the records, the page and the figures."""
    budget: Annotated[Budget, FLAT] = field(default_factory=Budget)
    engine: Annotated[Engine, FLAT] = field(default_factory=Engine)
    instances: InstanceConfig = field(default_factory=InstanceConfig)
    """How cells are found, on a cell tracking set."""
    config: Annotated[ExperimentConfig, FLAT] = field(default_factory=ExperimentConfig)

    @property
    def base(self) -> str:
        """The file in experiments/ that is the baseline."""
        return SETS[self.dataset].bases[self.preset]

    @property
    def preset_in_record(self) -> str:
        """The preset, marked where its settings were changed on the command line."""
        same = self.instances == experiments.instances(self.base)
        return experiments.preset_in_record(self.preset, self.base, self.config, as_it_is=same)


def _with_steps(config: ExperimentConfig, steps: int) -> ExperimentConfig:
    return replace(config, training=replace(config.training, steps=steps))


def data_loader(options: Options) -> Callable[[], Data]:
    """What gives the data, here and in workers; for quick, the phantom where is no EM stack."""
    if options.dataset in RELEASES:
        folder = options.data
        if folder is not None and (folder / options.dataset).is_dir():
            folder = folder / options.dataset
        return partial(load_cell_tracking, options.dataset, folder)
    phantom = partial(phantom_stack, seed=0)
    if options.dataset == "phantom":
        if options.preset != "quick":
            raise ValueError(
                f"--dataset phantom: preset {options.preset} runs on the real stack only; use "
                "--preset quick"
            )
        return phantom
    real = partial(load_isbi2012, options.data)
    try:
        real()
    except FileNotFoundError as error:
        if options.preset != "quick" or options.data is not None:
            raise
        print(error, file=sys.stderr)
        print("PHANTOM: runs on a procedural stand-in, NOT the EM stack; it has its own page.")
        return phantom
    return real


def configurations(options: Options) -> dict[str, ExperimentConfig]:
    """The configuration of the baseline and of each arm; ValueError for what cannot be run."""
    base = options.config
    asked = options.arms or ASKED[options.preset]
    names = experiments.arms() if "all" in asked else list(dict.fromkeys(asked))
    found = {BASELINE: base}
    for name in names:
        if name == BASELINE:
            continue
        config = experiments.arm(name, base)
        if config != base:
            found[name] = config
        elif name in options.arms:  # asked for by name; by default it is left out
            raise ValueError(
                f"--arms {name}: changes nothing, as preset {options.preset} has this in its "
                f"baseline on {options.dataset} (experiments/{options.base}.py)"
            )
    for config in found.values():
        model = config.model
        valid_output_size(config.training.input_tile_px, model.depth, model.padding)
    return found


def check(options: Options) -> None:
    """Refuse what cannot be run, before anything long begins."""
    limits = SETS[options.dataset].fold_limits
    for name, numbers, (least, most) in (
        ("folds", options.folds, limits),
        ("seeds", options.seeds, (0, 2**31)),
        ("lengths", options.lengths or (1,), (1, 10**8)),
    ):
        if (
            not numbers
            or len(set(numbers)) < len(numbers)
            or not least <= min(numbers) <= max(numbers) <= most
        ):
            shown = " ".join(map(str, numbers))
            raise ValueError(f"--{name} {shown}: must be different numbers {least} … {most}")
    if options.dataset not in RELEASES and options.instances != InstanceConfig():
        raise ValueError(
            f"--instances: no cells are found on {options.dataset}; drop it, or give --dataset "
            f"{' or '.join(RELEASES)}"
        )
    if options.processes < 0 or (options.processes and options.scheduler):
        raise ValueError(
            f"--processes {options.processes}: must be ≥ 0, and 0 with --scheduler, whose own run"
        )
    options.budget.check()
    if options.budget.minutes is not None and options.lengths:
        raise ValueError(
            f"--minutes {options.budget.minutes:g}: plans one number of steps, and --lengths "
            f"{' '.join(map(str, options.lengths))} are several; drop one of the two"
        )
    if options.budget.minutes is not None and (options.processes or options.scheduler):
        raise ValueError(
            f"--minutes {options.budget.minutes:g}: a plan is made for runs one after the other; "
            "drop --processes and --scheduler, or give --training.steps"
        )
    options.engine.check()
    if distributed.count() > 1:
        raise ValueError("torchrun: an ablation is spread with --processes N or --scheduler")
    writable_folder(options.output, "--output")
    writable_folder(options.results / "runs", "--results")


def with_planned_steps(
    options: Options, data: Data, began: float
) -> tuple[Options, dict[str, Any] | None]:
    """The options with the steps that fit into --minutes, the same in all runs, and the plan."""
    configs, folds, seeds = configurations(options), options.folds, options.seeds
    way = {**options.engine.way(), "seed": 0}
    runs = {"experiment": "ablations", "dataset": data.name, "arms": list(configs)}
    base, plan = options.budget.plan(
        options.output,
        runs | {"folds": list(folds), "seeds": list(seeds)},
        options.config,
        lambda: costs(data, folds[0], configs, options.instances, **way) * len(folds) * len(seeds),
        began=began,
    )
    return replace(options, config=base), plan.get("plan")


def jobs_of(
    options: Options, configs: Mapping[str, ExperimentConfig], plan: Mapping[str, Any] | None
) -> list[Job]:
    """The runs of all arms on all folds with all seeds, of all lengths."""
    code = code_version()
    lengths = sorted(options.lengths) or [options.config.training.steps]
    return [
        Job(
            arm=arm,
            question="" if arm == BASELINE else experiments.question(arm),
            preset=options.preset_in_record,
            baseline=_with_steps(options.config, steps),
            config=_with_steps(config, steps),
            shorter_steps=shorter,
            fold=fold,
            seed=seed,
            output=options.output,
            records=options.results / "runs",
            command=command_line(),
            code=code,
            cells=options.instances,
            engine=options.engine,
            plan=plan,
        )
        for shorter, steps in zip([None, *lengths], lengths, strict=False)
        for fold in options.folds
        for seed in options.seeds
        for arm, config in configs.items()
    ]


def main(options: Options) -> None:
    began = time.monotonic()
    check(options)
    configurations(options)  # what cannot be run is refused before the data are read
    load = data_loader(options)
    data = load()
    print(f"data: {data.source}")
    cells_fit(data, options.instances)
    options, plan = with_planned_steps(options, data, began)
    configs = configurations(options)
    jobs = jobs_of(options, configs, plan)
    to_do = still_to_do(jobs, data)
    if to_do:
        known = read_records(options.results / "runs", "ablation")
        for baseline in {config_hash(job.baseline) for job in to_do}:
            table = (options.preset_in_record, data.name, baseline)
            refuse_other_data(known, training_hashes(data), table)
    print(
        f"{len(jobs)} runs, {len(to_do)} of them without a record yet: {', '.join(configs)}; "
        f"folds {options.folds}, seeds {options.seeds}"
        + (f", steps {options.lengths}" if options.lengths else "")
    )
    outcomes = run_jobs(jobs, load, workers=options.processes, scheduler=options.scheduler)
    pages = write_ablations(options.results)
    print("written: " + ", ".join(map(str, pages)))
    for name in [name for name, outcome in outcomes.items() if outcome != FINISHED]:
        print(f"{outcomes[name]}: {name}")


def defaults(*, preset: Preset = "quick", dataset: Dataset = "isbi2012") -> dict[str, Any]:
    """What preset and data set decide: folds and all settings, of `long` lengths and seeds too."""
    base = SETS[dataset].bases[preset]
    cells, config = experiments.instances(base), experiments.load(base)
    given = {"folds": SETS[dataset].folds, "instances": cells, "config": config}
    return given | (LONG if preset == "long" else {})


def options_from(argv: list[str] | None = None) -> Options:
    """The command line."""
    return parse_options(Options, argv, defaults=defaults, about=__doc__)


if __name__ == "__main__":
    run_command(lambda: main(options_from()))
