"""Records of ablations as a run would leave them, made up for tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from unet2015.config import ExperimentConfig, as_dict
from unet2015.data.cell_tracking import RELEASES
from unet2015.inference.instances import InstanceConfig
from unet2015.reports.statistics import metrics_of


def ablation_record(
    arm: str,
    fold: int,
    seed: int,
    *,
    rand: float = 0.2,
    outcome: str = "finished",
    dataset: str = "isbi2012",
) -> dict[str, Any]:
    """One run; its other figures follow from its Rand error, which a cell tracking set has not."""
    values = {
        name: rand / 10 if sign < 0 else 1 - rand
        for name, (_, _, sign) in metrics_of(dataset).items()
    }
    if dataset in RELEASES:
        way = ("01", "02")[:: 1 if fold == 1 else -1]
        cells = {"instances": InstanceConfig(core_probability=0.9).as_dict()}
        about = cells | {"train_sequence": way[0], "scored_sequence": way[1]}
    else:
        values["rand_error"], about = rand, {}
    steps = [20, 40, 60]
    finished = outcome == "finished"
    return about | {
        "experiment": "ablation",
        "name": f"ablation_{arm}_quick_{dataset}_fold{fold}_seed{seed}_{'0' * 12}",
        "arm": arm,
        "question": "" if arm == "baseline" else f"What does {arm} do?",
        "difference": [] if arm == "baseline" else [f"model.something: {arm} (was nothing)"],
        "baseline_hash": "0" * 12,
        "config_hash": "0" * 12,
        "config": as_dict(ExperimentConfig()),
        "preset": "quick",
        "dataset": dataset,
        "fold": fold,
        "held_out": [fold],
        "seed": seed,
        "outcome": outcome,
        "reason": None if finished else "the loss is nan",
        "scores": {name: {"value": value} for name, value in values.items()} if finished else None,
        "scores_protocol": "2015",
        "training": {
            "steps": 60,
            "seconds": 90.0,
            "final_loss": 0.4 + rand,
            "final_accuracy": 0.8,
            "dead_start_steps": 0,
        }
        if finished
        else None,
        "curve": {"step": steps, "loss": [0.7, 0.5, 0.4 + rand], "accuracy": [0.6, 0.7, 0.8]}
        if finished
        else None,
        "prediction_seconds": 3.0 if finished else None,
        "started": "2026-11-21T08:00:00Z",
        "commit": "a" * 40,
        "dirty": False,
        "data_hashes": {"train-volume.tif": "ab"},
        "command": "python reproduce/ablations.py",
        "deviations": [],
        "hardware": {
            "cpu": "a processor",
            "cores": 2,
            "ram_gib": 8.0,
            "accelerators": [],
            "torch_threads": 2,
        },
        "versions": {"python": "3.11", "torch": "2.13", "numpy": "2.4"},
        "wall_time_s": 120.0,
        "schema": 1,
    }


def grid(
    arms: Sequence[str],
    folds: Sequence[int] = (1, 4),
    seeds: Sequence[int] = (0, 1),
    dataset: str = "isbi2012",
) -> list[dict[str, Any]]:
    """The baseline and `arms` on all folds with all seeds; every arm is better than the last."""
    rng = np.random.default_rng(0)
    return [
        ablation_record(
            arm,
            fold,
            seed,
            rand=float(0.3 - 0.05 * k + rng.normal(0, 0.01)),
            dataset=dataset,
        )
        for k, arm in enumerate(("baseline", *arms))
        for fold in folds
        for seed in seeds
    ]
