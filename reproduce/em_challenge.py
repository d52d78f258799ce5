"""The paper's Table 1: train the U-Net on the ISBI 2012 EM stack, predict, score, tabulate.

    python reproduce/em_challenge.py --preset quick    # two CPU cores, about 5 minutes
    python reproduce/em_challenge.py --preset hour     # two CPU cores, the paper's recipe, narrower
    python reproduce/em_challenge.py --preset paper    # five folds, needs an accelerator
    python reproduce/em_challenge.py --preset paper --minutes 30    # as many steps as fit into that

The 30 training slices are cut into five contiguous folds of six (0-5, …, 24-29). For each fold
the network is trained on the other 24 slices and predicts the six held-out ones, which are scored
with the challenge's metrics; several folds are pooled. `--submit` trains on all 30 and predicts
the challenge's test volume. `quick` and `hour` run the last fold only, with every deviation from
the paper listed in experiments/quick.py and experiments/hour.py.

What it leaves: checkpoints, history.csv, probability.tif and pictures per fold in runs/<name>/; a
record in results/runs/; the page results/em_challenge.md with our row in the paper's table. The
same command continues a run that was cut off, and does nothing twice.
"""

from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from unet2015 import experiments
from unet2015.cli.evaluation import score_table
from unet2015.cli.options import FLAT, parse_options
from unet2015.cli.run import run_command
from unet2015.config import ExperimentConfig, differences
from unet2015.data.isbi2012 import EMStack, five_folds
from unet2015.metrics import challenge_scores
from unet2015.reports import records
from unet2015.reports.em_challenge import PRESETS, claimed_row, row_of, write_em_challenge
from unet2015.runtime import distributed
from unet2015.runtime.atomic import own_folder, writable_folder
from unet2015.studies import em
from unet2015.studies.budget import Budget
from unet2015.studies.run_folder import PROBABILITY
from unet2015.studies.session import Session, complete_already
from unet2015.training.engine import Engine

RESULTS = Path(__file__).resolve().parents[1] / "results"

Preset = Literal["quick", "hour", "paper"]


@dataclass(frozen=True)
class Options:
    """Train, predict and score the U-Net on the ISBI 2012 EM stack (paper, Table 1).

    A run that was cut off continues with the same command. Settings (--training.steps …) default
    to the preset's; a run with other ones gets a row of its own in the table.
    """

    FIRST: ClassVar = ("preset", "data", "folds", "submit", "seed", "minutes")

    _: KW_ONLY
    preset: Preset = "quick"
    """quick: two CPU cores, about 5 minutes. hour: two CPU cores, the paper's recipe in a narrower
    network. paper: all that the paper states; the rest is our choice (README, Open questions)."""
    data: Path | None = None
    """Folder with train-volume.tif and train-labels.tif; otherwise $UNET2015_DATA/isbi2012, the
    per-user cache, or a download."""
    phantom: bool = False
    """Use the procedural phantom even where the real stack could be had (preset quick only)."""
    folds: tuple[int, ...] | None = None
    """Folds to run, 0-4; default: 4 for quick and hour, all five for paper. None (--folds alone):
    with --submit only."""
    submit: bool = False
    """Also train on all slices and predict the challenge's test volume."""
    seed: int = 0
    """Seed of initialisation, sample order, augmentation and drop-out."""
    output: Path = Path("runs")
    """Folder for checkpoints and predictions."""
    results: Path = RESULTS
    """Folder of the records, the tables and the figures."""
    tensorboard: bool = False
    """Also write TensorBoard files (pip install tensorboard)."""
    budget: Annotated[Budget, FLAT] = field(default_factory=Budget)
    engine: Annotated[Engine, FLAT] = field(default_factory=Engine)
    config: Annotated[ExperimentConfig, FLAT] = field(default_factory=ExperimentConfig)

    @property
    def preset_in_record(self) -> str:
        """The preset, marked where its settings were changed on the command line."""
        alone = distributed.count() == 1
        return experiments.preset_in_record(self.preset, self.preset, self.config, as_it_is=alone)

    @property
    def way(self) -> dict[str, Any]:
        """How it is trained: what `em.run_part` and the timing before it share."""
        return {**self.engine.way(), "seed": self.seed}


def with_planned_steps(
    options: Options, stack: EMStack, folds: tuple[int, ...], began: float
) -> tuple[Options, dict[str, Any]]:
    """The options with the steps that fit into --minutes, and the plan for the record."""
    parts = parts_tag(folds, options.submit)
    runs = {"experiment": "em_challenge", "dataset": stack.name, "parts": parts}
    config, plan = options.budget.plan(
        options.output,
        runs | {"seed": options.seed},
        options.config,
        lambda: em.costs(stack, folds, options.submit, options.config, **options.way),
        began=began,
    )
    return replace(options, config=config), plan


def parts_tag(folds: tuple[int, ...], submit: bool) -> str:
    """The parts of a command in the names of its files."""
    return f"folds{''.join(map(str, folds))}{'-submit' * submit}"


