"""The training step against its formula, what a run leaves, and how it ends when it goes wrong."""

import csv
import math
import os
import signal
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tiny import blob_tiles, contents, cut_off, quietly, same_weights, settings
from unet2015.augmentation.tile import TrainingTile
from unet2015.config import TrainingConfig
from unet2015.model import UNet
from unet2015.training import loop as training
from unet2015.training.batches import collate
from unet2015.training.checkpoint import CURRENT, PREVIOUS, TIME, WEIGHTS, load_checkpoint
from unet2015.training.history import HISTORY
from unet2015.training.loop import Run, TrainingStopped, train_step
from unet2015.training.optimization import learning_rate, make_optimizer


class Untouchable:
    """Tiles that no one may ask for."""

    def __getitem__(self, k: int) -> TrainingTile:
        raise AssertionError(f"tile {k} was asked for")


@pytest.fixture
def rows_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the history every three steps: at 3, 6, and at the last, 8."""
    monkeypatch.setattr("unet2015.training.history.EVERY_STEPS", 3)


# The step


@pytest.mark.parametrize(
    "extra", [{}, {"weight_decay": 0.1}, {"gradient_clip": 0.05}], ids=["plain", "decay", "clip"]
)
def test_two_steps_are_momentum_sgd_as_written_down(extra):
    config = settings({"dropout": 0.0}, momentum=0.99, batch_size=2, warmup_steps=2, **extra)
    network = UNet(config.model, seed=1)
    run = Run(config, 0, network, make_optimizer(network, config.training), torch.device("cpu"), {})
    twin = UNet(config.model, seed=1).double()
    velocity = {name: torch.zeros_like(p) for name, p in twin.named_parameters()}
    tiles = blob_tiles(config, 4)
    for step, rate in enumerate((0.025, 0.05)):
        image, labels, weights = collate(tiles[2 * step : 2 * step + 2])
        loss, cells, right, length = train_step(run, (image, labels, weights)).tolist()
        run.step += 1

        scores = twin(image.double())
        log_p = scores - scores.exp().sum(dim=1, keepdim=True).log()
        cross_entropy = -torch.where(labels == 1, log_p[:, 1], log_p[:, 0])
        expected = (weights * cross_entropy).sum() / weights.sum()
        gradients = dict(
            zip(velocity, torch.autograd.grad(expected, list(twin.parameters())), strict=True)
        )
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
        clip = min(1.0, extra.get("gradient_clip", math.inf) / norm)
        assert (clip < 1) == ("gradient_clip" in extra)
        assert length == pytest.approx(norm, rel=1e-4)
        with torch.no_grad():
            for name, p in twin.named_parameters():
                gradient = clip * gradients[name] + extra.get("weight_decay", 0) * p
                velocity[name] = 0.99 * velocity[name] + gradient
                p -= rate * velocity[name]
        assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
        predicted = (scores[:, 1] > scores[:, 0]).long()
        assert cells == pytest.approx(float(predicted.double().mean()))
        assert right == pytest.approx(float((predicted == labels).double().mean()))
    for name, p in twin.named_parameters():
        ours = network.state_dict()[name].double()
        torch.testing.assert_close(ours, p.detach(), rtol=1e-4, atol=1e-6)


def test_the_learning_rate_rises_and_falls_as_computed_by_hand():
    cosine = TrainingConfig(steps=10, warmup_steps=4, learning_rate=0.8, schedule="cosine")
    rates = [learning_rate(step, cosine) for step in range(10)]
    falling = [0.8, 0.4 * (1 + math.sqrt(3) / 2), 0.6, 0.4, 0.2, 0.4 * (1 - math.sqrt(3) / 2)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, *falling])
    constant = TrainingConfig(steps=10, warmup_steps=4, learning_rate=0.8, schedule="constant")
    assert [learning_rate(step, constant) for step in range(10)] == pytest.approx(
        [0.2, 0.4, 0.6, *[0.8] * 7]
    )
    abrupt = TrainingConfig(steps=2, warmup_steps=0, learning_rate=0.8, schedule="cosine")
    assert [learning_rate(step, abrupt) for step in range(2)] == pytest.approx([0.8, 0.4])


def test_drop_out_is_drawn_anew_in_every_step_and_leaves_pytorch_s_generator_alone(tmp_path):
    config = settings(steps=2, learning_rate=1e-9)
    tile = blob_tiles(config, 1)[0]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = quietly(config, [tile, tile], tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)  # no matter to a run
    two = quietly(config, [tile, tile], tmp_path / "two")
    assert same_weights(one, two)
    assert not same_weights(quietly(config, [tile, tile], tmp_path / "other", seed=1), one)
    run = training.new_run(config, 0, torch.device("cpu"), {})
    losses = []
    for step in (0, 1, 0):
        run.step = step
        losses.append(float(train_step(run, collate([tile]))[0]))
    assert losses[0] == pytest.approx(losses[2], abs=1e-6)
    assert abs(losses[0] - losses[1]) > 1e-3


# What a run leaves


def test_history_holds_the_means_of_the_steps(tmp_path, monkeypatch, rows_of_three):
    measured: list[list[float]] = []

    def noted(run: Run, batch: Any) -> Tensor:
        result = train_step(run, batch)
        measured.append(result.tolist())
        return result

    monkeypatch.setattr(training, "fast_step", lambda *_: noted)
    config = settings()
    final = quietly(config, blob_tiles(config), tmp_path)
    with (tmp_path / HISTORY).open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["step"] for row in rows] == [3, 6, 8]
    for row, (first, last) in zip(rows, [(0, 3), (3, 6), (6, 8)], strict=True):
        loss, cells, right, _ = np.mean(measured[first:last], axis=0)
        rate = learning_rate(last - 1, config.training)
        expected = {"loss": loss, "cell_fraction": cells, "accuracy": right, "learning_rate": rate}
        assert row == pytest.approx({"step": last} | expected, rel=1e-7)
    assert final.history == [pytest.approx(row, rel=1e-7) for row in rows]


def test_a_finished_run_is_returned_without_training(tmp_path):
    config = settings()
    final = quietly(config, blob_tiles(config), tmp_path, data={"slices": (0, 1)})
    files = [PREVIOUS, CURRENT, training.SETTINGS, HISTORY, TIME, WEIGHTS]
    assert sorted(contents(tmp_path)) == files
    assert (final.step, final.optimizer) == (8, {})
    assert final.seconds > 0
    before = contents(tmp_path)
    again = quietly(config, Untouchable(), tmp_path, data={"slices": (0, 1)})
    assert same_weights(again, final)
    assert (again.history, again.data) == (final.history, {"slices": [0, 1]})
    assert contents(tmp_path) == before
    (tmp_path / HISTORY).unlink()
    quietly(config, Untouchable(), tmp_path, data={"slices": (0, 1)})
    assert (tmp_path / HISTORY).read_bytes() == before[HISTORY][0]


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_of_another_run_is_refused_and_left_as_it_is(tmp_path, finished):
    config, data = settings(), {"hashes": {"labels": "abc"}}
    if finished:
        quietly(config, blob_tiles(config), tmp_path, seed=4, data=data)
    else:
        cut_off(5, config, blob_tiles(config), tmp_path, seed=4, data=data)
    before = contents(tmp_path)
    changed = settings({"dropout": 0.25}, learning_rate=0.5)
    differing = ["model.dropout: 0.25 (was 0.5)", "training.learning_rate: 0.5 (was 0.05)"]
    for other, seed, other_data, words in (
        (changed, 4, data, differing),
        (config, 5, data, ["seed 4, not 5"]),
        (config, 4, {"hashes": {"labels": "abd"}}, ["other data", "'labels': 'abc'"]),
    ):
        with pytest.raises(ValueError, match="give another --output") as caught:
            quietly(other, Untouchable(), tmp_path, seed=seed, data=other_data)
        message = str(caught.value)
        assert message.startswith(str(tmp_path))
        for word in words:
            assert word in message
        assert contents(tmp_path) == before


# Runs that go wrong


@pytest.mark.parametrize(
    ("batch_size", "bad", "where"),
    [(1, 3, r"step 4 \(sample 3\)"), (2, 7, r"step 4 \(samples 6 to 7\)")],
)
def test_a_non_finite_loss_stops_and_keeps_the_last_good_state(tmp_path, batch_size, bad, where):
    config = settings(batch_size=batch_size)
    tiles = blob_tiles(config)
    tiles[bad].weights[0, 0] = np.nan
    with pytest.raises(TrainingStopped, match=f"the loss is nan at {where}") as caught:
        quietly(config, tiles, tmp_path)
    message = str(caught.value)
    assert f"the last good checkpoint is {tmp_path / CURRENT}" in message
    assert "training.learning_rate (= 0.05)" in message
    kept = load_checkpoint(tmp_path)
    assert kept.step == 3
    assert all(bool(torch.isfinite(tensor).all()) for tensor in kept.model.values())
    before = contents(tmp_path)
    with pytest.raises(TrainingStopped, match=where):
        quietly(config, tiles, tmp_path)
    assert {name: data for name, (data, _) in contents(tmp_path).items()} == {
        name: data for name, (data, _) in before.items()
    }


def test_a_non_finite_loss_before_the_first_save_says_so(tmp_path):
    tiles = blob_tiles(settings())
    tiles[0].weights[:] = np.inf
    with pytest.raises(TrainingStopped, match=r"step 1 \(sample 0\).*none was saved yet"):
        quietly(settings(), tiles, tmp_path)
    assert contents(tmp_path) == {}


def test_of_several_steps_read_together_the_first_bad_one_is_named(tmp_path):
    """On a GPU the losses are read once per row of the history."""
    run = training.new_run(settings(), 0, torch.device("cpu"), {})
    run.step = 20
    good, bad = [1.0, 0.5, 0.5, 9.0], [math.nan, 1.0, 1.0, math.nan]
    with pytest.raises(TrainingStopped, match=r"the loss is inf at step 18 \(sample 17\)"):
        training._refuse_non_finite(run, [good] * 17 + [[math.inf, *good[1:]], bad, bad], tmp_path)
    with pytest.raises(TrainingStopped, match=r"the gradient's norm is inf at step 19 \(sample 18"):
        training._refuse_non_finite(run, [good] * 18 + [[*good[:3], math.inf], bad], tmp_path)


def test_a_non_finite_gradient_spoils_nothing(tmp_path):
    """The loss of step 4 is finite; a hook on one of its gradients is not."""
    config = settings()

    def at(step: int) -> None:
        if step == 3:
            hooks.append(networks[0].score.bias.register_hook(lambda g: g * math.inf))

    networks: list[UNet] = []
    hooks: list[Any] = []

    def noted(*arguments: Any, **named: Any) -> UNet:
        networks.append(UNet(*arguments, **named))
        return networks[0]

    with pytest.raises(TrainingStopped, match=r"gradient's norm is (inf|nan) at step 4 \(sample 3"):
        quietly(config, blob_tiles(config), tmp_path, on_step=at, make_network=noted)
    kept = load_checkpoint(tmp_path)
    assert kept.step == 3
    for name, tensor in networks[0].named_parameters():
        assert torch.equal(tensor.detach(), kept.model[name])  # the step was not taken


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ("momentum", r"score\.bias\|momentum_buffer is not finite"),
        ("weight", r"score\.bias is not finite after step 5"),
    ],
)
def test_weights_and_momentum_that_are_not_finite_are_not_saved(
    tmp_path, monkeypatch, spoilt, words
):
    def poisoned(run: Run, batch: Any) -> Tensor:
        result = train_step(run, batch)
        bias = cast(Tensor, run.network.score.bias)
        if run.step == 4:
            with torch.no_grad():
                values = run.optimizer.state[bias]["momentum_buffer"]
                (values if spoilt == "momentum" else bias)[1] = math.inf
        return result

    monkeypatch.setattr(training, "fast_step", lambda *_: poisoned)
    with pytest.raises(TrainingStopped, match=words):
        quietly(settings(optimizer="sgd"), blob_tiles(settings()), tmp_path)
    assert load_checkpoint(tmp_path).step == 4


def test_the_weights_name_the_code_of_every_session(tmp_path, monkeypatch):
    def stop(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    first = {"commit": "a" * 40, "dirty": False}
    monkeypatch.setattr(training, "code_version", lambda: first)
    with pytest.raises(TrainingStopped):
        quietly(settings(), blob_tiles(settings()), tmp_path, on_step=stop)
    monkeypatch.setattr(training, "code_version", lambda: first | {"commit": "b" * 40})
    quietly(settings(), blob_tiles(settings()), tmp_path)
    code = load_checkpoint(tmp_path / WEIGHTS).code
    assert [session["commit"][0] for session in code] == ["a", "b"]
    assert code[0]["versions"]["torch"] == torch.__version__


def test_a_dead_start_is_reported_once_also_if_continued(tmp_path, capsys, monkeypatch):
    def dead(run: Run, batch: Any) -> Tensor:
        train_step(run, batch)
        return torch.tensor([0.5, 1.0, 0.78, 1.0])

    monkeypatch.setattr(training, "fast_step", lambda *_: dead)
    monkeypatch.setattr("unet2015.training.history.EVERY_STEPS", 2)
    monkeypatch.setattr("unet2015.training.history.DEAD_START_AFTER_STEPS", 6)
    config = settings(steps=14)
    tiles = blob_tiles(config)
    cut_off(5, config, tiles, tmp_path)
    assert capsys.readouterr().err == ""
    cut_off(10, config, tiles, tmp_path)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("dead start? After 6 steps every pixel is still predicted as cell")
    quietly(config, tiles, tmp_path)
    assert capsys.readouterr().err == ""
