"""One run of an ablation after the other, or several at once through Dask: each leaves a record.

A run is one arm (the baseline or one difference from it), one fold, one seed. It continues from its
checkpoint, and a run that has its record is not done again. A run that diverges or fails leaves a
record that says so, and the others go on.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from unet2015.config import ExperimentConfig, config_hash, differences
from unet2015.data.gray_scale import GrayScale
from unet2015.inference.instances import InstanceConfig
from unet2015.inference.prediction import predict_stack
from unet2015.reports.statistics import BASELINE, DIVERGED, FAILED, FINISHED
from unet2015.runtime.atomic import own_folder
from unet2015.runtime.lock import held
from unet2015.runtime.numerics import numerics, resolve_device
from unet2015.runtime.record import peak_memory_gib, provenance, read_records, write_record
from unet2015.runtime.streams import until_lost
from unet2015.studies.ablation_data import SETS, Data, Network
from unet2015.training.checkpoint import CURRENT, PREVIOUS
from unet2015.training.engine import Engine
from unet2015.training.loop import TrainingStopped

CURVE_POINTS = 100
"""Points of the learning curve that a record keeps (our choice)."""
CONNECT_TIMEOUT_S = 8
"""How long a scheduler may take to answer (our choice; all in all under 15 s)."""
Record = Mapping[str, Any]
Loader = Callable[[], Data]
_one_at_a_time = threading.Lock()  # drop-out draws from a generator that the process shares


@dataclass(frozen=True)
class Job:
    """One run: an arm on a fold with a seed."""

    arm: str
    """'baseline', or the experiment whose difference it has."""
    question: str
    """What the arm is to answer; '' for the baseline."""
    preset: str
    baseline: ExperimentConfig
    config: ExperimentConfig
    fold: int
    """Of the EM stack's slices; of a cell tracking set 1 (01 → 02) or 2 (02 → 01)."""
    seed: int
    output: Path
    """Folder of all runs' checkpoints."""
    records: Path
    command: str
    code: Mapping[str, Any]
    """`record.code_version()` of the command that asked for the run."""
    cells: InstanceConfig = field(default_factory=InstanceConfig)
    """How cells are found, on a cell tracking set; of no use on the EM stack."""
    engine: Engine = field(default_factory=Engine)
    """How it is trained."""
    plan: Mapping[str, Any] | None = None
    """What --minutes planned, for the record."""
    shorter_steps: int | None = None
    """Steps of the run with which this one begins (`loop.train`, shorter_run)."""

    @property
    def test_time(self) -> bool:
        """Whether the arm differs in prediction only, and so uses the baseline's network."""
        same = replace(self.config, prediction=self.baseline.prediction) == self.baseline
        return self.arm != BASELINE and same

    @property
    def trained(self) -> ExperimentConfig:
        """The settings with which its network is trained."""
        return self.baseline if self.test_time else self.config

    @property
    def steps(self) -> int:
        return self.config.training.steps

    @property
    def name(self) -> str:
        return f"{self.arm}, {self.steps} steps, fold {self.fold}, seed {self.seed}"


def run_jobs(
    jobs: Sequence[Job],
    load: Loader,
    *,
    workers: int = 0,
    scheduler: str | None = None,
) -> dict[str, str]:
    """Every run that has no record yet; returns the outcome of each by its name.

    load: gives the data set, also in another process. workers: number of processes on this machine,
    each with its share of the cores and one GPU where there are some; 0 = in this process.
    scheduler: address of a running Dask scheduler whose workers see the same folders. Of a worker
    that dies, the run is done by another one, from its checkpoint.
    Raises ConnectionError naming a scheduler that cannot be reached, and TrainingStopped if a
    signal asked this process to stop.
    """
    outcomes: dict[str, str] = {}
    if not workers and scheduler is None:
        data = load()
        for job in (job for part in _in_order(jobs) for job in part):
            outcomes[job.name] = run_job(job, data)
            print(f"{len(outcomes)} of {len(jobs)}: {job.name}: {outcomes[job.name]}", flush=True)
        return outcomes
    with _cluster(workers, scheduler) as client:
        for part in _in_order(jobs):
            outcomes |= _run_on(client, part, load, local=scheduler is None)
    return outcomes


def _in_order(jobs: Sequence[Job]) -> list[list[Job]]:
    """The runs in parts of which none needs what a later one leaves.

    A network that several arms share is trained once, before those that only predict with it; a
    run begins with the shorter one.
    """

    def key(job: Job) -> tuple[bool, int]:
        return job.test_time, job.steps

    return [list(part) for _, part in groupby(sorted(jobs, key=key), key)]


