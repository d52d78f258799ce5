"""Several processes that train one network together, as `torchrun` starts them.

    torchrun --nproc-per-node 4 reproduce/em_challenge.py --preset paper

Every process takes its own tiles of a step, and PyTorch's DistributedDataParallel averages the
gradients: n processes with batches of b tiles take the steps of one process with batches of n·b.
The first process, the writer, alone writes files and speaks. Without torchrun, or with one process,
nothing here does anything. Not in the paper, which trained on one GPU (§3).
"""

import atexit
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from unet2015.runtime.lock import held

T = TypeVar("T")

LONGEST_WAIT = timedelta(days=1)
"""How long processes wait for each other (our choice: the others wait while the writer predicts; a
process that has died is noticed at once, by torchrun and by the broken connection)."""
MOMENT_S = 5.0
"""Seconds that a failed process leaves to the writer to say what is wrong (our choice)."""
_PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class _Place:
    """Where a process stands among the others, and among those of its machine."""

    rank: int = 0
    local_rank: int = 0
    count: int = 1


def _place() -> _Place:
    """What torchrun's environment variables say; one process alone without them."""
    if not any(name in os.environ for name in _PLACE):
        return _Place()
    remedy = "start the processes with torchrun, or unset " + ", ".join(_PLACE)
    for name in (*_PLACE, *_MEETING_POINT):
        if not os.environ.get(name):
            raise ValueError(f"environment variable {name} is missing beside {_given()}: {remedy}")
    try:
        place = _Place(*(int(os.environ[name]) for name in _PLACE))
    except ValueError:
        raise ValueError(f"environment variables {_given()}: must be integers; {remedy}") from None
    if not (0 <= place.local_rank <= place.rank < place.count):
        raise ValueError(
            f"environment variables {_given()}: must be 0 ≤ LOCAL_RANK ≤ RANK < WORLD_SIZE; "
            f"{remedy}"
        )
    return place


def _given() -> str:
    return ", ".join(f"{name} = {os.environ[name]}" for name in _PLACE if name in os.environ)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """The number of this process, from 0; 0 if it is alone. ValueError as `join`."""
    return dist.get_rank() if _joined() else _place().rank


def count() -> int:
    """How many processes train together; 1 without torchrun. ValueError as `join`."""
    return dist.get_world_size() if _joined() else _place().count


def is_writer() -> bool:
    """Whether this process is the one that writes files and speaks: the first, or the only one."""
    return rank() == 0


def join() -> None:
    """Meet the other processes that torchrun started: gloo for the CPU, nccl for CUDA.

    Does nothing for a process alone, and in one that has joined. It is left when Python ends.
    Raises ValueError if torchrun's environment variables are incomplete or contradict each other,
    or if the first process cannot be reached; that it takes long is said.
    """
    place = _place()
    if place.count == 1 or _joined():
        return
    cuda = torch.cuda.is_available()
    if cuda and place.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(place.local_rank)
    where = ":".join(os.environ[name] for name in _MEETING_POINT)
    me = f"process {place.rank} of {place.count}"
    # past `one_voice`: it is this process that cannot go on
    waiting = f"{me}: waiting for the others at {where} ({' and '.join(_MEETING_POINT)})"
    said = threading.Timer(MOMENT_S, print, [waiting], {"file": sys.__stderr__, "flush": True})
    said.daemon = True
    said.start()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=LONGEST_WAIT)
    except (dist.DistError, ConnectionError) as error:
        raise ValueError(
            f"{me}: cannot meet the others at {where} ({_first_line(error)})"
        ) from error
    finally:
        said.cancel()
    atexit.register(_leave)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _leave() -> None:
    if _joined():
        dist.destroy_process_group()


