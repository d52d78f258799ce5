"""Five later re-implementations of the U-Net, each rerun as published and as mended.

    python reproduce/reimplementations.py                      # all six experiments, an hour
    python reproduce/reimplementations.py lgg_mri nuclei       # two of them
    python reproduce/reimplementations.py em_unaligned --arms mended
    python reproduce/reimplementations.py --preset published   # their full settings: accelerator

Their settings, defects and figures stand in experiments/reimplementations/, one short file each.
What a run leaves: checkpoints and history.csv in runs/<name>/; a record in results/runs/; the page
results/reimplementations.md. The same command continues what was cut off, and does nothing twice.
Most of the data may not be passed on: no picture of them leaves the machine.
"""

import difflib
import time
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from unet2015 import reimplementations
from unet2015.cli.options import FLAT, parse_options
from unet2015.cli.run import run_command
from unet2015.config import config_hash, differences
from unet2015.reports.reimplementations import write_reimplementations
from unet2015.runtime import distributed
from unet2015.runtime.atomic import own_folder, writable_folder
from unet2015.studies.budget import Budget, Cost, planned_share
from unet2015.studies.reimplementation import Arm, System, measure_arm, run_arm, run_name, shortened
from unet2015.studies.session import Session, complete_already
from unet2015.training.engine import Engine

RESULTS = Path(__file__).resolve().parents[1] / "results"
NOTE = "record.txt"
"""The file in a run's folder that names its record, once there is one."""


@dataclass(frozen=True)
class Options:
    """Rerun later re-implementations of the U-Net."""

    FIRST: ClassVar = ("names", "preset", "arms", "data", "seed", "minutes")

    names: tuple[str, ...] = ()
    """Experiments (files in experiments/reimplementations/); none: all."""
    _: KW_ONLY
    preset: Literal["quick", "published"] = "quick"
    """quick: an arm in at most six minutes on two CPU cores. published: their settings."""
    arms: tuple[str, ...] = ()
    """Arms of the experiments, such as published or mended; none: all."""
    data: Path | None = None
    """Folder of the data sets (carvana/, dsb2018/ …), or that of one set; otherwise
    $UNET2015_DATA, the cache."""
    seed: int = 0
    """Seed of initialisation, split, sample order and augmentation."""
    output: Path = Path("runs")
    """Folder for checkpoints."""
    results: Path = RESULTS
    """Folder of the records and the page."""
    budget: Annotated[Budget, FLAT] = field(default_factory=Budget)
    engine: Annotated[Engine, FLAT] = field(default_factory=Engine)

    @property
    def way(self) -> dict[str, Any]:
        """How it is trained: what an arm and the timing before it share."""
        return {**self.engine.way(), "seed": self.seed}


Part = tuple[str, System, Arm]


def chosen(options: Options) -> list[Part]:
    """The arms to run; ValueError names the nearest of an unknown one."""
    names = options.names or tuple(reimplementations.names())
    found, known = [], []
    for name in dict.fromkeys(names):
        system = reimplementations.load(name)
        for arm in system.arms(options.preset):
            known.append(arm.name)
            if not options.arms or arm.name in options.arms:
                found.append((name, system, arm))
    for arm_name in options.arms:
        if arm_name not in known:
            near = difflib.get_close_matches(arm_name, known, cutoff=0.3) or sorted(set(known))
            raise ValueError(f"--arms {arm_name}: is unknown; nearest: {', '.join(near)}")
    return found


def with_planned_epochs(
    options: Options, parts: list[Part], began: float
) -> tuple[list[Part], dict[str, Any]]:
    """The arms with the share of their epochs that fits into --minutes, and the plan."""
    minutes = options.budget.minutes
    if minutes is None:
        return parts, {}

    def costs() -> list[Cost]:
        return [
            measure_arm(arm, _folder(options, system), **options.way) for _, system, arm in parts
        ]

    runs = {
        "experiment": "reimplementations",
        "preset": options.preset,
        "parts": [[name, arm.name, config_hash(arm.config)] for name, _, arm in parts],
        "seed": options.seed,
    }
    plan = planned_share(options.output, runs, minutes, costs, began=began)
    return [(name, system, shortened(arm, plan["share"])) for name, system, arm in parts], {
        "plan": plan
    }


def check_data(options: Options, parts: list[Part]) -> None:
    """Look for every data set before the first run; one message for all that are missing."""
    missing: dict[str, str] = {}
    for name, system, _ in parts:
        if name not in missing:
            try:
                system.load(_folder(options, system))
            except FileNotFoundError as error:
                missing[name] = str(error)
    if missing:
        there = [name for name in dict.fromkeys(p[0] for p in parts) if name not in missing]
        others = f"\nwithout them: python reproduce/reimplementations.py {' '.join(there)}"
        raise FileNotFoundError("\n".join(missing.values()) + (others if there else ""))


def _folder(options: Options, system: System) -> Path | None:
    """Where a system's data are with --data: in the set's folder there, or it is that folder."""
    if options.data is None:
        return None
    nested = options.data / system.data
    return options.data if options.data.name == system.data and not nested.exists() else nested


def run(
    options: Options, name: str, system: System, arm: Arm, folder: Path, plan: dict[str, Any]
) -> None:
    """One arm, from training to the record."""
    session = Session.begin()
    summary, config, task = run_arm(
        arm,
        folder,
        _folder(options, system),
        name=f"{name}, {arm.name}",
        estimate=options.preset == "published" and not plan,
        checkpoint_every_s=options.engine.checkpoint_every_s,
        **options.way,
    )
    published = {found.name: found for found in system.arms("published")}[arm.name]
    summary |= {"experiment": "reimplementation", "system": name, "arm": arm.name}
    summary["preset"] = options.preset
    record = session.leave_record(
        summary | plan,
        options.results / "runs",
        folder / NOTE,
        config=config,
        seed=options.seed,
        data_hashes=task.hashes,
        deviations=[*differences(arm.config, published.config), *arm.remarks],
    )
    honest = summary["metrics"]["honest"][system.compare]
    print(f"{system.compare} {honest:.4f}: {record}")


def check(options: Options) -> None:
    """Refuse what cannot be run, before anything is read or written."""
    options.budget.check()
    options.engine.check()
    if options.seed < 0:
        raise ValueError(f"--seed {options.seed}: must be ≥ 0")
    if distributed.count() > 1:
        raise ValueError("torchrun: these runs are for one process; start the command by itself")


def main(options: Options) -> None:
    began = time.monotonic()
    check(options)
    parts = chosen(options)
    check_data(options, parts)
    writable_folder(options.output, "--output")
    writable_folder(options.results / "runs", "--results")
    parts, plan = with_planned_epochs(options, parts, began)
    for name, system, arm in parts:
        folder = options.output / run_name(options.preset, name, arm, options.seed)
        print(f"\n{system.title}, {arm.name}")
        with distributed.alone_in(own_folder(folder)):
            if not complete_already(options.results / "runs", folder / NOTE):
                run(options, name, system, arm, folder, plan)
    pages = write_reimplementations(options.results, reimplementations.systems())
    print("\ntables: " + ", ".join(map(str, pages)))


if __name__ == "__main__":
    run_command(lambda: main(parse_options(Options, None, about=__doc__)))