def run_job(job: Job, data: Data) -> str:
    """Train on all but a fold's images, predict and score these, write the record (paper §3, §4).

    Returns the outcome; a run that has its record is not done again, and one on which somebody
    else is at work is waited for. Raises TrainingStopped, and leaves no record, if a signal asked
    to stop: the same run continues later.
    """
    folder = _folder(job, data, job.trained)
    own_folder(folder.parent)
    own_folder(folder).mkdir(parents=True, exist_ok=True)
    with held(folder, wait=True):
        # somebody else may have done it
        found = find_record(job, data)
        return str(found["outcome"]) if found is not None else _run(job, data)


def _run(job: Job, data: Data) -> str:
    began, started = time.monotonic(), datetime.now(UTC)
    try:
        with _one_at_a_time:
            fields = _train_and_score(job, data)
    except Exception as error:
        if isinstance(error, TrainingStopped) and "training cannot go on" not in str(error):
            raise
        outcome = DIVERGED if isinstance(error, TrainingStopped) else FAILED
        print(f"{job.name}: {outcome}: {error}", file=sys.stderr, flush=True)
        # a message may name a folder of this machine, which no record holds
        reason = f"{type(error).__name__}: {error}".replace(os.path.realpath(job.output), "…")
        fields = unfinished(outcome, reason.replace(str(job.output), "…"))
    _write(job, data, fields, started, time.monotonic() - began)
    return str(fields["outcome"])


def still_to_do(jobs: Sequence[Job], data: Data) -> list[Job]:
    """The runs that have no record yet."""
    return [job for job in jobs if find_record(job, data) is None]


def unfinished(outcome: str, reason: str) -> dict[str, Any]:
    """The result fields of a run that has no scores."""
    nothing = {"scores": None, "training": None, "curve": None, "prediction_seconds": None}
    return {"outcome": outcome, "reason": reason, **nothing}


def find_record(job: Job, data: Data) -> Record | None:
    """The newest record of this very run that counts; None if it is still to be done."""
    if not job.records.is_dir():
        return None
    protocol = SETS[data.name].about(data, job.fold, job.cells)["scores_protocol"]
    same = [
        record
        for record in read_records(job.records, "ablation")
        if (record["arm"], record["fold"], record["seed"]) == (job.arm, job.fold, job.seed)
        and record["config_hash"] == config_hash(job.config)
        and record["baseline_hash"] == config_hash(job.baseline)
        and (record["preset"], record["dataset"]) == (job.preset, data.name)
        and record["data_hashes"] == training_hashes(data)
        and record["scores_protocol"] == protocol
    ]
    newest = max(same, key=lambda record: (record["started"], record["name"]), default=None)
    return None if newest is None or newest["outcome"] == FAILED else newest


def training_hashes(data: Data) -> dict[str, str]:
    """Hashes of what a run sees: it is the same run whether or not there is a test volume."""
    return {key: value for key, value in data.hashes.items() if "test" not in key}


def _train_and_score(job: Job, data: Data) -> dict[str, Any]:
    trained, shorter = job.trained, None
    if job.shorter_steps is not None:
        training = replace(trained.training, steps=job.shorter_steps)
        shorter = _folder(job, data, replace(trained, training=training))
    network = SETS[data.name].train(
        data,
        job.fold,
        trained,
        _folder(job, data, trained),
        cells=job.cells,
        seed=job.seed,
        name=job.name,
        shorter_run=shorter,
        **job.engine.options(),
    )
    probability, seconds = network.probability, network.prediction_seconds
    if job.test_time:
        began = time.monotonic()
        probability = _predict_again(job, network)
        seconds = round(time.monotonic() - began, 1)
    for resume_state in (CURRENT, PREVIOUS):  # of no use any more, and most of the disk space
        (network.folder / resume_state).unlink(missing_ok=True)
    return network.summary(probability) | {
        "outcome": FINISHED,
        "reason": None,
        "curve": thinned(network.checkpoint.history),
        "prediction_seconds": seconds,
    }


def _folder(job: Job, data: Data, trained: ExperimentConfig) -> Path:
    """Where a network of the run's arm, fold and seed is trained with these settings."""
    arm = BASELINE if job.test_time else job.arm
    folder = job.output / f"ablation_{data.name}_{arm}_{config_hash(trained)}"
    return folder / f"fold{job.fold}_seed{job.seed}"


def _predict_again(job: Job, trained: Network) -> np.ndarray:
    """The probability of 'cell' by the baseline's network, averaged as the arm says."""
    scale = GrayScale.from_dict(trained.checkpoint.data["gray_scale"])
    device = resolve_device(job.engine.device)
    network = trained.checkpoint.network().to(device)
    settings = job.config.prediction
    with numerics(device):
        images = scale.apply(trained.held_out)
        return np.stack(list(predict_stack(network, images, settings, description=job.name)))


