"""The estimate times the training step as training takes it, and leaves nothing behind."""

import itertools
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.tiny import blob_tiles, settings
from unet2015.training import estimate
from unet2015.training.batches import Batch
from unet2015.training.cuda_step import Compile, fast_step
from unet2015.training.estimate import STEPS, seconds_per_step
from unet2015.training.step import Run


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "SECONDS", 0.0)


def many_tiles():
    """Tiles without an end, as a training's."""
    tiles = blob_tiles(settings(), 4)

    class Endless:
        def __getitem__(self, k: int, /):
            return tiles[k % 4]

    return Endless()


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, STEPS), (40.0, 10)])
def test_the_estimate_is_the_mean_of_the_steps_after_one_that_warms_up(monkeypatch, seconds, steps):
    """A clock that each look at it moves on by 4 s."""
    clock = itertools.count(0, 4)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(estimate, "SECONDS", seconds)
    taken: list[int] = []

    def counted(run: Run, compile: Compile) -> Callable[[Run, Batch], Tensor]:
        take = fast_step(run, compile)
        return lambda *given: (taken.append(1), take(*given))[1]

    monkeypatch.setattr(estimate, "fast_step", counted)
    assert seconds_per_step(settings(), many_tiles()) == 4
    assert len(taken) == 1 + steps


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    assert 0 < seconds_per_step(settings(), many_tiles()) < 60
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda():
    assert 0 < seconds_per_step(settings(), many_tiles(), device="cuda") < 60
