"""The queues of reproduce/queues/: every command is one that would run, and fits into a lease."""

import json
import os
import shutil
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.commands import ROOT, loaded
from tests.reports.em_challenge_records import a_record, save
from unet2015.cli.main import parse

QUEUES = sorted((ROOT / "reproduce" / "queues").glob("*.tsv"))
LEASE_S = 9 * 60
STEPS = "4321"
SPY = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["SPY"], "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1].endswith("steps.py"):
    print({STEPS})
"""


def jobs(queue: Path) -> list[tuple[str, float, str]]:
    lines = [line for line in queue.read_text().splitlines() if line and line[0] != "#"]
    return [(n, float(s), c) for n, s, c in (line.split("\t") for line in lines)]


def typed(command: str, folder: Path) -> list[list[str]]:
    """What a job's shell hands to python3, in a folder where nothing has been done."""
    (folder / "runs").mkdir()
    spy, log = folder / "bin" / "python3", folder / "log"
    spy.parent.mkdir()
    spy.write_text(SPY)
    spy.chmod(spy.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {"PATH": f"{spy.parent}:{os.environ['PATH']}", "SPY": str(log)}
    ended = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, check=False)
    assert ended.returncode == 0
    return [json.loads(line) for line in log.read_text().splitlines()]


def accept(argv: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a command parse and check its options, as where there is a GPU; nothing is run."""
    script, *arguments = argv
    for option in ("output", "results"):
        if f"--{option}" not in arguments:
            arguments += [f"--{option}", str(folder / option)]
    module = loaded(script, monkeypatch)
    if hasattr(module, "chosen"):  # no option decides the defaults of the others
        options = module.parse_options(module.Options, arguments)
        module.chosen(options)
    else:
        options = module.options_from(arguments)
    module.check(options)
    if hasattr(module, "configurations"):
        module.configurations(options)


@pytest.mark.parametrize("queue", QUEUES, ids=lambda path: path.stem)
def test_every_command_of_a_queue_is_one_that_would_run(queue, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    names = []
    for name, seconds, command in jobs(queue):
        names.append(name)
        folder = tmp_path / name
        folder.mkdir()
        handed = typed(command, folder)
        assert handed
        for argv in handed:
            if argv[0] == "-m" and argv[1] == "unet2015":
                assert parse(argv[2:]).device == "cuda"
            elif argv[0].startswith("reproduce/") and not argv[0].endswith("steps.py"):
                accept(argv, monkeypatch, folder)
                for option, minutes in pairwise(argv):  # a plan ends before its job is ended
                    assert option != "--minutes" or 60 * float(minutes) < seconds
        assert seconds <= LEASE_S
        if "steps.py" in command:
            assert STEPS in handed[-1] or STEPS in handed[1]
    assert len(set(names)) == len(names) > 0


@pytest.mark.parametrize("queue", QUEUES, ids=lambda path: path.stem)
def test_the_readme_names_every_queue(queue):
    readme = (ROOT / "reproduce" / "queues" / "README.md").read_text()
    assert f"| `{queue.stem}` |" in readme


def test_other_seeds_have_the_steps_of_the_newest_paper_on_all_folds(tmp_path, monkeypatch):
    steps = loaded("reproduce/queues/steps.py", monkeypatch).steps
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="no record of --preset paper on all folds"):
        steps(tmp_path / "none")
    runs = (
        ("paper", range(5), 7),
        ("paper", range(5), 8),
        ("paper", (0,), 9),
        ("quick", range(5), 9),
    )
    for day, (preset, folds, count) in enumerate(runs, start=1):
        made = a_record(preset, folds=folds, day=day)
        made["config"]["training"]["steps"] = count
        save(tmp_path / "runs", made)
    assert steps(tmp_path / "runs") == 8


def test_a_rehearsal_is_the_same_command_with_a_tiny_network_on_a_cpu(tmp_path):
    command = "python3 reproduce/em_challenge.py --compile cuda_graph --minutes 4.4 --folds 1"
    place = "reproduce/queues/rehearsal"
    rehearsal = shutil.copytree(ROOT / place, tmp_path / "copy" / place)
    (given,) = typed(f"PATH={rehearsal}:$PATH; {command}", tmp_path)
    options = dict(
        zip(given[1::2], given[2::2], strict=True)
    )  # each has one value, and is there once
    assert len(given) == 1 + 2 * len(options)
    assert given[:3] == ["reproduce/em_challenge.py", "--folds", "1"]
    assert (options["--compile"], options["--device"]) == ("none", "cpu")
    assert float(options["--minutes"]) < 4.4
    assert "--model.width" in options
