"""From the records of benchmarks to the page of results/ and the table of speeds in README.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unet2015.benchmarks.cuda import WORKS
from unet2015.benchmarks.timing import Timed, as_markdown, in_words
from unet2015.reports.tables import markdown_table, with_table
from unet2015.runtime.atomic import write_text

PAGE, README_START = "benchmarks.md", "<!-- results:benchmarks -->"
PARTS = ("train", "predict", "augment", "weight-map", "metrics")
DEVICES = ("cpu", "cuda")

Record = Mapping[str, Any]


def write_pages(results: Path) -> list[Path]:
    """Write results/benchmarks.md from results/benchmarks/*.json, and the README's table.

    Returns the paths written. Raises ValueError naming the file for what is not such a record.
    """
    records = [_read(path) for path in sorted((results / "benchmarks").glob("*.json"))]
    pages = {results / PAGE: benchmarks_page(records)}
    readme = results.resolve().parent / "README.md"
    if readme.is_file() and README_START in (text := readme.read_text(encoding="utf-8")):
        pages[readme] = with_table(text, README_START, summary(records), readme)
    for path, page in pages.items():
        write_text(path, page)
    return list(pages)


def benchmarks_page(records: Sequence[Record]) -> str:
    """Every benchmark with its command and hardware, as Markdown; 'not run' where there is none."""
    parts = [
        "<!-- generated from results/benchmarks/*.json by: python reproduce/tables.py -->",
        "# Speeds",
        "Ours beside a plain counterpart that does the same work in the same run. Times are of one "
        "machine and one moment; the ratios are what counts.",
    ]
    for part in PARTS:
        found = [r for r in records if r["part"] == part]
        missing = [d for d in DEVICES if d not in {r["device"] for r in found}]
        if part in ("augment", "weight-map", "metrics"):  # work of the CPU
            missing = [] if found else ["cpu"]
        parts.append(f"## {part}")
        parts += [text for record in found for text in _section(record)]
        parts += [_not_run(part, device) for device in missing]
    return "\n\n".join(parts) + "\n"


def _not_run(part: str, device: str) -> str:
    """What the page says of a benchmark without a record, with the rows that it would have."""
    works = f": {'; '.join(WORKS)}" if (part, device) == ("train", "cuda") else ""
    return f"On {device}: not run{works}."


def _missing(record: Record) -> list[str]:
    """The rows that a record lacks without a note of why: it was cut off, or not asked for them."""
    if record["part"] != "train" or not record["device"].startswith("cuda"):
        return []
    said = {row["work"] for row in record["rows"]}
    said |= {note.partition(": ")[0] for note in record["notes"]}
    return [work for work in WORKS if work not in said]


def summary(records: Sequence[Record]) -> str:
    """The headline rows of all benchmarks, as Markdown."""
    lines = []
    for record in sorted(records, key=lambda r: PARTS.index(r["part"])):
        for row in _rows(record):
            if row.headline and row.ratio is not None:
                assert row.plain_s is not None
                per_slice = "" if row.slices == (1, 1) else ", per slice"
                ours, plain = (
                    in_words(time / n)
                    for time, n in zip((row.ours_s, row.plain_s), row.slices, strict=True)
                )
                ratio = f"{row.ratio:.1f} ×"
                lines.append(
                    [row.work + per_slice, ours, plain, ratio, row.plain, _machine(record)]
                )
    head = ["", "ours", "plain", "ratio", "plain is", "on"]
    return markdown_table(head, lines) if lines else "No benchmark was run."


def _section(record: Record) -> list[str]:
    commit = (record["commit"] or "not under version control")[:12]
    versions, machine = record["versions"], record["hardware"]
    changed = ", with uncommitted changes" if record["dirty"] else ""
    about = [
        f"- command: `{record['command']}`, commit {commit}{changed}, {record['started']}",
        f"- hardware: {machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB; "
        f"accelerator: {', '.join(machine['accelerators']) or 'none'}",
        f"- Python {versions['python']}, torch {versions['torch']}, numpy {versions['numpy']}",
        *(f"- {note}" for note in record["notes"]),
    ]
    if missing := _missing(record):
        about.append(f"- not run: {'; '.join(missing)}")
    return [f"### {record['device']}", as_markdown(_rows(record)), "\n".join(about)]


def _machine(record: Record) -> str:
    machine = record["hardware"]
    if record["device"].startswith("cuda"):
        return ", ".join(machine["accelerators"])
    return f"{machine['cores']} CPU cores"


def _rows(record: Record) -> list[Timed]:
    return [Timed(**row | {"slices": tuple(row["slices"])}) for row in record["rows"]]


def _read(path: Path) -> Record:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["experiment"] != "benchmark" or record["part"] not in PARTS:
            raise ValueError("not the record of a benchmark")
        _rows(record)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error!r}; it must be written by `benchmark --json`") from error
    return record
