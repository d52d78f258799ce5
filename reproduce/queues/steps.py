"""The number of steps of the newest run of `paper` on all five folds, from its record.

    python reproduce/em_challenge.py --training.steps $(python reproduce/queues/steps.py) …

So that another seed, and another precision, have the steps that --minutes planned for the first.
"""

import sys
from pathlib import Path

from unet2015.reports.em_challenge import PRESETS
from unet2015.runtime.record import read_records

RESULTS = Path(__file__).resolve().parents[2] / "results"


def steps(records: Path) -> int:
    """The steps of that run; FileNotFoundError if there is no record of one."""
    folds = set(map(str, PRESETS["paper"]))
    found = [
        record
        for record in read_records(records, "em_challenge")
        if record["preset"] == "paper"
        and record["dataset"] == "isbi2012"
        and record["folds"].keys() == folds
    ]
    if not found:
        raise FileNotFoundError(
            f"{records}: no record of --preset paper on all folds; run that first, with --minutes"
        )
    newest = max(found, key=lambda record: (record["started"], record["name"]))
    return newest["config"]["training"]["steps"]


if __name__ == "__main__":
    try:
        print(steps(RESULTS / "runs"))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
