"""How many steps fit into a time: what --minutes plans.

The paper says how long it trained ("10 hours", §4), not for how many steps. A plan is made before a
run starts: some steps, a prediction and a scoring are timed on the machine at hand, and the largest
number of steps is taken with which everything fits. The course of the learning rate is then that of
exactly this number. A plan is kept in a file, so that a run that continues keeps its steps.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unet2015 import distributed
from unet2015.atomic import write_text
from unet2015.batches import TileSource
from unet2015.config import ExperimentConfig
from unet2015.estimate import duration, seconds_per_step
from unet2015.model import CELL, UNet
from unet2015.numerics import numerics
from unet2015.prediction import predict_image

MARGIN = 0.04
"""Share of the time that is kept back (our choice: steps of one machine vary by some per cent)."""
FINISH_S = 4.0
"""Seconds kept back for each training: its files written and read back, its pictures drawn (our
choice; on two CPU cores the full-size network's files take 2 s, the pictures 1.5 s)."""


@dataclass(frozen=True)
class Budget:
    """The option of every command that trains on how long it may take."""

    minutes: float | None = None
    """Take about so many minutes in all, all trainings, predictions and scores of the command
    together: some steps are timed first, and the number of steps (--training.steps) is the largest
    that fits. The same command goes on with the number that was planned."""

    def check(self) -> None:
        """Refuse, with ValueError, what no plan can be made for, before anything is read."""
        if self.minutes is None:
            return
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise ValueError(f"--minutes {self.minutes:g}: must be a number > 0, 10 say")
        if distributed.count() > 1:
            raise ValueError(
                f"--minutes {self.minutes:g}: a plan is made for one process, and torchrun started "
                f"{distributed.count()}; give --training.steps"
            )


@dataclass(frozen=True)
class Cost:
    """What one training costs on this machine, with all that belongs to it."""

    step_s: float
    """Seconds of a step."""
    rest_s: float
    """Seconds of preparation, prediction and scoring, whatever the number of steps."""


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
    make_tiles: Callable[[], TileSource],
    image: np.ndarray,
    score: Callable[[np.ndarray], object],
    *,
    device: str,
    **way: Any,
) -> Measured:
    """Time a training of `config` (paper §3), its prediction (§4) and its scoring on this machine.

    make_tiles: prepares the training tiles. image: (C, H, W) float32 in [0, 1], one of those that
    will be predicted. score: what is done with its probability of 'cell', (H, W) float32. way:
    further options of `estimate.seconds_per_step`. The network is a throw-away one, untrained,
    whose ragged prediction takes longer to score than a good one. What is done for the first time
    (compilation, a GPU's choice of algorithms) is done once before, and not counted.
    """
    prepare_s, tiles = timed(make_tiles)
    step_s = seconds_per_step(config, tiles, device=device, **way)
    network = UNet(config.model).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    with numerics(device):
        predict_s, planes = timed(
            lambda: predict_image(network, image, config.prediction), warm_up=_is_gpu(device)
        )
    score_s, _ = timed(lambda: score(planes[CELL]), warm_up=True)
    return Measured(step_s, prepare_s, predict_s, score_s)


def timed(work: Callable[[], Any], *, warm_up: bool = False) -> tuple[float, Any]:
    """Seconds that `work` takes, the second time if it is to warm up first, and what it returns."""
    if warm_up:
        work()
    began = time.monotonic()
    found = work()
    return time.monotonic() - began, found


def planned(
    file: Path,
    config: ExperimentConfig,
    minutes: float,
    measure_all: Callable[[], Sequence[Cost]],
    *,
    began: float,
) -> tuple[ExperimentConfig, dict[str, Any]]:
    """`config` with the number of steps that fits into `minutes`, and the plan for the record.

    file: where the plan is kept, and taken from if it is there. measure_all: gives the cost of each
    training of the command. began: `time.monotonic()` of its start; what has passed since, the
    measuring itself included, counts. Raises ValueError as `steps_that_fit`, and for a file that
    holds no plan.
    """
    plan = _kept(file)
    if plan is not None:
        print(f"planned before, for {minutes:g} minutes: {plan['steps']} steps ({file})")
    else:
        costs = measure_all()
        spent = time.monotonic() - began
        steps = steps_that_fit(minutes, spent, costs, config.training.warmup_steps)
        plan = {
            "minutes": minutes,
            "steps": steps,
            "trainings": len(costs),
            "seconds_per_step": round(sum(cost.step_s for cost in costs) / len(costs), 6),
            "seconds_beside": round(spent + sum(cost.rest_s for cost in costs), 1),
        }
        write_text(file, json.dumps(plan) + "\n")
        print(in_words(plan))
    training = replace(config.training, steps=plan["steps"])
    return replace(config, training=training), plan


def in_words(plan: dict[str, Any]) -> str:
    """A plan as a line for people.

    >>> in_words({"minutes": 5.0, "steps": 20480, "trainings": 5, "seconds_per_step": 0.0024,
    ...           "seconds_beside": 31.4})
    'planned for 5 minutes: 20480 steps of 2.4 ms in each of 5 training(s), 31.4 s for the rest'
    """
    return (
        f"planned for {plan['minutes']:g} minutes: {plan['steps']} steps of "
        f"{duration(plan['seconds_per_step'])} in each of {plan['trainings']} training(s), "
        f"{duration(plan['seconds_beside'])} for the rest"
    )


def steps_that_fit(minutes: float, spent_s: float, costs: Sequence[Cost], warmup: int) -> int:
    """The largest number of steps of each training with which all of them fit into `minutes`.

    Seconds that are spent already and the rest of each cost come off first, then the share
    `MARGIN`. At least one step beyond the warm-up must fit, or the learning rate would never be
    what it is to be: ValueError names the least --minutes that works.

    >>> steps_that_fit(1, 10, [Cost(step_s=0.5, rest_s=15.0)], warmup=2)
    65
    """
    each, beside = sum(cost.step_s for cost in costs), spent_s + sum(cost.rest_s for cost in costs)
    steps = math.floor((60 * minutes * (1 - MARGIN) - beside) / each)
    if steps > warmup:
        return steps
    least = (beside + (warmup + 1.01) * each) / (1 - MARGIN) / 60
    raise ValueError(
        f"--minutes {minutes:g}: is too little for {len(costs)} training(s) of more steps than "
        f"training.warmup_steps = {warmup}, at {duration(each / len(costs))} a step, with "
        f"{duration(beside)} for the rest; the least that works here is --minutes "
        f"{math.ceil(100 * least) / 100:g}, or fewer warm-up steps"
    )


def _kept(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        plan = json.loads(file.read_text(encoding="utf-8"))
        if type(plan["steps"]) is int and plan["steps"] >= 1:
            return plan
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{file}: holds no plan of --minutes; remove it to plan anew")


def _is_gpu(device: str) -> bool:
    return torch.device(device).type == "cuda"
