"""Optimisers and learning rates against PyTorch's own schedulers and against hand-made updates."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from tests.tiny import blob_tiles, cut_off, quietly, same_weights, settings
from unet2015.config import TrainingConfig
from unet2015.training import optimization
from unet2015.training.history import EVERY_STEPS, Row
from unet2015.training.optimization import fall_begins, learning_rate, make_optimizer


def rows(losses: list[float]) -> list[Row]:
    return [{"step": EVERY_STEPS * (k + 1), "loss": loss} for k, loss in enumerate(losses)]


def noisy_losses(count: int = 400) -> list[float]:
    """Falls, and stays with noise on two levels."""
    rng = np.random.default_rng(0)
    course = np.maximum(np.exp(-np.arange(count) / 30), np.where(np.arange(count) < 250, 0.3, 0.1))
    return (course + rng.normal(0, 0.02, count)).tolist()


def pytorchs_rates(values: list[float], config: TrainingConfig, **rule: Any) -> list[float]:
    """The rate after each value, as PyTorch's scheduler sets it."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.learning_rate)
    scheduler = ReduceLROnPlateau(optimizer, min_lr=config.final_learning_rate, eps=0, **rule)
    rates = []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize(
    ("mean_of", "patience", "final"), [(1, 5, 0.0), (4, 20, 3e-5), (10, 50, 0.0)]
)
def test_plateau_is_pytorchs_fed_with_the_mean_loss_of_the_last_rows(
    monkeypatch, mean_of, patience, final
):
    monkeypatch.setattr(optimization, "PLATEAU_ROWS", mean_of)
    monkeypatch.setattr(optimization, "PLATEAU_PATIENCE_ROWS", patience)
    config = TrainingConfig(schedule="plateau", warmup_steps=0, final_learning_rate=final)
    losses = noisy_losses()
    means = [float(np.mean(losses[k - mean_of : k])) for k in range(mean_of, len(losses) + 1)]
    theirs = [config.learning_rate] * (mean_of - 1) + pytorchs_rates(
        means, config, factor=0.1, patience=patience, threshold=1e-4
    )
    history = rows(losses)
    ours = [
        learning_rate(int(row["step"]), config, history[: k + 1]) for k, row in enumerate(history)
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert len(set(theirs)) >= 3  # it has fallen at least twice
    assert min(ours) >= final


def test_plateau_depends_on_the_rows_before_the_step_and_after_the_warm_up_only():
    config = TrainingConfig(schedule="plateau", warmup_steps=1000)
    history = rows([0.01] * 50 + [1.0] * 100)  # an easy warm-up is no best that lasts
    for step in (0, 500, 999, 1000, 1300, 2199, 2220, 2999):
        so_far = [row for row in history if row["step"] <= step]
        assert learning_rate(step, config, history) == learning_rate(step, config, so_far)
    assert learning_rate(499, config, history) == pytest.approx(0.5e-3)
    # 10 rows make the first mean, and more than 50 further ones without a better one end it
    before, after = 1000 + 20 * 60, 1000 + 20 * 61
    assert learning_rate(before, config, history) == 1e-3
    assert learning_rate(after - 1, config, history) == 1e-3
    assert learning_rate(after, config, history) == pytest.approx(1e-4)
    assert learning_rate(after, config) == 1e-3


def test_cosine_is_pytorchs():
    for final in (0.0, 3e-4):
        config = TrainingConfig(
            steps=50, warmup_steps=10, learning_rate=3e-3, final_learning_rate=final
        )
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-3)
        scheduler = CosineAnnealingLR(optimizer, T_max=40, eta_min=final)
        for step in range(10, 51):
            theirs = optimizer.param_groups[0]["lr"]
            assert learning_rate(step, config) == pytest.approx(theirs, rel=1e-9, abs=1e-15)
            optimizer.step()
            scheduler.step()
        assert learning_rate(50, config) == final


def test_constant_then_fall_is_a_line_over_the_last_fifth():
    for final in (0.0, 1e-3):
        config = TrainingConfig(
            steps=500,
            warmup_steps=10,
            learning_rate=4e-3,
            final_learning_rate=final,
            schedule="constant_then_fall",
        )
        found = [learning_rate(step, config) for step in range(501)]
        corners = [0, 9, 400, 500], [4e-4, 4e-3, 4e-3, final]
        assert found == pytest.approx(np.interp(range(501), *corners))
    # so late a warm-up leaves no constant part; the two lengths are equal until the first falls
    late = replace(config, warmup_steps=450)
    assert fall_begins(late) == 460
    assert learning_rate(459, late) == 4e-3 > learning_rate(461, late)
    longer = replace(config, steps=2000)
    assert [learning_rate(step, longer) for step in range(401)] == found[:401]


@pytest.mark.parametrize(("name", "decoupled"), [("adam", False), ("adamw", True)])
def test_adam_and_adamw_are_their_updates_written_down(name, decoupled):
    config = TrainingConfig(optimizer=name, momentum=0.8, learning_rate=0.1, weight_decay=0.3)
    layer = nn.Linear(3, 1, bias=False).double()
    optimizer = make_optimizer(layer, config)
    w = layer.weight.detach().clone()
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    for k in range(1, 4):
        gradient = torch.tensor([[0.5, -2.0, 0.1]], dtype=torch.double) * k
        layer.weight.grad = gradient.clone()
        optimizer.step()
        if decoupled:
            w -= 0.1 * 0.3 * w
        else:
            gradient = gradient + 0.3 * w
        first = 0.8 * first + 0.2 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        w -= 0.1 * (first / (1 - 0.8**k)) / ((second / (1 - 0.999**k)).sqrt() + 1e-8)
        torch.testing.assert_close(layer.weight.detach(), w)


def test_adamw_and_plateau_continue_bit_for_bit(tmp_path, monkeypatch):
    """One row a step, and a patience of one: the rate falls before and after the interruption."""
    monkeypatch.setattr("unet2015.training.history.EVERY_STEPS", 1)
    monkeypatch.setattr(optimization, "PLATEAU_ROWS", 2)
    monkeypatch.setattr(optimization, "PLATEAU_PATIENCE_ROWS", 0)
    config = settings(
        {"classes": 1, "initialization": "pytorch"},
        steps=12,
        loss="logistic_dice",
        positive_weight=2.0,
        optimizer="adamw",
        weight_decay=0.1,
        schedule="plateau",
        final_learning_rate=1e-4,
    )
    tiles = blob_tiles(config, 12)
    whole = quietly(config, tiles, tmp_path / "whole")
    rates = [row["learning_rate"] for row in whole.history]
    cut_off(8, config, tiles, tmp_path / "cut")
    assert len({*rates[3:8]}) > 1
    continued = quietly(config, tiles, tmp_path / "cut")
    assert same_weights(continued, whole)
    assert continued.history == whole.history
    assert min(rates[3:]) >= 1e-4
