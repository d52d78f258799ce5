"""The command that searches learning rates on one batch: python -m unet2015 overfit."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from unet2015 import experiments, reimplementations
from unet2015.cli.options import FLAT
from unet2015.config import ExperimentConfig, as_dict, config_hash, differences
from unet2015.data.gray_scale import GrayScale
from unet2015.loss import Loss
from unet2015.model import UNet
from unet2015.runtime.atomic import writable_outputs, write_text
from unet2015.runtime.numerics import resolve_device
from unet2015.runtime.record import versions
from unet2015.studies.overfit import (
    RATES,
    STEPS,
    TOLERANCE,
    Overfit,
    about_batch,
    answer,
    as_table,
    check_search,
    draw,
    one_batch,
    overfit_search,
)
from unet2015.studies.reimplementation import Arm, System
from unet2015.training.batches import Batch, collate

REIMPLEMENTATION = "reimplementations/"
"""What the name of a later re-implementation begins with, for --experiment."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What a search is of: settings, one batch, and where it is from."""

    config: ExperimentConfig
    batch: Batch
    dataset: str
    caption: str
    hashes: Mapping[str, str]
    make_network: Callable[..., UNet] = UNet
    loss: Loss | None = None


def defaults_of_search(*, experiment: str = "quick") -> Mapping[str, Any]:
    """The settings of --experiment as the options' defaults; a re-implementation has its own."""
    own = experiment.startswith(REIMPLEMENTATION)
    return {"config": experiments.load("quick" if own else experiment)}


@dataclass(frozen=True)
class OverfitSearch:
    """Train on one batch only, at several learning rates: can it be learnt?"""

    FIRST: ClassVar = ("experiment", "data", "learning_rates", "steps", "json", "figure")

    _: KW_ONLY
    experiment: str = "quick"
    """Settings to start from: quick (two CPU cores), paper (an accelerator), or another file of
    experiments/, on the EM stack, each of whose settings is an option; --training.learning-rate,
    --training.schedule, --training.steps and the augmentation do not matter here. Or
    reimplementations/NAME or …/NAME/ARM (no arm: as published), with its own network, loss,
    optimiser and first batch; its settings stand in its file and cannot be changed below."""
    preset: Literal["quick", "published"] = "quick"
    """Of a re-implementation: narrow enough for two CPU cores, or as published."""
    data: Path | None = None
    """Folder with train-volume.tif and train-labels.tif; otherwise $UNET2015_DATA/isbi2012, the
    per-user cache, or a download. Of a re-implementation: the folder of its data set."""
    phantom: bool = False
    """Use the procedural phantom even where the real stack could be had."""
    learning_rates: tuple[float, ...] = RATES
    """Learning rates to try."""
    steps: int = STEPS
    """Most steps at one rate."""
    tolerance: float = TOLERANCE
    """The loss at which the batch counts as learnt."""
    seed: int = 0
    """Seed of initialisation, choice of the batch and drop-out."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    json: Path | None = None
    """JSON file for the settings and all losses."""
    figure: Path | None = None
    """PNG file: the loss over the steps at each rate."""
    config: Annotated[ExperimentConfig, FLAT] = field(default_factory=ExperimentConfig)

    def run(self) -> None:
        subject_of = self._chosen()  # an unknown name is refused before anything is read
        check_search(self.learning_rates, self.steps, self.tolerance)
        device = resolve_device(self.device)
        writable_outputs({"--json": self.json, "--figure": self.figure}, {})
        subject = subject_of(device)
        print(about_batch(subject.batch))
        search = (self.learning_rates, self.steps, self.tolerance, self.seed, device)
        parts: Any = {"make_network": subject.make_network, "loss": subject.loss}
        found = overfit_search(subject.config, subject.batch, *search, **parts)
        print(as_table(found))
        if self.figure is not None:
            title = f"one batch, over and over\n{subject.caption}"
            draw(found, self.tolerance, self.figure, title=title)
            print(self.figure)
        if self.json is not None:
            self._write(self.json, found, subject, device)
            print(self.json)
        print(answer(found, self.steps, self.tolerance))

    def _chosen(self) -> Callable[[str], Subject]:
        """What makes the subject on a device; ValueError for options that exclude each other."""
        if self.phantom and self.data is not None:
            raise ValueError(
                f"--phantom and --data {self.data}: the phantom is in no folder; leave one out"
            )
        if not self.experiment.startswith(REIMPLEMENTATION):
            if self.preset != "quick":
                raise ValueError(
                    f"--preset {self.preset}: is for {REIMPLEMENTATION}NAME only; leave it out"
                )
            return self._of_stack
        name = self.experiment.removeprefix(REIMPLEMENTATION)
        system, arm = reimplementations.load_arm(name, self.preset)
        changed = differences(self.config, experiments.load("quick"))
        if self.phantom or changed:
            given = "--phantom" if self.phantom else changed[0].partition(":")[0]
            raise ValueError(
                f"{given} with --experiment {self.experiment}: its data and settings are its own; "
                f"leave it out, or take another arm or --preset (experiments/{REIMPLEMENTATION})"
            )
        return lambda device: self._of_arm(system, arm, device)

    def _of_stack(self, device: str) -> Subject:
        """The first batch of the EM stack or its phantom."""
        from unet2015.studies import em  # matplotlib takes its time to load

        stack = em.load_stack(self.data, phantom=self.phantom)
        gray_values = self.config.training.gray_values
        images = GrayScale.of(stack.train_images, gray_values=gray_values).apply(stack.train_images)
        batch = one_batch(images, stack.train_labels, self.config, seed=self.seed)
        caption = em.CITATION if stack.name == "isbi2012" else "PHANTOM, not EM data"
        return Subject(self.config, batch, stack.name, caption, stack.hashes)

    def _of_arm(self, system: System, arm: Arm, device: str) -> Subject:
        """The first batch that an arm trains on, with its augmentation and its defects."""
        task = arm.prepare(self.data, self.seed, device)
        batch = collate([task.tiles[k] for k in range(arm.config.training.batch_size)])
        caption = f"{system.repository}, {arm.name}"
        parts = (task.hashes, task.make_network, task.loss)
        return Subject(arm.config, batch, task.source, caption, *parts)

    def _write(self, path: Path, found: Sequence[Overfit], subject: Subject, device: str) -> None:
        """The JSON file: what was done, with what, and every loss."""
        content = {
            "experiment": self.experiment,
            "preset": self.preset if self.experiment.startswith(REIMPLEMENTATION) else None,
            "config": as_dict(subject.config),
            "config_hash": config_hash(subject.config),
            "dataset": subject.dataset,
            "data_hashes": dict(subject.hashes),
            "seed": self.seed,
            "device": device,
            "steps": self.steps,
            "tolerance": self.tolerance,
            "answer": answer(found, self.steps, self.tolerance),
            "rates": [entry.as_dict() for entry in found],
            "versions": versions(),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")
