"""How a piece of work is timed, and what a benchmark leaves behind."""

import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

from unet2015.atomic import write_text
from unet2015.record import code_version, command_line, hardware, versions


@dataclass(frozen=True)
class Timed:
    """One row: the same work done by us and by a plain counterpart."""

    work: str
    ours_s: float | None
    """Seconds, median; None: not run, `remark` says why."""
    plain_s: float | None = None
    """Seconds of the counterpart; None: there is none, or it was not run."""
    plain: str = ""
    """What the counterpart is."""
    share_of_limit: float | None = None
    """Achieved fraction of the limit that `remark` names."""
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as long the counterpart takes."""
        return None if not self.ours_s or self.plain_s is None else self.plain_s / self.ours_s


def seconds(work: Callable[[], object], *, repeats: int = 3, device: str = "cpu") -> float:
    """Median wall time of `work` after one call that is not counted (compilation, caches)."""
    work()
    times = []
    for _ in range(repeats):
        gc.collect()
        _wait_for(device)
        began = time.perf_counter()
        work()
        _wait_for(device)
        times.append(time.perf_counter() - began)
    return median(times)


def side_by_side(
    ours: Callable[[], object], plain: Callable[[], object], *, repeats: int = 3, device: str
) -> tuple[float, float]:
    """Median wall times of two ways to do the same work, in turns: both meet the same machine."""
    for work in (ours, plain):
        work()
    times: list[list[float]] = [[], []]
    for _ in range(repeats):
        for column, work in zip(times, (ours, plain), strict=True):
            _wait_for(device)
            began = time.perf_counter()
            work()
            _wait_for(device)
            column.append(time.perf_counter() - began)
    return median(times[0]), median(times[1])


def as_markdown(rows: Sequence[Timed]) -> str:
    """The rows as a Markdown table."""
    head = ["work", "ours", "plain", "ratio", "share of the limit", ""]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        share = "" if row.share_of_limit is None else f"{row.share_of_limit:.0%}"
        ratio = "" if row.ratio is None else f"{row.ratio:.1f} ×"
        counterpart = "; ".join(part for part in (row.plain, row.remark) if part)
        ours = "not run" if row.ours_s is None else in_words(row.ours_s)
        plain = "" if row.plain_s is None else in_words(row.plain_s)
        lines.append([row.work, ours, plain, ratio, share, counterpart])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def in_words(seconds: float) -> str:
    """Seconds with three digits, in the unit that fits.

    >>> in_words(0.00321), in_words(0.25), in_words(75)
    ('3.21 ms', '250 ms', '75.0 s')
    """
    return f"{1000 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:#.3g} s"


def write_benchmark(path: Path, part: str, device: str, rows: Sequence[Timed]) -> None:
    """The record of one benchmark as JSON: what was measured, on what, with which code."""
    record: dict[str, Any] = {
        "experiment": "benchmark",
        "part": part,
        "device": device,
        "rows": [asdict(row) for row in rows],
        "command": command_line(),
        "hardware": hardware(),
        "versions": versions(),
        "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **code_version(),
    }
    write_text(path, json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
