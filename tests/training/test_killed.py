"""A run that is killed (SIGKILL) ends as one that was not, whenever it happened.

The runs are children of a fork server, which imports PyTorch once for all of them.
"""

import signal
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.kills import FORKS, kill_before
from tests.tiny import ALWAYS, NEVER, blob_tiles, contents, quietly, settings
from unet2015.augmentation.tile import TrainingTile
from unet2015.training import history
from unet2015.training.checkpoint import (
    CURRENT,
    PREVIOUS,
    TIME,
    WEIGHTS,
    Checkpoint,
    load_checkpoint,
)
from unet2015.training.history import HISTORY
from unet2015.training.loop import SETTINGS

SHORT = settings(steps=3, optimizer="adam", learning_rate=0.01)
LONG = settings(steps=400, optimizer="adam", learning_rate=0.001)


class Repeated:
    """A few tiles over and over."""

    def __init__(self) -> None:
        self.tiles = blob_tiles(LONG, 8)

    def __getitem__(self, k: int) -> TrainingTile:
        return self.tiles[k % len(self.tiles)]


@pytest.fixture(autouse=True)
def rows_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EVERY_STEPS", 2)


def run_until_killed(
    config_is_long: bool, folder: Path, moment: int | None, ready: Connection
) -> None:
    """A child's work: train; kill itself before a file operation; tell when a step is saved."""
    history.EVERY_STEPS = 2
    kill_before(moment, folder)
    config = LONG if config_is_long else SHORT
    quietly(config, Repeated(), folder, on_step=ready.send, checkpoint_every_s=ALWAYS)


def child(folder: Path, *, config_is_long: bool, moment: int | None, delay_s: float | None) -> int:
    """The exit code of a run in a process of its own, killed here where `delay_s` is given."""
    listen, ready = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=run_until_killed, args=(config_is_long, folder, moment, ready))
    process.start()
    ready.close()
    try:
        if delay_s is not None:
            assert listen.poll(300)
            process.join(delay_s)
            process.kill()
        process.join(300)
        assert process.exitcode is not None
        return process.exitcode
    finally:
        process.kill()
        listen.close()


def assert_same(ours: Path, theirs: Path) -> None:
    """Weights, optimiser and history are equal to the bit; nothing else lies there."""
    assert sorted(contents(ours)) == [PREVIOUS, CURRENT, SETTINGS, HISTORY, TIME, WEIGHTS]
    assert (ours / HISTORY).read_bytes() == (theirs / HISTORY).read_bytes()
    for name in (WEIGHTS, CURRENT):
        one, other = load_checkpoint(ours / name), load_checkpoint(theirs / name)
        assert tensors(one) == tensors(other)
        assert (one.step, one.history, one.pending) == (other.step, other.history, other.pending)


def tensors(checkpoint: Checkpoint) -> dict[str, bytes]:
    everything: dict[str, torch.Tensor] = checkpoint.model | checkpoint.optimizer
    return {name: tensor.numpy().tobytes() for name, tensor in everything.items()}


def test_killed_before_any_file_operation_it_ends_the_same(tmp_path):
    """Every moment of a run of three steps, each of which saves; the last one is not killed."""
    quietly(SHORT, Repeated(), tmp_path / "whole")
    moment, left_behind = 0, 0
    while True:
        folder = tmp_path / str(moment)
        code = child(folder, config_is_long=False, moment=moment, delay_s=None)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        left_behind += any(folder.glob(".*.part"))
        quietly(SHORT, Repeated(), folder)
        assert_same(folder, tmp_path / "whole")
        moment += 1
    assert_same(folder, tmp_path / "whole")
    # each write has three moments at which its temporary file stays: the settings,
    # 3 states, 3 histories, the weights and their time, who holds the folder
    assert left_behind == 3 * 10
    assert moment > 35


def test_killed_again_and_again_at_random_moments_it_ends_the_same(tmp_path):
    quietly(LONG, Repeated(), tmp_path / "whole", checkpoint_every_s=NEVER)
    reached = [0]
    for delay_s in np.random.default_rng(0).uniform(0, 0.02, 12):
        code = child(tmp_path / "cut", config_is_long=True, moment=None, delay_s=delay_s)
        assert code == -signal.SIGKILL
        reached.append(load_checkpoint(tmp_path / "cut").step)
    assert all(before < after for before, after in pairwise(reached))
    assert reached[-1] < LONG.training.steps
    quietly(LONG, Repeated(), tmp_path / "cut", checkpoint_every_s=NEVER)
    assert_same(tmp_path / "cut", tmp_path / "whole")


def test_only_what_a_killed_write_left_is_removed(tmp_path):
    left, other = tmp_path / f".{'0' * 32}.part", tmp_path / ".mine.part"
    for path in (left, other):
        path.write_bytes(b"torn")
    quietly(SHORT, Repeated(), tmp_path)
    assert not left.exists()
    assert other.read_bytes() == b"torn"
