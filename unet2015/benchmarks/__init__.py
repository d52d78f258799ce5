"""Times of the project's parts beside plain counterparts, measured side by side in one run.

    python -m unet2015 benchmark train
    python -m unet2015 benchmark metrics --json results/benchmarks/metrics_cpu.json

A benchmark is no test: nothing fails if it is slow. Every row names what was done, our time, the
plain counterpart's time on the same work in the same process, and their ratio; where the limit of
the hardware is known, the share of it that was reached. Other packages that do the same work are
counterparts too (`peers`), where they are installed. `reproduce/tables.py` makes the page of
results/ from the JSON records.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from unet2015.benchmarks import cuda, metrics, peers, pipeline, predict, train
from unet2015.benchmarks.timing import (
    Benchmark,
    as_markdown,
    benchmark_record,
    write_benchmark,
)
from unet2015.runtime.numerics import numerics
from unet2015.training.cuda_step import Compile


def run(
    part: str,
    device: str,
    json: Path | None = None,
    *,
    ways: Sequence[Compile] = (),
    precisions: Sequence[cuda.Precision] = (),
) -> None:
    """Run the benchmark of one part, print its table, and write its record to `json`.

    ways, precisions: those to measure, none for all, in part 'train' on CUDA; ValueError elsewhere.
    There the record is written after each row, so that a run that is killed has not run in vain.
    """
    on_cuda = part == "train" and device.startswith("cuda")
    for option, given in (("--ways", ways), ("--precisions", precisions)):
        if given and not on_cuda:
            where = f"part {part!r} on {device}"
            raise ValueError(
                f"{option} {' '.join(given)}: only for part 'train' on CUDA, not {where}"
            )
    if part not in ("train", "predict"):
        device = "cpu"  # the others compute there whatever is at hand
    steps = partial(train.benchmark, device)
    if on_cuda:
        steps = partial(
            *(cuda.benchmark, device),
            ways=ways or tuple(cuda.WAYS),
            precisions=precisions or cuda.PRECISIONS,
            so_far=lambda found: _write(part, device, found, json),
        )
    works = {
        "train": steps,
        "predict": lambda: _predict(device),
        "augment": lambda: _together(pipeline.augment(), peers.augment()),
        "weight-map": pipeline.weight_map,
        "metrics": metrics.benchmark,
    }
    found = works[part]()
    _write(part, device, found, json)
    print(as_markdown(found.rows), *(f"- {note}" for note in found.notes), sep="\n")
    if json is not None:
        print(json)


def _write(part: str, device: str, found: Benchmark, json: Path | None) -> None:
    if json is not None:
        write_benchmark(json, benchmark_record(part, device, found))


def _predict(device: str) -> Benchmark:
    with numerics(device):  # as predictions are made: float32 is float32
        return _together(predict.benchmark(device), peers.predict(device))


def _together(first: Benchmark, second: Benchmark) -> Benchmark:
    return Benchmark(first.rows + second.rows, first.notes + second.notes)
