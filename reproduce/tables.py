"""Every table of results/, and the one in README.md, from the records in results/ alone.

    python reproduce/tables.py

Nothing is computed anew and nothing is typed: a page changes only if a record was added. A test
regenerates the pages and compares them byte for byte with those committed.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from unet2015.benchmarks.pages import write_pages
from unet2015.command_line import run_command
from unet2015.tables import write_tables


@dataclass(frozen=True)
class Options:
    """Write the tables of results/ from the records in results/runs."""

    results: Path = Path(__file__).resolve().parents[1] / "results"
    """Folder of the pages, with the records in its folder runs."""


def main(options: Options) -> None:
    pages = write_tables(options.results / "runs", options.results)
    for path in dict.fromkeys([*pages, *write_pages(options.results)]):
        print(path)


if __name__ == "__main__":
    run_command(lambda: main(tyro.cli(Options)))
