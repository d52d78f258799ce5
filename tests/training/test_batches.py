"""Batches come in order, whole and once, whoever makes the tiles; errors come through."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from unet2015.augmentation.on_device import DeviceTile
from unet2015.augmentation.tile import TrainingTile
from unet2015.training.batches import batches, collate


def tile(k: int) -> TrainingTile:
    return TrainingTile(
        np.full((1, 4, 4), k, np.float32),
        np.full((2, 2), k % 2, np.uint8),
        np.full((2, 2), 0.5 * k, np.float32),
    )


class SlowTiles:
    """Notes what is asked for; early tiles take longest, so that threads overtake each other."""

    def __init__(self, *, broken: int | None = None) -> None:
        self.asked: list[int] = []
        self.broken = broken

    def __getitem__(self, k: int) -> TrainingTile:
        self.asked.append(k)
        time.sleep(0.004 * (3 - k % 4))
        if k == self.broken:
            raise RuntimeError(f"tile {k} is broken")
        return tile(k)


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("tiles")]


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (1, 3), (2, 3), (5, 1)])
def test_every_number_of_workers_gives_the_same_batches(workers, batch_size):
    tiles = SlowTiles()
    given = list(batches(tiles, 2, 7, batch_size, workers))
    assert len(given) == 5
    for step, (image, labels, weights) in enumerate(given, start=2):
        numbers = [step * batch_size + i for i in range(batch_size)]
        assert image[:, 0, 0, 0].tolist() == numbers
        assert labels[:, 0, 0].tolist() == [k % 2 for k in numbers]
        assert weights[:, 0, 0].tolist() == [0.5 * k for k in numbers]
    assert sorted(tiles.asked) == list(range(2 * batch_size, 7 * batch_size))
    assert threads() == []
    assert list(batches(tiles, 4, 4, batch_size, workers)) == []  # nothing to do


def test_tiles_of_arrays_and_of_tensors_make_the_same_batch_where_they_are():
    arrays = [tile(1), tile(2)]
    image, labels, weights = collate(arrays)
    assert (image.shape, image.dtype) == ((2, 1, 4, 4), torch.float32)
    assert (labels.shape, labels.dtype) == ((2, 2, 2), torch.int64)
    assert (weights.shape, weights.dtype) == ((2, 2, 2), torch.float32)
    tensors = [DeviceTile(*map(torch.from_numpy, array)) for array in arrays]
    for ours, theirs in zip(collate(tensors), (image, labels, weights), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    elsewhere = [DeviceTile(*(part.to("meta") for part in tensor)) for tensor in tensors]
    assert {part.device.type for part in collate(elsewhere)} == {"meta"}


@pytest.mark.parametrize(("workers", "broken"), [(0, 4), (1, 0), (1, 9), (3, 4)])
def test_an_exception_in_a_tile_is_raised_in_its_turn(workers, broken):
    given: list[float] = []

    def consume() -> None:
        for image, _, _ in batches(SlowTiles(broken=broken), 0, 10, 1, workers):
            given.append(float(image.mean()))

    # in a thread of its own, so that a hang is a failure and not a hang of the tests
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(consume).exception(timeout=30)
    assert isinstance(outcome, RuntimeError)
    assert str(outcome) == f"tile {broken} is broken"
    assert given == list(range(broken))
    assert threads() == []


def test_closing_early_ends_the_threads_and_what_they_were_to_do():
    tiles = SlowTiles()
    iteration = batches(tiles, 0, 10_000, 2, 3)
    next(iteration)
    assert threads() != []
    # two batches ahead per worker and the one in hand: memory is bounded
    bound = 2 * (2 * 3 + 1)
    deadline = time.monotonic() + 30
    while len(tiles.asked) < bound and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(tiles.asked) == list(range(bound))
    next(iteration)
    iteration.close()
    assert threads() == []
    assert max(tiles.asked) < bound + 2


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(ValueError, match=r"workers = -1: must be ≥ 0"):
        next(batches(SlowTiles(), 0, 1, 1, -1))
