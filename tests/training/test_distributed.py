"""Two processes over gloo train as one with twice the batch; one writes; a dead one ends the job.

Run by torchrun, this file is what the two processes do.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.commands import ROOT
from tests.tiny import blob_tiles, contents, quietly, same_weights, settings
from unet2015.augmentation.tile import TrainingTile
from unet2015.cli.run import run_command
from unet2015.runtime import distributed
from unet2015.training.checkpoint import CURRENT, PREVIOUS, TIME, WEIGHTS, load_checkpoint
from unet2015.training.history import HISTORY
from unet2015.training.loop import SETTINGS, TrainingStopped

CONFIG = settings({"dropout": 0.0}, batch_size=2, gradient_clip=0.5)
AS_ONE = settings({"dropout": 0.0}, batch_size=4, gradient_clip=0.5)
NOISY = settings({"dropout": 0.5, "normalization": "batch"}, optimizer="adam", precision="bfloat16")


class Tiles:
    """Tiles of very different weight, one of none at all, that note who asked for them."""

    def __init__(self, bad: int | None = None) -> None:
        self.asked: list[int] = []
        self.tiles = blob_tiles(CONFIG, 32)
        for k, tile in enumerate(self.tiles):
            tile.weights[:] *= (0.1, 1, 10, 0)[k % 4]
        if bad is not None:
            self.tiles[bad].weights[0, 0] = np.nan

    def __getitem__(self, k: int) -> TrainingTile:
        self.asked.append(k)
        return self.tiles[k]


# What the two processes do


def trained_together(folder: Path) -> None:
    """All that needs no death, in one job; what a process saw goes to <its number>.json."""
    tiles, said = Tiles(), {}
    final = quietly(CONFIG, tiles, folder / "whole")
    said["asked"], said["history"] = tiles.asked, final.history
    said["again"] = quietly(CONFIG, Tiles(), folder / "whole").step
    said["refused"] = error_of(ValueError, replace(CONFIG, training=AS_ONE.training), folder)
    said["stopped"] = error_of(TrainingStopped, CONFIG, folder, "cut", on_step=signal_to_the_second)
    quietly(CONFIG, Tiles(), folder / "cut")
    said["bad"] = error_of(TrainingStopped, CONFIG, folder, "bad", tiles=Tiles(bad=7))
    seeds: list[int] = []
    noisy = quietly(
        NOISY, Tiles(), folder / "noisy", on_step=lambda _: seeds.append(torch.initial_seed())
    )
    said["seeds"] = seeds
    said["sums"] = {name: float(t.double().sum()) for name, t in noisy.model.items()}
    said["error"] = error_at_the_writer()
    said["printed"] = [printed(0), printed(1)]
    (folder / f"{distributed.rank()}.json").write_text(json.dumps(said))


def error_of(
    kind: type[Exception], config: Any, folder: Path, name: str = "whole", **options: Any
) -> str:
    try:
        quietly(config, options.pop("tiles", Tiles()), folder / name, **options)
    except kind as error:
        return str(error)
    return "nothing"


def signal_to_the_second(step: int) -> None:
    if step == 3 and distributed.rank() == 1:
        for _ in range(2):  # from the terminal, and passed on by torchrun
            os.kill(os.getpid(), signal.SIGTERM)


def error_at_the_writer() -> str:
    def compute() -> None:
        raise FileNotFoundError(f"not found by {distributed.rank()}")

    try:
        distributed.from_writer(compute)
    except FileNotFoundError as error:
        return str(error)
    return "nothing"


def printed(code: int) -> str:
    """What reaches the terminal of a command that speaks on both channels."""
    distributed.MOMENT_S = 0.0
    terminal = io.StringIO()
    with (
        contextlib.redirect_stdout(terminal),
        contextlib.redirect_stderr(terminal),
        contextlib.suppress(SystemExit),
        distributed.one_voice(),
    ):
        print("result", end=" ")
        print("warning", end=" ", file=sys.stderr)
        raise SystemExit(code)
    return terminal.getvalue()


def one_dies(folder: Path, victim: int = 1) -> None:
    def die(step: int) -> None:
        if step == 5 and distributed.rank() == victim:
            os.kill(os.getpid(), signal.SIGKILL)

    quietly(CONFIG, Tiles(), folder, on_step=die)


def the_writer_dies(folder: Path) -> None:
    run_command(lambda: one_dies(folder, victim=0))


def goes_on(folder: Path) -> None:
    quietly(CONFIG, Tiles(), folder)


# What is expected of them


def torchrun(task: str, folder: Path) -> subprocess.CompletedProcess[str]:
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            *torchrun,
            "-m",
            "tests.training.test_distributed",
            task,
            str(folder),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    ended = torchrun("trained_together", folder)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def said(job: Path) -> list[dict[str, Any]]:
    return [json.loads((job / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_train_as_one_with_twice_the_batch(job, said, tmp_path):
    one = quietly(AS_ONE, Tiles(), tmp_path)
    two = load_checkpoint(job / "whole")
    for name, tensor in one.model.items():
        torch.testing.assert_close(two.model[name], tensor, rtol=1e-5, atol=1e-5)
    for theirs in (two.history, *(s["history"] for s in said)):
        assert theirs == [pytest.approx(row, rel=1e-5) for row in one.history]
    assert two.data == {"processes": 2}


def test_they_see_the_samples_of_a_step_each_once(said):
    first, second = (s["asked"] for s in said)
    assert sorted(first) == [k for k in range(32) if k % 4 < 2]
    assert sorted(second) == [k for k in range(32) if k % 4 >= 2]


def test_one_of_them_writes(job):
    files = [PREVIOUS, CURRENT, SETTINGS, HISTORY, TIME, WEIGHTS]
    assert sorted(contents(job / "whole")) == files


def test_a_signal_to_one_stops_all_in_the_same_step_and_the_run_goes_on(job, said):
    for s, asked_by in zip(said, ("a signal to another process", "SIGTERM"), strict=True):
        assert s["stopped"].startswith(f"stopped by {asked_by} after step 4 of 8; the same command")
    assert same_weights(load_checkpoint(job / "cut"), load_checkpoint(job / "whole"))
    assert (job / "cut" / HISTORY).read_bytes() == (job / "whole" / HISTORY).read_bytes()


def test_a_non_finite_loss_in_one_stops_all(job, said):
    for s in said:
        assert s["bad"].startswith("the loss is nan at step 2 (samples 4 to 7): training cannot")
    assert load_checkpoint(job / "bad").step == 1


def test_a_finished_run_is_known_to_all_and_another_one_refused_by_all(said):
    for s in said:
        assert s["again"] == 8
        assert "training.batch_size: 4 (was 2)" in s["refused"]
        assert s["error"] == "not found by 0"


def test_another_number_of_processes_is_refused(job):
    with pytest.raises(ValueError, match=r"a run of 2 process\(es\), not 1.*start 2 to continue"):
        quietly(CONFIG, Tiles(), job / "whole")


def test_drop_out_differs_between_processes_and_their_networks_do_not(said):
    first, second = (s["seeds"] for s in said)
    assert len({*first, *second}) == 16
    weights = [{k: v for k, v in s["sums"].items() if "running" not in k} for s in said]
    assert weights[0] == weights[1]


def test_one_speaks(said):
    assert said[0]["printed"] == ["result warning ", "result warning "]
    assert said[1]["printed"] == ["", ""]


def test_a_killed_process_ends_the_job_and_the_job_goes_on(job, tmp_path):
    ended = torchrun("one_dies", tmp_path / "run")
    assert ended.returncode != 0
    assert "SIGKILL" in ended.stderr
    assert load_checkpoint(tmp_path / "run").step in (4, 5)
    assert not (tmp_path / "run" / WEIGHTS).exists()
    assert torchrun("goes_on", tmp_path / "run").returncode == 0
    assert same_weights(load_checkpoint(tmp_path / "run"), load_checkpoint(job / "whole"))
    histories = [(folder / HISTORY).read_bytes() for folder in (tmp_path / "run", job / "whole")]
    assert histories[0] == histories[1]


def test_where_the_writer_dies_another_one_says_how_to_go_on(tmp_path):
    ended = torchrun("the_writer_dies", tmp_path / "run")
    assert ended.returncode != 0
    assert "process 1 of 2: error: another process of this run has ended" in ended.stderr
    assert f"the same command continues from {tmp_path / 'run'}" in ended.stderr


# Without other processes


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch):
    def put(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return put


def test_without_torchrun_a_process_is_alone(environment):
    distributed.join()
    assert not torch.distributed.is_initialized()
    assert (distributed.rank(), distributed.count(), distributed.is_writer()) == (0, 1, True)
    assert distributed.own_device("cuda:3") == torch.device("cuda:3")
    assert distributed.from_writer(lambda: 5) == 5
    assert distributed.deviations() == []
    assert not distributed.partner_lost(RuntimeError("gloo"))


COMPLETE = {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "MASTER_ADDR": "a", "MASTER_PORT": 1}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        *(({name: ""}, f"{name} is missing") for name in COMPLETE),
        ({"RANK": "one"}, "RANK = one.*must be integers"),
        ({"RANK": 2}, "RANK = 2.*RANK < WORLD_SIZE"),
        ({"LOCAL_RANK": 2}, "LOCAL_RANK = 2.*LOCAL_RANK ≤ RANK"),
    ],
)
def test_an_incomplete_environment_is_refused(environment, changed, words):
    environment(**(COMPLETE | changed))
    with pytest.raises(ValueError, match=f"{words}.*start the processes with torchrun"):
        distributed.join()


def test_an_address_that_nobody_answers_at_is_said_while_it_waits_and_when_it_ends(
    environment, monkeypatch, capfd
):
    environment(**COMPLETE)

    def waits(*given: object, **options: object) -> None:
        time.sleep(0.3)
        raise torch.distributed.DistNetworkError("no such host\nand more")

    monkeypatch.setattr(distributed, "MOMENT_S", 0.1)
    monkeypatch.setattr(torch.distributed, "init_process_group", waits)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    with pytest.raises(ValueError, match=r"process 1 of 2: cannot meet .* at a:1 \(no such host\)"):
        distributed.join()
    assert capfd.readouterr().err == (
        "process 1 of 2: waiting for the others at a:1 (MASTER_ADDR and MASTER_PORT)\n"
    )


def test_each_process_takes_its_own_gpu(environment, monkeypatch):
    environment(**COMPLETE)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for asked in ("cuda", "cuda:1"):
        assert distributed.own_device(asked) == torch.device("cuda:1")
    assert distributed.own_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device = cuda:0: several processes take a GPU each"):
        distributed.own_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"more processes than the 1 GPUs.*--nproc-per-node 1"):
        distributed.own_device("cuda")


def test_another_process_says_only_what_is_wrong_with_its_own_input(
    environment, monkeypatch, capsys
):
    environment(**COMPLETE)
    monkeypatch.setattr(distributed, "MOMENT_S", 0.0)

    def command(code: int | None) -> None:
        print("trained")
        print("error: no such file", file=sys.stderr)
        raise SystemExit(code)

    for code in (0, None, 1, 2):
        with pytest.raises(SystemExit) as end, distributed.one_voice():
            command(code)
        assert end.value.code == code
        expected = "process 1 of 2: error: no such file\n" if code == 2 else ""
        assert capsys.readouterr() == ("", expected)
    # and an unexpected error comes through
    with pytest.raises(ZeroDivisionError), distributed.one_voice():
        print(1 / 0)


def test_a_record_states_that_several_processes_enlarged_the_batch(environment):
    environment(**COMPLETE)
    (line,) = distributed.deviations()
    assert line.startswith("processes: 2")


if __name__ == "__main__":
    tasks = {
        "trained_together": trained_together,
        "one_dies": one_dies,
        "the_writer_dies": the_writer_dies,
        "goes_on": goes_on,
    }
    tasks[sys.argv[1]](Path(sys.argv[2]))
