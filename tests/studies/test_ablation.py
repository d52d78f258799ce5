"""One run after the other, or on workers of which one is killed: nothing lost, nothing twice."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.commands import ROOT
from unet2015.augmentation.tile import TileSequence
from unet2015.config import (
    AugmentationConfig,
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    TrainingConfig,
)
from unet2015.data.phantom import phantom_stack
from unet2015.runtime.record import read_records
from unet2015.studies import ablation as ablation_run
from unet2015.studies import ablation_data
from unet2015.studies.ablation import Job, find_record, run_job, run_jobs, thinned
from unet2015.training.checkpoint import CURRENT, WEIGHTS
from unet2015.training.engine import Engine
from unet2015.training.loop import TrainingStopped

BASE = ExperimentConfig(
    model=ModelConfig(width=2, depth=1),
    augmentation=AugmentationConfig(image_order=1),
    training=TrainingConfig(input_tile_px=40, steps=4, warmup_steps=2),
    prediction=PredictionConfig(averaging="none"),
)
SMALL = partial(phantom_stack, seed=0, slices=10, size_px=64, test_slices=2)


def job(folder: Path, arm: str = "baseline", config: ExperimentConfig = BASE, fold: int = 1) -> Job:
    return Job(
        arm=arm,
        question="" if arm == "baseline" else "What does it do?",
        preset="quick",
        baseline=replace(BASE, training=replace(BASE.training, steps=config.training.steps)),
        config=config,
        fold=fold,
        seed=0,
        output=folder / "runs",
        records=folder / "records",
        command="python reproduce/ablations.py",
        code={"commit": None, "dirty": None},
        engine=Engine(device="cpu", checkpoint_every_s=0.1),
    )


def changed(steps: int = 4, **training: float) -> ExperimentConfig:
    return replace(BASE, training=replace(BASE.training, steps=steps, **training))


def test_a_run_leaves_its_record_and_is_not_done_again(tmp_path):
    assert run_jobs([job(tmp_path)], SMALL) == {"baseline, 4 steps, fold 1, seed 0": "finished"}
    (record,) = read_records(tmp_path / "records", "ablation")
    assert record["held_out"] == [2, 3]
    assert record["trained_on"] == [0, 1, 4, 5, 6, 7, 8, 9]
    assert record["training"]["steps"] == 4
    assert record["curve"]["step"] == [4]
    assert 0 <= record["scores"]["rand_error"]["value"] <= 1
    assert "test-volume.tif" not in record["data_hashes"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert not [path for path in before if path.name == CURRENT]
    assert run_jobs([job(tmp_path)], SMALL) == {"baseline, 4 steps, fold 1, seed 0": "finished"}
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_other_settings_folds_and_data_are_other_runs(tmp_path):
    stack = SMALL()
    run_job(job(tmp_path), stack)
    assert find_record(job(tmp_path), stack) is not None
    assert find_record(job(tmp_path, fold=2), stack) is None
    assert find_record(job(tmp_path, config=changed(learning_rate=0.5)), stack) is None
    assert find_record(job(tmp_path), replace(stack, hashes={"train-volume.tif": "0"})) is None


def test_a_diverging_run_is_a_result_and_the_others_go_on(tmp_path):
    wild = changed(learning_rate=1e30)
    jobs = [job(tmp_path, "wild", wild), job(tmp_path)]
    found = run_jobs(jobs, SMALL)
    assert list(found.values()) == ["diverged", "finished"]
    record = next(r for r in read_records(tmp_path / "records") if r["arm"] == "wild")
    assert record["scores"] is None
    assert "not finite" in record["reason"] or "the loss is" in record["reason"]
    assert str(tmp_path) not in json.dumps(record)
    assert find_record(jobs[0], SMALL()) is not None  # it would diverge again


def test_a_failed_run_is_recorded_and_tried_again(tmp_path, monkeypatch):
    stack = SMALL()
    with monkeypatch.context() as patch:
        patch.setattr(ablation_data, "challenge_scores", lambda *_: 1 / 0)
        assert run_job(job(tmp_path), stack) == "failed"
    (record,) = read_records(tmp_path / "records")
    assert record["reason"].startswith("ZeroDivisionError")
    assert find_record(job(tmp_path), stack) is None
    assert run_job(job(tmp_path), stack) == "finished"


def test_a_signal_ends_the_command_and_leaves_no_record(tmp_path, monkeypatch):
    def stopped(*_: object, **__: object) -> None:
        raise TrainingStopped("stopped by SIGINT after step 3 of 4; the same command continues")

    monkeypatch.setattr(ablation_data.em, "run_part", stopped)
    with pytest.raises(TrainingStopped, match="SIGINT"):
        run_jobs([job(tmp_path)], SMALL)
    assert not (tmp_path / "records").exists()


def test_a_test_time_arm_uses_the_baselines_network(tmp_path):
    views = replace(BASE, prediction=replace(BASE.prediction, averaging="dihedral8"))
    tta = job(tmp_path, "tta_8", views)
    assert tta.test_time
    assert not job(tmp_path).test_time
    # asked for first, and run after the baseline
    assert list(run_jobs([tta, job(tmp_path)], SMALL)) == [
        "baseline, 4 steps, fold 1, seed 0",
        "tta_8, 4 steps, fold 1, seed 0",
    ]
    assert len(list((tmp_path / "runs").rglob(WEIGHTS))) == 1
    base, arm = read_records(tmp_path / "records")
    assert base["training"] == arm["training"]
    assert arm["scores"] != base["scores"]
    assert arm["config"]["prediction"]["averaging"] == "dihedral8"


def test_of_several_lengths_a_longer_run_begins_with_the_shorter_one(tmp_path, monkeypatch):
    def of_length(folder: Path, steps: int, shorter: int | None = None) -> Job:
        return replace(
            job(folder, config=changed(steps, schedule="constant_then_fall")),
            baseline=changed(steps, schedule="constant_then_fall"),
            shorter_steps=shorter,
        )

    alone = of_length(tmp_path / "alone", 100)
    run_jobs([alone], SMALL)
    drawn = []
    make = TileSequence.__getitem__
    monkeypatch.setattr(TileSequence, "__getitem__", lambda s, k: drawn.append(k) or make(s, k))
    # asked for in the wrong order
    found = run_jobs([of_length(tmp_path, 100, 50), of_length(tmp_path, 50)], SMALL)
    assert list(found) == [f"baseline, {n} steps, fold 1, seed 0" for n in (50, 100)]
    assert drawn == [*range(50), *range(40, 100)]
    (whole,) = read_records(tmp_path / "alone" / "records")
    short, long = sorted(read_records(tmp_path / "records"), key=lambda r: r["training"]["steps"])
    assert (long["scores"], long["curve"]) == (whole["scores"], whole["curve"])
    assert short["scores"] != long["scores"]


def test_learning_curves_are_thinned_to_means():
    history = [{"step": 20 * k, "loss": float(k), "accuracy": 0.5} for k in range(1, 1001)]
    curve = thinned(history)
    assert len(curve["step"]) == 100
    assert curve["step"][:2] == [200, 400]
    assert curve["loss"][:2] == [5.5, 15.5]
    assert thinned([])["step"] == []


KILLED = """
import sys
from pathlib import Path
from tests.studies.test_ablation import SMALL, changed, job
from unet2015.studies.ablation import run_jobs

