"""Training tiles in the order of the steps, prepared ahead by threads or made on the device."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]


class TileSource(Protocol):
    """Training tiles by number: sample k is always the same (`tile.TileSequence`)."""

    def __getitem__(self, k: int, /) -> Any: ...


def batches(
    tiles: TileSource,
    first_step: int,
    steps: int,
    batch_size: int,
    workers: int,
    *,
    rank: int = 0,
    processes: int = 1,
) -> Generator[Batch, None, None]:
    """The batches of steps first_step … steps-1; step n holds samples n·batch_size ….

    Process `rank` of several (`distributed`) gets its own part of the step's samples, which are
    those of one process with as many times the batch: (n·processes + rank)·batch_size ….

    Yields image (B, C, h, w) float32, labels (B, o, o) int64, weights (B, o, o) float32. The
    number of worker threads (0 = none) changes when a tile is made, never which. An exception in
    a tile is raised here, in its turn; the threads end with the iteration, also when it is closed
    early. Raises ValueError for workers < 0.
    """
    check_workers(workers)
    starts = [(step * processes + rank) * batch_size for step in range(first_step, steps)]
    if workers == 0:
        for first in starts:
            yield collate([tiles[first + i] for i in range(batch_size)])
        return
    ahead: deque[list[Future[Any]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="tiles")
    try:
        for first in starts:
            ahead.append([pool.submit(tiles.__getitem__, first + i) for i in range(batch_size)])
            if len(ahead) > 2 * workers:
                yield collate([future.result() for future in ahead.popleft()])
        while ahead:
            yield collate([future.result() for future in ahead.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)


def check_workers(workers: int, option: str = "workers =") -> None:
    """Raise ValueError, naming `option`, for a number of threads that there cannot be."""
    if workers < 0:
        raise ValueError(f"{option} {workers}: must be ≥ 0 (0 = without threads)")


def collate(samples: list[Any]) -> Batch:
    """Samples with image, labels and weights as the three tensors of a batch.

    Of arrays they lie in the host's memory, of tensors (`augmentation.on_device`) where these do.
    """
    image = _stacked([s.image for s in samples])
    labels = _stacked([s.labels for s in samples]).long()
    weights = _stacked([s.weights for s in samples])
    return image, labels, weights


def _stacked(parts: list[Any]) -> Tensor:
    if isinstance(parts[0], Tensor):
        return torch.stack(parts)
    return torch.from_numpy(np.stack(parts))
