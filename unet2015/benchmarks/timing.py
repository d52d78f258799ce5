"""How a piece of work is timed, and what a benchmark leaves behind."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

from unet2015.reports import pages
from unet2015.runtime.atomic import write_text
from unet2015.runtime.record import code_version, command_line, hardware, versions


@dataclass(frozen=True)
class Timed:
    """One row: the same work done by us and by a plain counterpart."""

    work: str
    ours_s: float
    """Seconds, median of the repeats."""
    plain_s: float | None = None
    """Seconds of the counterpart, None if there is none."""
    plain: str = ""
    """What the counterpart is."""
    slices: tuple[int, int] = (1, 1)
    """How many slices ours and the counterpart were timed on; the ratio is per slice."""
    share_of_limit: float | None = None
    """Achieved fraction of the limit that `remark` names."""
    remark: str = ""
    headline: bool = False
    """Whether README.md shows the row."""

    @property
    def ratio(self) -> float | None:
        """How many times as long the counterpart takes."""
        if self.plain_s is None:
            return None
        ours, plain = self.slices
        return (self.plain_s / plain) / (self.ours_s / ours)


@dataclass(frozen=True)
class Benchmark:
    """The rows of one part, and what must be known to read them."""

    rows: list[Timed]
    notes: list[str]


def seconds(work: Callable[[], object], *, repeats: int = 3, device: str = "cpu") -> float:
    """Median wall time of `work` after one call that is not counted (compilation, caches)."""
    return side_by_side(work, repeats=repeats, device=device)[0]


def side_by_side(
    *works: Callable[[], object], repeats: int = 3, device: str = "cpu"
) -> list[float]:
    """Median wall times of several ways to do the same work, in turns: all meet the same machine.

    One call of each is not counted.
    """
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for column, work in zip(times, works, strict=True):
            _wait_for(device)
            began = time.perf_counter()
            work()
            _wait_for(device)
            column.append(time.perf_counter() - began)
    return [median(column) for column in times]


def as_markdown(rows: Sequence[Timed]) -> str:
    """The rows as a Markdown table."""
    lines = []
    for row in rows:
        times = zip((row.ours_s, row.plain_s), row.slices, strict=True)
        ours, plain = (
            time and in_words(time) + f" ({n} slices)" * (row.slices != (1, 1)) for time, n in times
        )
        remarks = "; ".join(part for part in (row.plain, row.remark) if part)
        ratio = row.ratio and f"{row.ratio:.1f} ×"
        words = {"ours": ours, "plain": plain, "ratio": ratio, "remarks": remarks}
        lines.append(vars(row) | words)
    head = ["work", "ours", "plain", "ratio", "share of the limit=share_of_limit:.0%"]
    return pages.table(lines, [*head, "plain is; remarks=remarks"], none="")


def in_words(seconds: float) -> str:
    """Seconds with three digits, in the unit that fits.

    >>> in_words(0.00321), in_words(0.25), in_words(75)
    ('3.21 ms', '250 ms', '75.0 s')
    """
    return f"{1000 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:#.3g} s"


def benchmark_record(part: str, device: str, found: Benchmark) -> dict[str, Any]:
    """What a benchmark leaves behind: what was measured, on what, with which code."""
    return {
        "experiment": "benchmark",
        "part": part,
        "device": device,
        "rows": [asdict(row) for row in found.rows],
        "notes": found.notes,
        "command": command_line(),
        "hardware": hardware(),
        "versions": versions(),
        "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **code_version(),
    }


def write_benchmark(path: Path, record: dict[str, Any]) -> None:
    """The record as JSON; ValueError for a number that JSON cannot hold."""
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
