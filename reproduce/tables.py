"""Every table of results/, and the one in README.md, from the records in results/ alone.

    python reproduce/tables.py

Nothing is computed anew and nothing is typed: a page changes only if a record was added. A test
regenerates the pages and compares them byte for byte with those committed.
"""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from experiments import reimplementations
from unet2015.benchmarks.pages import write_pages
from unet2015.cli.options import parse_options
from unet2015.cli.run import run_command
from unet2015.reports.ablation_tables import write_ablations
from unet2015.reports.cell_tracking_tables import write_cell_tracking
from unet2015.reports.reimplementation_tables import write_reimplementations
from unet2015.reports.tables import write_tables


@dataclass(frozen=True)
class Options:
    """Write the tables of results/ from the records in results/runs."""

    _: KW_ONLY
    results: Path = Path(__file__).resolve().parents[1] / "results"
    """Folder of the pages, with the records in its folder runs."""


def main(options: Options) -> None:
    runs = options.results / "runs"
    pages = [
        *write_tables(runs, options.results),
        *write_ablations(options.results),
        *write_cell_tracking(runs, options.results),
        *write_reimplementations(runs, options.results, reimplementations.systems()),
        *write_pages(options.results),
    ]
    for path in dict.fromkeys(pages):
        print(path)


if __name__ == "__main__":
    run_command(lambda: main(parse_options(Options, None)))
