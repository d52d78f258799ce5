"""Made-up records of the cell tracking sets, as their script writes them."""

from typing import Any

from unet2015.config import ExperimentConfig, as_dict

U373, HELA = "PhC-C2DH-U373", "DIC-C2DH-HeLa"
PLAIN = {"min_size_px": 500, "border_px": 0, "fill_holes": False}
CORES = PLAIN | {"core_probability": 0.9}
SCORES = {"foreground_iou": 0.7123, "label_seg": 0.9951, "cells": 98, "merged": 4, "split": 5}
SCORES |= {"missed": 6, "predicted": 120, "spurious": 7}


def record(seg: float, **fields: Any) -> dict[str, Any]:
    """A record as reproduce/cell_tracking.py writes it; `fields` replaces some."""
    about = {
        "experiment": "cell_tracking",
        "name": f"run{seg}",
        "preset": "quick",
        "arm": "none",
        "dataset": HELA,
        "train_sequence": "01",
        "scored_sequence": "02",
        "train_frames": [2, 5, 21],
        "scored_frames": [6, 7],
        "hold_out": 0,
        "instances": PLAIN,
        "scores": SCORES | {"seg": seg, "seg_of_frame": [seg, seg]},
        "training": {"steps": 1200, "seconds": 300.0, "final_loss": 0.1234}
        | {"final_accuracy": 0.9, "dead_start_steps": 0},
        "prediction_seconds": 31.0,
        "peak_memory_gib": 1.9,
        "seed": 0,
        "config": as_dict(ExperimentConfig()),
        "config_hash": "0123456789ab",
        "commit": "f" * 40,
        "dirty": False,
        "hardware": {"cpu": "a CPU", "cores": 2, "ram_gib": 16.0, "torch_threads": 2}
        | {"accelerators": []},
        "versions": {"python": "3.11", "torch": "2.13", "numpy": "2.4"},
        "wall_time_s": 600.0,
        "command": "python reproduce/cell_tracking.py",
        "deviations": ["model.width: 24 (was 64)"],
        "data_hashes": {},
        "started": "2026-01-01T00:00:00Z",
    }
    return about | fields


def with_cores(seg: float, argmax: float | None, **fields: Any) -> dict[str, Any]:
    """A record of a run with cores, with the SEG of the argmax' components or without."""
    made = record(seg, instances=CORES, **fields)
    if argmax is not None:
        made["scores"]["seg_of_argmax"] = argmax
    return made
