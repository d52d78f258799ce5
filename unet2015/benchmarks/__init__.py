"""Times of the project's parts beside plain counterparts, measured side by side in one run.

    python -m unet2015 benchmark train
    python -m unet2015 benchmark metrics --json results/benchmarks/metrics_cpu.json

A benchmark is no test: nothing fails if it is slow. Every row names what was done, our time, the
plain counterpart's time on the same work in the same process, and their ratio; where the limit of
the hardware is known, the share of it that was reached. Other packages that do the same work are
counterparts too (`peers`), where they are installed. `reproduce/tables.py` makes the page of
results/ from the JSON records.
"""

from pathlib import Path

from unet2015.benchmarks import cuda, metrics, peers, pipeline, predict, train
from unet2015.benchmarks.timing import (
    Benchmark,
    as_markdown,
    benchmark_record,
    write_benchmark,
)
from unet2015.numerics import numerics


def run(part: str, device: str, json: Path | None = None) -> None:
    """Run the benchmark of one part, print its table, and write its record to `json`."""
    if part not in ("train", "predict"):
        device = "cpu"  # the others compute there whatever is at hand
    works = {
        "train": lambda: (cuda if device.startswith("cuda") else train).benchmark(device),
        "predict": lambda: _predict(device),
        "augment": lambda: _together(pipeline.augment(), peers.augment()),
        "weight-map": pipeline.weight_map,
        "metrics": metrics.benchmark,
    }
    found = works[part]()
    record = benchmark_record(part, device, found)
    print(as_markdown(found.rows), *(f"- {note}" for note in found.notes), sep="\n")
    if json is not None:
        write_benchmark(json, record)
        print(json)


def _predict(device: str) -> Benchmark:
    with numerics(device):  # as predictions are made: float32 is float32
        return _together(predict.benchmark(device), peers.predict(device))


def _together(first: Benchmark, second: Benchmark) -> Benchmark:
    return Benchmark(first.rows + second.rows, first.notes + second.notes)
