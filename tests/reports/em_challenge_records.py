"""Made-up records of the EM challenge."""

import json

from unet2015.config import ExperimentConfig, as_dict


def scores(*, warping=0.0004, rand=0.05, pixel=0.06, guarded: float | None = 0.0005):
    def one(value, threshold: float | None = 0.5, **more):
        return {"value": value, "threshold": threshold, "curve": [value], **more}

    return {
        "warping_error": one(warping, 0.30000000000000004),
        "rand_error": one(rand, 0.6),
        "pixel_error": one(pixel, 0.4),
        "warping_error_guarded": one(guarded, None if guarded is None else 0.2),
        "v_rand_thinned": one(0.95, 0.7, split=0.94, merge=0.96),
        "v_info_thinned": one(0.97, 0.1, split=0.975, merge=0.965),
    }


def a_fold(held_out, pooled):
    return {
        "held_out": held_out,
        "trained_on": [k for k in range(30) if k not in held_out],
        "scores": pooled,
        "training": {
            "steps": 1500,
            "seconds": 480.0,
            "final_loss": 0.25,
            "final_accuracy": 0.92,
            "dead_start_steps": 40,
        },
        "prediction_seconds": 30.4,
    }


def a_record(preset="quick", seed=0, folds=(4,), day=1, **changes):
    pooled = changes.pop("pooled", scores())
    record = {
        "schema": 1,
        "experiment": "em_challenge",
        "name": f"em_challenge_{preset}_{seed}_{''.join(map(str, folds))}_{day:02d}",
        "preset": preset,
        "dataset": "isbi2012",
        "seed": seed,
        "folds": {str(k): a_fold(list(range(6 * k, 6 * k + 6)), pooled) for k in folds},
        "pooled": pooled,
        "pooled_slices": [s for k in folds for s in range(6 * k, 6 * k + 6)],
        "test_volume": None,
        "scores_protocol": "2015",
        "config": as_dict(ExperimentConfig()),
        "config_hash": f"hash_{preset}",
        "deviations": ["training.steps: 1500 (was 80000)"] if preset == "quick" else [],
        "commit": "0123456789abcdef0123",
        "dirty": False,
        "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"},
        "hardware": {
            "cpu": "A CPU",
            "cores": 2,
            "ram_gib": 8.0,
            "accelerators": [],
            "torch_threads": 2,
        },
        "data_hashes": {},
        "peak_memory_gib": 1.5,
        "started": f"2026-11-{day:02d}T05:12:00Z",
        "wall_time_s": 510.0,
        "command": f"python reproduce/em_challenge.py --preset {preset}",
    }
    return record | changes


def save(folder, *records):
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        (folder / f"{record['name']}.json").write_text(json.dumps(record), encoding="utf-8")
