"""Batches made beside the steps are the same, in the same order; streams are pretended here."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from tests.training.test_batches import SlowTiles, tile
from unet2015.runtime.cuda_streams import made_aside
from unet2015.training.batches import batches

CUDA = torch.device("cuda")


class Stream:
    """A stream that notes, in the order of the host, what it is asked for."""

    current: list["Stream"]
    done: list[str]

    def __init__(self, _device: torch.device | None = None, name: str = "aside") -> None:
        self.name = name

    def wait_stream(self, other: "Stream") -> None:
        self.done.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Stream.current, Stream.done = [Stream(name="step")], []

    @contextmanager
    def stream(entered: Stream) -> Iterator[None]:
        Stream.current.append(entered)
        try:
            yield
        finally:
            Stream.current.pop()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: Stream.current[-1])
    monkeypatch.setattr(
        Tensor, "record_stream", lambda _self, by: Stream.done.append(f"{by.name} uses")
    )
    return Stream.done


class Noted:
    """Notes on which stream each tile is made."""

    def __getitem__(self, k: int) -> object:
        Stream.done.append(f"{Stream.current[-1].name} makes {k}")
        return tile(k)


def test_a_batch_is_made_aside_when_the_step_before_it_is_queued(done):
    for k, _ in enumerate(made_aside(batches(Noted(), 3, 5, 1, 0), CUDA), start=3):
        done.append(f"{Stream.current[-1].name} {k}")
    handed_over = ["step waits for aside", *["step uses"] * 3]
    assert done == [
        "aside makes 3",
        *handed_over,
        "step 3",
        "aside makes 4",
        *handed_over,
        "step 4",
    ]


def test_the_batches_are_those_made_without(done):
    plain = batches(Noted(), 2, 7, 3, 0)
    for ours, theirs in zip(made_aside(batches(Noted(), 2, 7, 3, 0), CUDA), plain, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert list(made_aside(batches(Noted(), 4, 4, 1, 0), CUDA)) == []


def test_an_error_comes_in_its_turn_and_closing_ends_the_making(done):
    made = made_aside(batches(SlowTiles(broken=2), 0, 9, 1, 0), CUDA)
    assert [float(next(made)[0].mean()) for _ in range(2)] == [0, 1]
    with pytest.raises(RuntimeError, match="tile 2 is broken"):
        next(made)
    inner = batches(SlowTiles(), 0, 9, 1, 0)
    outer = made_aside(inner, CUDA)
    next(outer)
    outer.close()
    assert next(inner, None) is None