def own_device(device: str) -> torch.device:
    """The device of this process: of several on a machine, each takes the GPU of its LOCAL_RANK.

    Raises ValueError for the number of another process's GPU, and for fewer GPUs than processes.
    """
    asked = torch.device(device)
    if count() == 1 or asked.type != "cuda":
        return asked
    own, found = _place().local_rank, torch.cuda.device_count()
    if asked.index not in (None, own):
        raise ValueError(
            f"device = {device}: several processes take a GPU each; use 'cuda' or 'auto'"
        )
    if own >= found:
        raise ValueError(
            f"device = {device}: more processes than the {found} GPUs of this machine; start them "
            f"with --nproc-per-node {max(1, found)}, or use 'cpu'"
        )
    return torch.device("cuda", own)


def from_writer(compute: Callable[[], T]) -> T:
    """What `compute` returns, or raises, in the writer: the same in all processes.

    So the others need not see the writer's files, nor see them at the same moment. The value
    travels as a pickle between processes of one job, which trust each other.
    """
    if count() == 1:
        return compute()
    join()
    outcome: list = [None, None]
    if is_writer():
        try:
            outcome[0] = compute()
        except Exception as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """`lock.held` for all processes of a run: the first, which alone writes there, holds it."""
    with ExitStack() as stack:

        def hold() -> None:
            stack.enter_context(held(folder))

        from_writer(hold)
        yield


class Replicas:
    """The copies of a network in all processes, which stay equal (DistributedDataParallel).

    `module` computes what the network does, and its backward pass leaves the mean of all processes'
    gradients. Batch normalisation, which the paper does not use, takes its mean and variance per
    process; the writer's running averages are kept.
    """

    def __init__(self, network: nn.Module) -> None:
        self.rank, self.count = rank(), count()
        self.module = DistributedDataParallel(network, gradient_as_bucket_view=True)

    def of_all(
        self, loss: Tensor, weight: Tensor, measured: Tensor, stop: bool
    ) -> tuple[Tensor, Tensor]:
        """This process's part of the loss over all processes, and the figures of all of them.

        loss: scalar Σ w·CE / Σ w of this process (paper §3, Eq. 1), weight: its Σ w; measured: (k,)
        its figures, the loss first, means over equally many pixels. Returns the loss to go
        backward from, n·Σ w/(Σ w of all)·loss since the gradients are averaged; and (k + 1,) the
        figures of the global batch, then how many processes ask to `stop`. One exchange a step.
        """
        own_loss, *others = measured.unbind()
        asking = weight.new_full((), float(stop))
        total = torch.stack([weight, weight * own_loss, *others, asking])
        dist.all_reduce(total)
        all_weights = total[0].clamp_min(1e-12)
        means = torch.cat([total[1:2] / all_weights, total[2:-1] / self.count, total[-1:]])
        return loss * (self.count * weight / all_weights), means


def partner_lost(error: RuntimeError) -> bool:
    """Whether an exchange with the other processes failed: one has ended, or cannot be reached."""
    broken = isinstance(error, dist.DistError) or "gloo" in str(error)
    return _joined() and count() > 1 and broken


def _ended_for_a_partner(end: SystemExit) -> bool:
    """Whether the error that ended the command came from an exchange that failed."""
    cause = end.__context__.__cause__ if end.__context__ else None
    return isinstance(cause, RuntimeError) and partner_lost(cause)


def deviations() -> list[str]:
    """How a record states that several processes enlarged the batch; nothing for one alone."""
    if count() == 1:
        return []
    return [f"processes: {count()}, each with training.batch_size tiles a step (was 1)"]


@contextmanager
def one_voice() -> Iterator[None]:
    """Let only the writer print, around a whole command; the others' exit codes stay.

    Another process that ends in an error waits for a moment: where the writer met the same error,
    torchrun ends this one meanwhile. What was wrong with its input alone (exit code 2) is then
    said; a traceback always is, and at once that another process has gone, which may be the writer.
    """
    try:
        silent = not is_writer()
    except ValueError:  # the command says it when it joins
        silent = False
    if not silent:
        yield
        return
    said = io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            yield
    except SystemExit as end:
        lost = _ended_for_a_partner(end)
        if end.code and not lost:
            time.sleep(MOMENT_S)
        if end.code == 2 or lost:
            print(f"process {rank()} of {count()}: {said.getvalue()}", end="", file=sys.stderr)
        raise
