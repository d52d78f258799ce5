"""The optimiser and the course of its learning rate (paper §3)."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from unet2015.config import TrainingConfig
from unet2015.history import Row


def learning_rate(step: int, config: TrainingConfig, history: Sequence[Row] = ()) -> float:
    """Learning rate of step 0, 1, …: linear warm-up, then constant or half a cosine to 0.

    Not specified in the paper: the course is our choice.

    >>> settings = TrainingConfig(steps=4, warmup_steps=2, learning_rate=1.0)
    >>> [learning_rate(step, settings) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum 0.99 (paper §3), or the named alternative."""
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(
                network.parameters(),
                lr=config.learning_rate,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            )
        case "adam":
            return torch.optim.Adam(
                network.parameters(),
                lr=config.learning_rate,
                betas=(config.momentum, 0.999),
                weight_decay=config.weight_decay,
            )