def thinned(history: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """The course of a training in at most CURVE_POINTS points, means of equally many rows.

    >>> thinned([{"step": 20, "loss": 0.5, "accuracy": 0.75}])
    {'step': [20], 'loss': [0.5], 'accuracy': [0.75]}
    """
    size = -(-len(history) // CURVE_POINTS)
    groups = [history[first : first + size] for first in range(0, len(history), max(1, size))]
    return {
        "step": [int(rows[-1]["step"]) for rows in groups],
        "loss": [round(fmean(row["loss"] for row in rows), 6) for rows in groups],
        "accuracy": [round(fmean(row["accuracy"] for row in rows), 6) for rows in groups],
    }


def _write(
    job: Job, data: Data, fields: Mapping[str, Any], started: datetime, seconds: float
) -> None:
    origin = provenance(
        config=job.config,
        seed=job.seed,
        data_hashes=training_hashes(data),
        command=job.command,
        started=started,
        wall_time_s=seconds,
        deviations=differences(job.config, ExperimentConfig()),
        code=job.code,
    )
    about = {
        "experiment": "ablation",
        "arm": job.arm,
        "question": job.question,
        "difference": differences(job.config, job.baseline),
        "baseline_hash": config_hash(job.baseline),
        "preset": job.preset,
        "dataset": data.name,
        "fold": job.fold,
        "peak_memory_gib": peak_memory_gib(),
    }
    about |= SETS[data.name].about(data, job.fold, job.cells)
    place = f"{job.preset.replace(', ', '-')}_{data.name}_fold{job.fold}_seed{job.seed}"
    name = f"ablation_{job.arm}_{place}_{config_hash(job.config)}"
    if job.plan is not None:
        about["plan"] = dict(job.plan)
    write_record(job.records, name, dict(fields) | origin | about)


@contextmanager
def _cluster(workers: int, scheduler: str | None) -> Iterator[Any]:
    """A Dask client of the running scheduler, or of `workers` new processes on this machine."""
    try:  # here, so that one process needs no Dask
        import dask.config
        from distributed.client import Client
        from distributed.deploy.local import LocalCluster
    except ImportError as error:
        raise ImportError(
            f"--processes and --scheduler need dask.distributed ({error}): pip install distributed"
        ) from error

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT_TIMEOUT_S)
        except (OSError, ValueError) as error:  # a timeout is an OSError
            raise ConnectionError(
                f"--scheduler {scheduler}: no Dask scheduler answers there "
                f"({str(error).splitlines()[0]}); start one with `dask scheduler`, or take "
                "--processes"
            ) from error
        with client:
            yield client
        return
    # memory: the operating system's limit is enough, and Dask would kill a run near its own; it
    # would also have malloc give all memory back, which a training step then has to ask for anew
    keeps_memory = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
    with (
        dask.config.set(keeps_memory),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,  # type: ignore[arg-type]
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _run_on(client: Any, jobs: Sequence[Job], load: Loader, *, local: bool) -> dict[str, str]:
    """The runs on the client's workers; a run whose workers all died is recorded as failed."""
    from distributed.client import as_completed

    names = sorted(client.scheduler_info(n_workers=-1)["workers"])
    share = max(1, (os.cpu_count() or 1) // len(names)) if local and names else 0
    submitted = {client.submit(run_in_worker, job, load, share, pure=False): job for job in jobs}
    outcomes = {}
    for future in as_completed(submitted):
        job = submitted[future]
        try:
            outcomes[job.name] = future.result()
        except Exception as error:  # the worker died again and again, or could not load the data
            print(f"{job.name}: failed: {error}", file=sys.stderr, flush=True)
            fields = unfinished(FAILED, f"{type(error).__name__}: the run's worker failed")
            _write(job, load(), fields, datetime.now(UTC), 0.0)
            outcomes[job.name] = FAILED
        print(f"{len(outcomes)} of {len(jobs)}: {job.name}: {outcomes[job.name]}", flush=True)
    return outcomes


def run_in_worker(job: Job, load: Loader, threads: int) -> str:
    """`run_job` in a Dask worker: with `threads` threads (0: as they are), one GPU of its own."""
    if number := job.engine.threads or threads:
        torch.set_num_threads(number)
    if threads and resolve_device(job.engine.device) == "cuda":
        from distributed.worker import get_worker

        with suppress(ValueError, TypeError):  # a worker that somebody else named
            number = int(get_worker().name) % torch.cuda.device_count()
            job = replace(job, engine=replace(job.engine, device=f"cuda:{number}"))
    with until_lost():
        return run_job(job, load())
