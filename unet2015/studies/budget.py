"""How many steps fit into a time: what --minutes plans.

The paper says how long it trained ("10 hours", §4), not for how many steps. A plan is made before a
run starts: some steps, a prediction and a scoring are timed on the machine at hand, and the largest
number of steps is taken with which everything fits. The course of the learning rate is then that of
exactly this number. A plan is kept in a file, so that a run that continues keeps its steps.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from unet2015.config import ExperimentConfig, config_hash
from unet2015.inference.prediction import predict_image
from unet2015.model import CELL, UNet
from unet2015.reports.words import duration, plan_in_words
from unet2015.runtime import distributed
from unet2015.runtime.atomic import write_text
from unet2015.runtime.numerics import numerics
from unet2015.runtime.read_back import from_json, read_text
from unet2015.training.batches import TileSource
from unet2015.training.cuda_step import COMPILED
from unet2015.training.estimate import seconds_per_step

MARGIN = 0.04
"""Share of the time that is kept back (our choice: steps of one machine vary by some per cent)."""
START_S = 8.0
"""Seconds counted for what happens before a command's clock starts: Python and PyTorch are loaded
(our choice; on two CPU cores 5 s were measured, 12 s the first time)."""
FINISH_S = 6.0
"""Seconds kept back for each training: its files written and read back, its pictures drawn (our
choice; on two CPU cores the full-size network's files took 2.8 s, the EM pictures 2.5 s)."""

YEAR = 365 * 24 * 60
"""Minutes that no training takes."""
LEAST_SHARE = 0.01
"""Share of its steps that a training must have where there are several lengths (our choice)."""


@dataclass(frozen=True)
class Cost:
    """What one training costs on this machine, with all that belongs to it."""

    step_s: float
    """Seconds of a step; 0 where a network that is there already only predicts."""
    rest_s: float
    """Seconds of preparation, prediction and scoring, whatever the number of steps."""


@dataclass(frozen=True)
class Budget:
    """How long the command may take (--minutes)."""

    minutes: float | None = None
    """Take about so many minutes in all, whatever the command trains, predicts and scores: some
    steps are timed first, and the number of steps (--training.steps) is the largest that fits. The
    same command goes on with the number that was planned."""

    def check(self) -> None:
        """Refuse, with ValueError, what no plan can be made for, before anything is read."""
        if self.minutes is None:
            return
        if not 0 < self.minutes <= YEAR:
            raise ValueError(f"--minutes {self.minutes:g}: must be > 0, ≤ {YEAR}; 10, say")
        if distributed.count() > 1:
            raise ValueError(
                f"--minutes {self.minutes:g}: a plan is made for one process, and torchrun started "
                f"{distributed.count()}; give --training.steps"
            )

    def plan(
        self,
        output: Path,
        runs: Mapping[str, Any],
        config: ExperimentConfig,
        measure_all: Callable[[], Sequence[Cost]],
        *,
        began: float,
    ) -> tuple[ExperimentConfig, dict[str, Any]]:
        """As `planned`, with the plan as the record's field; without --minutes `config` and {}."""
        if self.minutes is None:
            return config, {}
        found, plan = planned(output, runs, config, self.minutes, measure_all, began=began)
        return found, {"plan": plan}


@dataclass(frozen=True)
class Measured:
    """What was timed of one training, from which the cost of others like it follows."""

    step_s: float
    prepare_s: float
    """Seconds until the tiles can be made (weight maps)."""
    predict_s: float
    """Seconds of the prediction of one image, all views."""
    score_s: float
    """Seconds of the scoring of one image."""

    def cost(self, images: int, scored: int = 1) -> Cost:
        """Of a training after which `images` are predicted, and `scored` so many times."""
        each = self.predict_s + scored * self.score_s
        return Cost(self.step_s, self.prepare_s + images * each + FINISH_S)


def measure(
    config: ExperimentConfig,
    make_tiles: Callable[[], TileSource] | None,
    image: np.ndarray,
    score: Callable[[np.ndarray], object],
    *,
    device: str,
    **way: Any,
) -> Measured:
    """Time a training of `config` (paper §3), its prediction (§4) and its scoring on this machine.

    make_tiles: prepares the training tiles; None: nothing is trained, a network that is there only
    predicts. image: (C, H, W) float32 in [0, 1], one of those that will be predicted. score: what
    is done with its probability of 'cell', (H, W) float32. way: further options of
    `estimate.seconds_per_step`. The network is a throw-away one, untrained, whose ragged prediction
    takes longer to score than a good one. What is done for the first time (Numba's compilation, a
    GPU's choice of algorithms) is done once before, and not counted.
    """
    prepare_s = step_s = 0.0
    if make_tiles is not None:
        prepare_s, tiles = timed(make_tiles)
        step_s, compile_s = time_steps(config, tiles, device=device, **way)
        prepare_s += compile_s
    network = UNet(config.model).to(device).eval()
    with numerics(device):
        predict_s, planes = timed(
            lambda: predict_image(network, image, config.prediction), warm_up=_is_gpu(device)
        )
    score_s, _ = timed(lambda: score(planes[CELL]), warm_up=True)
    return Measured(step_s, prepare_s, predict_s, score_s)


def time_steps(config: ExperimentConfig, tiles: TileSource, **way: Any) -> tuple[float, float]:
    """Seconds of a step, and those that every training needs before its first: its compilation.

    way: further options of `estimate.seconds_per_step`.
    """
    all_s, step_s = timed(lambda: seconds_per_step(config, tiles, **way))
    return step_s, all_s if way.get("compile") in COMPILED else 0.0


def timed(work: Callable[[], Any], *, warm_up: bool = False) -> tuple[float, Any]:
    """Seconds that `work` takes, the second time if it is to warm up first, and what it returns."""
    if warm_up:
        work()
    began = time.monotonic()
    found = work()
    return time.monotonic() - began, found


def planned(
    output: Path,
    runs: Mapping[str, Any],
    config: ExperimentConfig,
    minutes: float,
    measure_all: Callable[[], Sequence[Cost]],
    *,
    began: float,
) -> tuple[ExperimentConfig, dict[str, Any]]:
    """`config` with the number of steps that fits into `minutes`, and the plan for the record.

    output: the folder of all runs, where the plan is kept, and taken from if it is there. runs:
    which runs share it, beside `config` (JSON values). measure_all: gives the cost of each training
    of the command. began: `time.monotonic()` of its start; `START_S` before it and what has passed
    since, the measuring itself included, count. Raises ValueError as `steps_that_fit`, and for a
    file without a plan.
    """
    warmup = config.training.warmup_steps

    def make() -> dict[str, Any]:
        costs = measure_all()
        spent = START_S + time.monotonic() - began
        steps = steps_that_fit(minutes, spent, costs, warmup)
        step_s = fmean(cost.step_s for cost in costs if cost.step_s)
        return {"steps": steps, "seconds_per_step": round(step_s, 6), **_rest(spent, costs)}

    plan = _kept_or_made(output, {**runs, "config": config_hash(config)}, minutes, make)
    print(plan_in_words(plan))
    return replace(config, training=replace(config.training, steps=plan["steps"])), plan


def planned_share(
    output: Path,
    runs: Mapping[str, Any],
    minutes: float,
    measure_all: Callable[[], Sequence[Cost]],
    *,
    began: float,
) -> dict[str, Any]:
    """Which share of its own steps each of several trainings can have: {"share": at most 1, …}.

    As `planned`, for trainings that are of different lengths. A cost's `step_s` is that of a whole
    training here. Raises ValueError as `share_that_fits`, and for a file without a plan.
    """

    def make() -> dict[str, Any]:
        costs = measure_all()
        spent = START_S + time.monotonic() - began
        return {"share": share_that_fits(minutes, spent, costs), **_rest(spent, costs)}

    plan = _kept_or_made(output, runs, minutes, make)
    print(plan_in_words(plan))
    return plan


def steps_that_fit(minutes: float, spent_s: float, costs: Sequence[Cost], warmup: int) -> int:
    """The largest number of steps of each training with which all of them fit into `minutes`.

    Seconds that are spent already and the rest of each cost come off first, after the share
    `MARGIN`. At least one step beyond the warm-up must fit, or the learning rate would never be
    what it is to be: ValueError names the least --minutes that works.

    >>> steps_that_fit(1, 10, [Cost(step_s=0.5, rest_s=15.0)], warmup=2)
    65
    """
    steps = math.floor(_fitting(minutes, spent_s, costs))
    if steps > warmup:
        return steps
    raise ValueError(
        f"--minutes {minutes:g}: is too little for {len(costs)} training(s) of more steps than "
        f"training.warmup_steps = {warmup}, "
        + _least(spent_s, costs, warmup + 1)
        + ", or fewer warm-up steps"
    )


def share_that_fits(minutes: float, spent_s: float, costs: Sequence[Cost]) -> float:
    """The largest share of each training, at most all of it, with which all fit into `minutes`.

    costs: `step_s` is of a whole training; otherwise as `steps_that_fit`. At least `LEAST_SHARE`
    must fit: ValueError names the least --minutes that works.

    >>> share_that_fits(1, 10, [Cost(step_s=65.0, rest_s=15.0)])
    0.501
    """
    share = math.floor(1000 * _fitting(minutes, spent_s, costs)) / 1000
    if share >= LEAST_SHARE:
        return min(1.0, share)
    raise ValueError(
        f"--minutes {minutes:g}: is too little for {LEAST_SHARE:.0%} of the steps of "
        f"{len(costs)} training(s), " + _least(spent_s, costs, LEAST_SHARE)
    )


def _fitting(minutes: float, spent_s: float, costs: Sequence[Cost]) -> float:
    """How many times `step_s` of all costs fit into what is left for them."""
    beside = spent_s + sum(cost.rest_s for cost in costs)
    return (60 * minutes * (1 - MARGIN) - beside) / sum(cost.step_s for cost in costs)


def _least(spent_s: float, costs: Sequence[Cost], times: float) -> str:
    """The --minutes into which `step_s` of all costs fits so many times, in words."""
    each, beside = sum(cost.step_s for cost in costs), spent_s + sum(cost.rest_s for cost in costs)
    # rounded up, with room for a slower measurement next time
    least = math.ceil(100 * 1.02 * (beside + times * each) / (1 - MARGIN) / 60) / 100
    return (
        f"of which {duration(times * each)} are for steps and {duration(beside)} for the rest; "
        f"the least that works here is --minutes {least:g}"
    )


def _rest(spent_s: float, costs: Sequence[Cost]) -> dict[str, Any]:
    """What a plan says of the costs beside the steps."""
    beside = spent_s + sum(cost.rest_s for cost in costs)
    trainings = sum(cost.step_s > 0 for cost in costs)
    return {"trainings": trainings, "seconds_beside": round(beside, 1)}


def _kept_or_made(
    output: Path, runs: Mapping[str, Any], minutes: float, make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The plan of these runs that `output` holds, or a new one, which is kept there."""
    about = {**runs, "minutes": minutes}
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    file = output / f"plan-{key}.json"
    if not file.exists():
        plan = {"minutes": minutes, "planned_on": _hardware(), **make()}
        write_text(file, json.dumps({"runs": about, "plan": plan}, indent=1) + "\n")
        return plan
    try:
        plan = from_json(read_text(file))["plan"]
        if plan.keys() >= {"minutes", "trainings", "seconds_beside", "planned_on"} and (
            plan.keys() & {"steps", "share"}
        ):
            print(f"planned before, on {plan['planned_on']}: {file}; remove it to plan anew")
            return plan
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ValueError(f"{file}: holds no plan of --minutes; remove it to plan anew")


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} thread(s) of a CPU"


def _is_gpu(device: str) -> bool:
    return torch.device(device).type == "cuda"
