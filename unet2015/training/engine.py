"""The options of every command that trains on how the machine computes (not what)."""

from dataclasses import dataclass
from typing import Any

import torch

from unet2015.runtime.numerics import prepare_deterministic, resolve_device
from unet2015.training.batches import check_workers
from unet2015.training.cuda_step import GRAPHS, Compile, check_compile
from unet2015.training.tile_place import AugmentOn

MOST_THREADS = 1024
"""More than any machine's cores (our choice)."""


@dataclass(frozen=True)
class Engine:
    """How a training computes; results differ by rounding at most."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    workers: int = 1
    """Threads that prepare training tiles (the result does not depend on it)."""
    threads: int | None = None
    """Threads that compute on a CPU; default: PyTorch's, one a core, or $OMP_NUM_THREADS. Of two
    commands on one machine each is faster with its share of the cores."""
    augment_on: AugmentOn = "auto"
    """Who makes the training tiles: host, --workers threads; device, a GPU itself; auto: the
    device that trains, if it is a GPU."""
    deterministic: bool = False
    """The same bits in every run on a GPU too, at some cost of speed; a CPU gives them anyway.
    Not with a --compile that records a graph."""
    compile: Compile = "none"
    """How a step runs: none, operation by operation; compile, by torch.compile; cuda_graph,
    recorded once and replayed; compiled_graph, both."""
    checkpoint_every_s: float = 120.0
    """Seconds from one resume state to the next: what a power cut can cost (a signal costs
    nothing); 0: one after every step (our choice)."""

    def check(self) -> None:
        """Refuse, with ValueError, what `train` would, before anything is read or written.

        The number of threads is set here.

        Also --deterministic with a graph: the steps before its recording use other kernels than
        those that it holds, so that a continued run would have other bits. Without a graph it is
        prepared here, before a GPU is first used.
        """
        if self.deterministic and self.compile in GRAPHS:
            raise ValueError(
                f"--compile {self.compile} with --deterministic: a graph cannot promise equal "
                "bits; give --compile none, or drop --deterministic"
            )
        if self.deterministic:
            prepare_deterministic()
        if self.threads is not None:
            if not 1 <= self.threads <= MOST_THREADS:
                raise ValueError(f"--threads {self.threads}: must be 1 … {MOST_THREADS}")
            torch.set_num_threads(self.threads)
        check_workers(self.workers, "--workers")
        if not self.checkpoint_every_s >= 0:
            raise ValueError(f"--checkpoint-every-s {self.checkpoint_every_s:g}: must be ≥ 0")
        try:
            check_compile(self.compile, resolve_device(self.device))
        except ValueError as error:
            reason = str(error).replace(f"compile = {self.compile!r}", f"--compile {self.compile}")
            raise ValueError(reason) from error

    def options(self) -> dict[str, Any]:
        """The arguments of `loop.train`."""
        return self.way() | {"checkpoint_every_s": self.checkpoint_every_s}

    def way(self) -> dict[str, Any]:
        """Those on which the time of a step depends: of `estimate.seconds_per_step` too."""
        return {
            "device": resolve_device(self.device),
            "workers": self.workers,
            "augment_on": self.augment_on,
            "deterministic": self.deterministic,
            "compile": self.compile,
        }
