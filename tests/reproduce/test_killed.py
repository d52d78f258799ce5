"""reproduce/em_challenge.py, killed again and again, ends as if it had not been."""

import signal
from itertools import count
from pathlib import Path
from unittest.mock import patch

from tests.commands import TINY, records_in, run
from tests.kills import FORKS, kill_before
from unet2015.data.phantom import phantom_stack
from unet2015.training.checkpoint import WEIGHTS

SMALL = phantom_stack(seed=0, slices=10, size_px=48, test_slices=0)


def run_until_killed(folder: Path, moment: int | None) -> None:
    """A child's work: the whole command, on a small phantom."""
    kill_before(moment, folder)
    places = ("--output", folder / "runs", "--results", folder / "results")
    with patch("unet2015.data.phantom.phantom_stack", lambda seed: SMALL):
        code = run("reproduce/em_challenge.py", "--phantom", *places, *TINY)
    raise SystemExit(code)


def ended(folder: Path, moment: int | None) -> int:
    process = FORKS.Process(target=run_until_killed, args=(folder, moment))
    process.start()
    process.join(300)
    assert process.exitcode is not None
    return process.exitcode


def left(folder: Path) -> dict[str, bytes]:
    """What does not depend on time: by its place in the folder."""
    kept = (WEIGHTS, "probability.tif", "history.csv", ".png")
    paths = [path for path in folder.rglob("*") if path.name.endswith(kept)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_killed_before_a_later_file_operation_each_time_it_ends_the_same(tmp_path):
    """While it trains, predicts, draws and publishes; what was finished is not done again."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert ended(whole, None) == 0
    stages = set()
    for kills in count():
        code = ended(cut, kills)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        stages.add((len(left(cut)), len(records_in(cut))))
    assert kills >= 20
    assert len(stages) >= 5  # nothing yet, trained, predicted, drawn, recorded
    assert left(cut) == left(whole)
    ours, theirs = (records_in(folder) for folder in (cut, whole))
    assert len(ours) == len(theirs) == 1
    for field in ("pooled", "folds", "config", "data_hashes"):
        one, other = (records[0][field] for records in (ours, theirs))
        if field == "folds":  # but for the seconds that it took
            one, other = one["4"]["scores"], other["4"]["scores"]
        assert one == other
    assert (cut / "results" / "em_challenge_phantom.md").exists()
    assert not list((cut / "runs").rglob("fold4/.*.part"))
