"""Every page of results/, and the tables in README.md, from the records in results/ alone.

    python reproduce/tables.py

Nothing is computed anew and nothing is typed: a page changes only if a record was added. A test
regenerates the pages and compares them byte for byte with those committed. A run writes the page of
its experiment too, but README.md changes here only: it says what the repository claims, which is
decided when a record is committed and not by whoever tries the commands.
"""

import os
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from unet2015 import reimplementations
from unet2015.benchmarks.pages import read_benchmarks, summary, write_benchmarks_page
from unet2015.cli.options import parse_options
from unet2015.cli.run import run_command
from unet2015.reports import em_challenge, records
from unet2015.reports.ablations import write_ablations
from unet2015.reports.cell_tracking import write_cell_tracking
from unet2015.reports.pages import write_readme
from unet2015.reports.reimplementations import write_reimplementations
from unet2015.runtime.lock import held


@dataclass(frozen=True)
class Options:
    """Write the pages of results/ and the tables of README.md from the records in results/."""

    _: KW_ONLY
    results: Path = Path(__file__).resolve().parents[1] / "results"
    """Folder of the pages, with the records in its folder runs; README.md lies beside it."""


def main(options: Options) -> None:
    with held(options.results, wait=True):  # README.md too has one writer at a time
        for path in write_all(options.results):
            print(path)


def write_all(results: Path) -> list[Path]:
    """Write every page and table; returns their paths."""
    tables = {
        "em_challenge": em_challenge.summary(records.read(results, "em_challenge")),
        "benchmarks": summary(read_benchmarks(results)),
    }
    return [
        *write_readme(Path(os.path.realpath(results)).parent / "README.md", tables),
        *em_challenge.write_em_challenge(results),
        *write_ablations(results),
        *write_cell_tracking(results),
        *write_reimplementations(results, reimplementations.systems()),
        *write_benchmarks_page(results),
    ]


if __name__ == "__main__":
    run_command(lambda: main(parse_options(Options, None)))
