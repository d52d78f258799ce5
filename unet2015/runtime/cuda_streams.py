"""What a CUDA device does in one go, and beside other work: graphs and streams.

A graph holds operations that were recorded once, and starts them all at once. A stream is a queue
of the device: what is in different ones runs at the same time.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TypeVar

import torch

Tensors = TypeVar("Tensors", bound=tuple[torch.Tensor, ...])


def aside(work: Callable[[], None], device: torch.device) -> None:
    """Do `work` on another stream of the device, as PyTorch asks for before a recording."""
    with torch.cuda.device(device):
        own, other = torch.cuda.current_stream(), torch.cuda.Stream()
        other.wait_stream(own)
        with torch.cuda.stream(other):
            work()
        own.wait_stream(other)


def recorded(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The device's part of `work` as a CUDA graph: what is returned starts it, all at once.

    Waits for the device. Drop-out in it draws as it would outside: PyTorch's generator hands a
    graph its seed and offset each time it is started.
    """
    graph = torch.cuda.CUDAGraph()
    # on a stream of its own: cuBLAS has one workspace for all that is recorded on a stream, and
    # graphs that run at the same time must not share it
    with torch.cuda.device(device), torch.cuda.graph(graph, stream=torch.cuda.Stream()):
        work()
    return graph.replay


def made_aside(
    batches: Generator[Tensors, None, None], device: torch.device
) -> Generator[Tensors, None, None]:
    """The same batches, made on a stream of their own, beside what the device was given before.

    A step only has been queued when the next batch is asked for, so that the batch of step n + 1 is
    made while step n runs. Neither the host nor the batch waits for the step; the step waits for
    its batch, on the device. Errors come, and `batches` are closed, as without it.
    """
    other = torch.cuda.Stream(device)
    with closing(batches):
        while True:
            with torch.cuda.stream(other):
                batch = next(batches, None)
            if batch is None:
                return
            own = torch.cuda.current_stream(device)
            own.wait_stream(other)
            for part in batch:
                part.record_stream(own)  # its memory may be used again when the step is done
            yield batch