def run(options: Options, stack: EMStack, folds: tuple[int, ...], folder: Path) -> dict[str, Any]:
    """Everything that was asked for, as the record's fields."""
    common: dict[str, Any] = options.way | {
        "checkpoint_every_s": options.engine.checkpoint_every_s,
        "tensorboard": options.tensorboard,
    }
    parts: list[em.Part] = []
    config = options.config
    for fold in folds:
        held_out = list(five_folds(len(stack.train_images))[fold])
        part = em.run_part(
            stack,
            held_out,
            config,
            folder / f"fold{fold}",
            name=f"fold {fold}",
            estimate=options.preset != "quick" and not options.budget.minutes and not parts,
            **common,
        )
        if part is not None:  # of several processes, the first alone goes on
            parts.append(part)
    test_volume = None
    if options.submit:
        part = em.run_part(stack, None, config, folder / "all", name="all slices", **common)
        if part is not None:
            print(f"ready for the challenge: {part.folder / PROBABILITY}")
            test_volume = part.summary() | em.test_scores(stack, part)
    if not distributed.is_writer():
        return {}
    # scored and drawn when all networks are trained: a GPU would wait for it
    entries = {}
    for fold, part in zip(folds, parts, strict=True):
        em.draw(stack, part)
        truth = stack.train_labels[part.predicted]
        found = challenge_scores(truth, part.probability)
        entries[str(fold)] = part.summary() | {
            "scores": em.for_record(found, truth, part.probability)
        }
    slices, pooled = [], None
    if parts:
        slices, found, pooled = em.pooled(stack, parts)
        print(f"\n{len(slices)} held-out slices:\n{score_table(found)}\n")
    return {
        "experiment": "em_challenge",
        "preset": options.preset_in_record,
        "dataset": stack.name,
        "scores_protocol": "2015",
        "folds": entries,
        "pooled": pooled,
        "pooled_slices": slices,
        "test_volume": test_volume,
    }


def check(options: Options) -> tuple[int, ...]:
    """The folds to run; ValueError for what cannot be run, before anything long begins."""
    folds = PRESETS[options.preset] if options.folds is None else options.folds
    if len(set(folds)) < len(folds) or not set(folds) <= set(range(5)):
        raise ValueError(f"--folds {' '.join(map(str, folds))}: must be different numbers 0 … 4")
    if not folds and not options.submit:
        raise ValueError("--folds (none given): must be numbers 0 … 4; only --submit needs none")
    options.budget.check()
    options.engine.check()
    writable_folder(options.output, "--output")
    writable_folder(options.results / "runs", "--results")
    return tuple(sorted(folds))


def main(options: Options) -> None:
    session = Session.begin()
    folds = check(options)
    if options.phantom and options.preset != "quick":
        raise ValueError(
            f"--phantom: preset {options.preset} runs on the real stack only; use --preset quick"
        )
    # quick, and no other, falls back to the phantom where there are no data
    fallback = options.preset == "quick" and options.data is None
    stack = em.load_stack(options.data, phantom=options.phantom, fallback=fallback)
    if options.submit and stack.test_images is None:
        raise ValueError("--submit: the data have no test-volume.tif")
    print(f"data: {stack.source}")
    options, plan = with_planned_steps(options, stack, folds, session.began)
    name = em.run_name(options.preset, stack.name, options.seed, options.config)
    folder, kept = options.output / name, options.results / "runs"
    mark = folder / f"record-{parts_tag(folds, options.submit)}.txt"
    resumed = folder.exists()
    with ExitStack() as parts:  # others may be at work on other folds
        for part in [f"fold{fold}" for fold in folds] + ["all"] * options.submit:
            parts.enter_context(distributed.alone_in(own_folder(own_folder(folder) / part)))
        record = complete_already(kept, mark)
        results = {} if record else run(options, stack, folds, folder)
        if not distributed.is_writer():
            return
        if record is None:
            paper = experiments.load("paper")
            record = session.leave_record(
                results | plan | {"resumed": resumed, "processes": distributed.count()},
                kept,
                mark,
                config=options.config,
                seed=options.seed,
                data_hashes=stack.hashes,
                deviations=differences(options.config, paper) + distributed.deviations(),
            )
            print(f"record: {record}")
        show(options, stack, folder, record)


def show(options: Options, stack: EMStack, folder: Path, record: Path) -> None:
    """Pictures and pages of a run that has its record; done again, the same comes of it."""
    found = records.read(options.results, "em_challenge")
    # README.md shows pictures of what its table shows, and of nothing else
    shown = claimed_row(found, options.preset)
    if options.seed == 0 and shown and record.stem in [run["name"] for run in shown["runs"]]:
        fold = max(shown["folds"])
        em.publish(folder / f"fold{fold}", options.results, options.preset, stack)
    # README.md is tracked and says what the repository claims: tables.py alone writes it
    pages = write_em_challenge(options.results)
    print("pages: " + ", ".join(map(str, pages)))
    print("\n" + row_of(found, record.stem))


def defaults(*, preset: Preset = "quick") -> dict[str, Any]:
    """What the preset decides: the defaults of all settings."""
    return {"config": experiments.load(preset)}


def options_from(argv: list[str] | None = None) -> Options:
    """The command line."""
    return parse_options(Options, argv, defaults=defaults, about=__doc__)


if __name__ == "__main__":
    run_command(lambda: main(options_from()))
