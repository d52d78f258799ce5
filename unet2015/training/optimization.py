"""The optimiser and the course of its learning rate (paper §3)."""

import math
from collections.abc import Sequence

import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from unet2015.config import TrainingConfig
from unet2015.training.history import EVERY_STEPS, Row

FALL_SHARE = 0.2
"""Share of the steps over which the rate of 'constant_then_fall' falls (Hägele et al. 2024: with a
fifth it does as well as a cosine)."""
PLATEAU_FACTOR = 0.1
"""What a plateau multiplies the learning rate by (PyTorch's default)."""
PLATEAU_ROWS = 10
"""Rows of the history, of 20 steps each, whose mean loss is judged (our choice: with one tile a
step, a single row says more about its tiles than about the network)."""
PLATEAU_PATIENCE_ROWS = 50
"""Rows in a row that may fail to bring a new best before the rate falls (our choice: 1000 steps,
some 40 epochs of the EM stack)."""
PLATEAU_THRESHOLD = 1e-4
"""A new best is below the old one by more than this share of it (PyTorch's default)."""


def learning_rate(step: int, config: TrainingConfig, history: Sequence[Row] = ()) -> float:
    """Learning rate of step 0, 1, …: linear warm-up, then what `config.schedule` names.

    'constant': config.learning_rate. 'cosine': half a cosine from there to
    config.final_learning_rate. 'constant_then_fall': the same, and from `fall_begins` on a
    straight line to there. 'plateau': a tenth whenever the loss in `history` has stopped
    falling (see `_plateau`). history: the run's rows; those that end after `step` are not looked
    at, so that a run which continues has the same rates.
    Not specified in the paper: the course is our choice.

    >>> settings = TrainingConfig(steps=4, warmup_steps=2, learning_rate=1.0)
    >>> [learning_rate(step, settings) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "plateau":
        return _plateau(step, config, history)
    linear = config.schedule == "constant_then_fall"
    begin = fall_begins(config) if linear else config.warmup_steps
    progress = min(1.0, max(0, step - begin) / max(1, config.steps - begin))
    share = 1 - progress if linear else 0.5 * (1 + math.cos(math.pi * progress))
    final = config.final_learning_rate
    return final + (config.learning_rate - final) * share


def fall_begins(config: TrainingConfig) -> int:
    """The step from which on the rate of 'constant_then_fall' falls: FALL_SHARE before the end.

    Runs that differ in their number of steps alone are equal up to there. A row of the history ends
    with it, and the warm-up lies before it.

    >>> fall_begins(TrainingConfig(steps=500, warmup_steps=100))
    400
    """
    rows = math.floor(config.steps * (1 - FALL_SHARE) / EVERY_STEPS)
    return EVERY_STEPS * max(rows, math.ceil(config.warmup_steps / EVERY_STEPS))


def _plateau(step: int, config: TrainingConfig, history: Sequence[Row]) -> float:
    """The learning rate after the plateaus of the loss before `step`.

    What is judged after each row is the mean loss of the last `PLATEAU_ROWS` rows, of those that
    ended after the warm-up (in which the rate is not yet what it is to be). It is a new best if it
    is below the best so far by more than the share `PLATEAU_THRESHOLD`. After more than
    `PLATEAU_PATIENCE_ROWS` rows without a new best the rate is multiplied by `PLATEAU_FACTOR`, but
    not below config.final_learning_rate, and the patience begins anew: the rule of PyTorch's
    ReduceLROnPlateau, which keeps a state where this needs the history only.
    """
    losses = [row["loss"] for row in history if config.warmup_steps < row["step"] <= step]
    rate, best, waited = config.learning_rate, math.inf, 0
    if len(losses) < PLATEAU_ROWS:
        return rate
    for mean in sliding_window_view(losses, PLATEAU_ROWS).mean(axis=1).tolist():
        if mean < best * (1 - PLATEAU_THRESHOLD):
            best, waited = mean, 0
        else:
            waited += 1
        if waited > PLATEAU_PATIENCE_ROWS:
            rate, waited = max(rate * PLATEAU_FACTOR, config.final_learning_rate), 0
    return rate


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum 0.99 (paper §3), or the named alternative.

    'adam' and 'adamw' take config.momentum as their first beta; the second, 0.999, and ε are
    PyTorch's defaults. config.weight_decay is an L2 penalty in the gradient, except for 'adamw',
    which shrinks the weights by it times the learning rate (Loshchilov & Hutter 2019).

    On a CUDA device the update of all weights is one pass over them (PyTorch's 'fused' kernels),
    equal within rounding to the several of the CPU.
    """
    fused = True if next(network.parameters()).is_cuda else None
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(
                network.parameters(),
                lr=config.learning_rate,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                fused=fused,
            )
        case "adam" | "adamw":
            kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
            return kind(
                network.parameters(),
                lr=config.learning_rate,
                betas=(config.momentum, 0.999),
                weight_decay=config.weight_decay,
                fused=fused,
            )


def graph_safe(optimizer: torch.optim.Optimizer, rate: Tensor) -> None:
    """Make an optimiser's step one that a CUDA graph can hold; it takes its rate from `rate`.

    Only the fused kernels read a rate on the device without waiting for it. They want gradients
    laid out as the weights (only axes of length 1 may differ), which autograd sees to: it copies
    those that are not. Adam keeps its step counts on the device as well ('capturable').
    """
    for group in optimizer.param_groups:
        group["lr"], group["fused"], group["foreach"] = rate, True, False
        if "capturable" in group:
            group["capturable"] = True
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "step" in state:
                state["step"] = state["step"].to(rate.device)
