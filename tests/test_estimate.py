"""The estimate times the training step alone, and leaves nothing behind."""

import itertools
import time

import pytest
import torch

from tests.tiny import blob_tiles, settings
from unet2015 import estimate
from unet2015.estimate import seconds_per_step


def test_it_is_the_median_after_one_step_to_warm_up(monkeypatch):
    """A clock that moves only while a step is taken: 100 s to warm up, then 1, 50 and 3 s."""
    clock = itertools.accumulate([0.0, 100.0, 0.0, 1.0, 0.0, 50.0, 0.0, 3.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    config = settings()
    assert seconds_per_step(config, blob_tiles(config, 4)) == 3
    assert next(clock, None) is None


def test_tiles_are_made_before_the_clock_starts(monkeypatch):
    happened: list[str] = []
    config = settings(batch_size=2)
    tiles = blob_tiles(config, 6)

    class Noted:
        def __getitem__(self, k: int) -> object:
            happened.append(f"tile {k}")
            return tiles[k]

    take = estimate.train_step
    monkeypatch.setattr(
        estimate, "train_step", lambda *given: (happened.append("step"), take(*given))
    )
    assert 0 < seconds_per_step(config, Noted(), steps=2) < 60
    assert happened == [*(f"tile {k}" for k in range(6)), "step", "step", "step"]


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    seconds_per_step(settings(), blob_tiles(settings()))
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.get_rng_state(), before)


def test_at_least_one_step_is_timed():
    with pytest.raises(ValueError, match=r"steps = 0: must be ≥ 1"):
        seconds_per_step(settings(), blob_tiles(settings()), steps=0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda():
    assert 0 < seconds_per_step(settings(), blob_tiles(settings()), device="cuda") < 60
