"""Records of the later re-implementations as their script writes them, and parts of their page."""

import re
from typing import Any

from unet2015 import reimplementations
from unet2015.config import ExperimentConfig, as_dict

SYSTEMS = reimplementations.systems()
HONEST = {"IoU": 0.6123, "Dice": 0.7234, "IoU pooled": 0.6345, "Dice pooled": 0.7456}
CPU = {"cpu": "a CPU", "cores": 2, "ram_gib": 16.0, "torch_threads": 2, "accelerators": []}


def record(arm: str = "published", dice: float = 0.7456, **fields: Any) -> dict[str, Any]:
    """A record as reproduce/reimplementations.py writes it; `fields` replaces some."""
    system = fields.get("system", "lgg_mri")
    defects = {each.name: each.defects for each in SYSTEMS[system].arms("quick")}[arm]
    about = {
        "experiment": "reimplementation",
        "name": f"run_{arm}_{dice}",
        "system": system,
        "arm": arm,
        "preset": "quick",
        "defects": list(defects),
        "epochs": 12,
        "metrics": {
            "theirs": {"IoU pooled": 0.5111, "Dice pooled": 0.6222},
            "honest": HONEST | {"Dice pooled": dice},
        },
        "training": {"steps": 180, "seconds": 100.0, "final_loss": 0.3}
        | {"final_accuracy": 0.9, "dead_start_steps": 0},
        "source": "a part of the set",
        "counts": {"trained on": "190 slices", "scored": "80 slices of 3 patients"},
        "seed": 0,
        "config": as_dict(ExperimentConfig()),
        "config_hash": "0123456789ab",
        "commit": "f" * 40,
        "dirty": False,
        "hardware": CPU,
        "versions": {"python": "3.11", "torch": "2.13", "numpy": "2.4"},
        "wall_time_s": 150.0,
        "command": "python reproduce/reimplementations.py",
        "deviations": ["12 epochs (published: 50)"],
        "data_hashes": {"images": "a", "masks": "b"},
        "started": "2026-01-01T00:00:00Z",
    }
    return about | fields


def section(page: str, system: str = "lgg_mri") -> str:
    (found,) = [part for part in page.split("\n## ") if f"\n`{system}`, after" in part]
    return found


def paragraph(page: str) -> str:
    """What the difference means, in one line."""
    (found,) = re.findall(r"\*\*What the difference means\.\*\*\n(.*?)\n\n", page, re.DOTALL)
    return " ".join(found.split())


def em_metrics(correlation: float) -> dict[str, Any]:
    honest = {"pixel error": 0.3, "correlation with the labels": correlation}
    return {"theirs": {}, "honest": honest}
