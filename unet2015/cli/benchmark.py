"""python -m unet2015 benchmark: ours beside a plain counterpart."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from unet2015.runtime.atomic import writable_file
from unet2015.runtime.numerics import resolve_device
from unet2015.training.cuda_step import Compile


@dataclass(frozen=True)
class Benchmark:
    """Time one part of the project beside a plain counterpart, side by side in one run."""

    part: Literal["train", "predict", "augment", "weight-map", "metrics"]
    """train: a step of the full-size network; on CUDA in three precisions, eager, compiled, as a
    graph, and both. predict: a 512 × 512 px slice. augment: a training tile. weight-map: Eq. 2 of a
    slice. metrics: the challenge's, 30 × 512 × 512, all thresholds."""
    _: KW_ONLY
    device: str = "auto"
    """For train and predict: auto, cpu, cuda or cuda:1."""
    json: Path | None = None
    """File for the record; reproduce/tables.py makes a page of those in results/benchmarks/."""
    ways: tuple[Compile, ...] = ()
    """For train on CUDA: how a step runs, as --compile of train; default: all ways, compiled ones
    last."""
    precisions: tuple[Literal["float32", "tf32", "bfloat16"], ...] = ()
    """For train on CUDA; default: all."""

    def run(self) -> None:
        from unet2015 import benchmarks

        device = resolve_device(self.device)
        if self.json is not None:
            writable_file(self.json, "--json")
        benchmarks.run(self.part, device, self.json, ways=self.ways, precisions=self.precisions)
