"""From the records of benchmarks to the page of results/ and the table of speeds in README.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec

from unet2015.benchmarks.cuda import WORKS
from unet2015.benchmarks.timing import Timed, as_markdown, in_words
from unet2015.reports import pages
from unet2015.reports.records import inert
from unet2015.runtime.lock import held
from unet2015.runtime.read_back import read_text
from unet2015.runtime.record_schema import Hardware, Hash, Versions

PARTS = ("train", "predict", "augment", "weight-map", "metrics")
OF_THE_CPU = PARTS[2:]

Record = Mapping[str, Any]


class _Benchmark(TypedDict):
    """What the page shows of a benchmark (`timing.benchmark_record`)."""

    experiment: Literal["benchmark"]
    part: Literal["train", "predict", "augment", "weight-map", "metrics"]
    device: Annotated[str, msgspec.Meta(pattern=r"^(cpu|cuda(:\d+)?)$")]
    rows: list[Timed]
    notes: list[str]
    command: str
    commit: Hash | None
    dirty: bool | None
    hardware: Hardware
    started: str
    versions: Versions


def write_benchmarks_page(results: Path) -> list[Path]:
    """Write results/benchmarks.md from results/benchmarks/*.json; returns the path.

    Raises ValueError naming the file for what is not such a record.
    """
    with held(results, wait=True):
        return pages.write({results / "benchmarks.md": page(read_benchmarks(results))})


def page(records: Sequence[Record]) -> str:
    """Every benchmark with its command and hardware; 'not run' where there is none."""
    parts = {}
    for part in PARTS:
        found = [record for record in records if record["part"] == part]
        devices = {record["device"] for record in found}
        missing = [] if devices else ["cpu"]
        if part not in OF_THE_CPU:
            missing = [device for device in ("cpu", "cuda") if device not in devices]
        shown = [(record, as_markdown(record["rows"]), _not_run(record)) for record in found]
        parts[part] = {"records": shown, "missing": missing}
    return pages.render("benchmarks", parts=parts, works=WORKS)


def summary(records: Sequence[Record]) -> str:
    """The headline rows of all benchmarks, as a Markdown table for README.md."""
    shown = []
    for record in sorted(records, key=lambda r: PARTS.index(r["part"])):
        for row in record["rows"]:
            if row.headline and row.ratio is not None and row.plain_s is not None:
                times = zip((row.ours_s, row.plain_s), row.slices, strict=True)
                ours, plain = (in_words(time / n) for time, n in times)
                line = {"": row.work + ", per slice" * (row.slices != (1, 1))}
                line |= {"ours": ours, "plain": plain, "ratio": f"{row.ratio:.1f} ×"}
                shown.append(line | {"plain is": row.plain, "on": _machine(record)})
    return pages.table(shown) if shown else "No benchmark was run."


def read_benchmarks(results: Path) -> list[Record]:
    """The records of results/benchmarks; ValueError naming the file for what is none."""
    return [_read(path) for path in sorted((results / "benchmarks").glob("*.json"))]


def _not_run(record: Record) -> list[str]:
    """The rows that a record lacks without a note of why: it was cut off, or not asked for them."""
    if record["part"] != "train" or not record["device"].startswith("cuda"):
        return []
    said = {row.work for row in record["rows"]}
    said |= {note.partition(": ")[0] for note in record["notes"]}
    return [work for work in WORKS if work not in said]


def _machine(record: Record) -> str:
    machine = record["hardware"]
    if record["device"].startswith("cuda"):
        return ", ".join(machine["accelerators"])
    return f"{machine['cores']} CPU cores"


def _read(path: Path) -> Record:
    try:
        record = inert(msgspec.json.decode(read_text(path)))
        rows = msgspec.convert(record, _Benchmark)["rows"]
        if not all(min(row.slices) >= 1 for row in rows):
            raise ValueError("rows of less than one slice")
    except (ValueError, RecursionError, OverflowError) as error:  # msgspec's are ValueErrors
        raise ValueError(f"{path}: {error}; it must be written by `benchmark --json`") from error
    return {**record, "rows": rows}