if __name__ == "__main__":
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    jobs = [job(folder, config=changed(steps), fold=fold) for fold in (1, 4)]
    print(run_jobs(jobs, SMALL, workers=2))
"""


def descendants(parent: int) -> list[int]:
    """Process ids below `parent`, nearest first."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    children = [int(word) for word in found.stdout.split()]
    return children + [pid for child in children for pid in descendants(child)]


def workers_among(pids: list[int]) -> list[int]:
    """Those processes that Dask spawned."""
    return [pid for pid in pids if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to find workers")
def test_a_killed_workers_run_is_continued_by_another(tmp_path):
    """Two workers, one of which is killed in mid-run by the system's SIGKILL."""
    script, steps = tmp_path / "two_workers.py", 200
    script.write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path), str(steps)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as running:
        end = time.monotonic() + 600  # a loaded machine takes its time to start three processes
        while not list((tmp_path / "runs").rglob(CURRENT)):
            assert running.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        workers = workers_among(descendants(running.pid))
        # Dask's own setting has malloc give all freed memory back to the system
        assert "MALLOC_TRIM" not in Path(f"/proc/{workers[0]}/environ").read_text()
        os.kill(workers[0], signal.SIGKILL)
        assert len(list((tmp_path / "records").glob("*.json"))) < 2
        out = running.communicate()[0].decode()
        assert running.returncode == 0
    assert out.count("finished'") == 2
    records = read_records(tmp_path / "records", "ablation")
    assert sorted(record["fold"] for record in records) == [1, 4]
    # each as if nothing had happened: the course of a run that nobody disturbed
    whole = tmp_path / "whole"
    jobs = [job(whole, config=changed(steps), fold=fold) for fold in (1, 4)]
    run_jobs(jobs, SMALL)
    for ours, theirs in zip(records, read_records(whole / "records"), strict=True):
        assert ours["scores"] == theirs["scores"]
        assert ours["curve"] == theirs["curve"]


def test_an_unreachable_scheduler_is_named(tmp_path, monkeypatch):
    assert ablation_run.CONNECT_TIMEOUT_S < 15  # the limit that was asked for
    monkeypatch.setattr(ablation_run, "CONNECT_TIMEOUT_S", 1)
    with pytest.raises(ConnectionError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask"):
        run_jobs([job(tmp_path)], SMALL, scheduler="tcp://127.0.0.1:9")
