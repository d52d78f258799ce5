"""The records of the cell tracking sets as rows: runs that differ in data set, direction and seed.

Everything that a page says of the settings of two runs is decided here, by comparing their records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from unet2015.config import ExperimentConfig, as_dict
from unet2015.inference.instances import InstanceConfig
from unet2015.reports.words import preset_in_words

Record = Mapping[str, Any]

PRESETS = {"quick": "cell_tracking_quick", "paper": "cell_tracking"}
"""Preset → its file in experiments/."""
SETS = {"PhC-C2DH-U373": "PhC-U373", "DIC-C2DH-HeLa": "DIC-HeLa"}
"""Data set → its name in the paper's Table 2."""
DIRECTIONS = (("01", "02"), ("02", "01"))
"""(trained on, scored on)."""
NO_ARM = "none"


@dataclass(frozen=True)
class Row:
    """Runs that differ in data set, direction and seed only."""

    preset: str
    arm: str
    config_hash: str
    cells: str
    """The tag of `InstanceConfig`."""
    records: tuple[Record, ...]
    """The newest record of each data set, direction and seed."""

    @property
    def newest(self) -> Record:
        return max(self.records, key=age)

    @property
    def name(self) -> str:
        return f"ours, {self.settings_name}"

    @property
    def settings_name(self) -> str:
        """Preset and arm, with the hash of the settings, and how cells are found if unusual."""
        cells = "" if self.cells == InstanceConfig().tag else f", {self.cells}"
        return f"{run_words(self.newest)} ({self.config_hash}{cells})"

    @property
    def has_cores(self) -> bool:
        """Whether cores divided the components of the argmax."""
        return has_cores(self.newest)

    def of(self, dataset: str, direction: tuple[str, str]) -> list[Record]:
        """The records of one data set and direction, by seed."""
        found = [
            record
            for record in self.records
            if record["dataset"] == dataset
            and (record["train_sequence"], record["scored_sequence"]) == direction
        ]
        return sorted(found, key=lambda record: record["seed"])

    def seg(self, dataset: str, direction: tuple[str, str]) -> list[float]:
        """SEG of each seed, of the cells as the row finds them."""
        return [record["scores"]["seg"] for record in self.of(dataset, direction)]

    def argmax_seg(self, dataset: str, direction: tuple[str, str]) -> list[float]:
        """SEG of each seed, of the components of the argmax; empty if a seed's is not recorded."""
        found = [argmax_seg(record) for record in self.of(dataset, direction)]
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else []


def rows(records: Sequence[Record]) -> list[Row]:
    """The rows of runs that scored the sequence left out, in the order of every table.

    By preset; of each first the preset itself and then its arms by name, the newest first.
    """
    newest: dict[tuple, dict[tuple, Record]] = {}
    for record in sorted(records, key=age):
        if record["hold_out"]:
            continue
        tag = InstanceConfig(**record["instances"]).tag
        key = (record["preset"], record["arm"], record["config_hash"], tag)
        part = (record["dataset"], record["train_sequence"], record["seed"])
        newest.setdefault(key, {})[part] = record
    found = [Row(*key, records=tuple(parts.values())) for key, parts in newest.items()]
    found.sort(key=lambda row: age(row.newest), reverse=True)
    return sorted(found, key=lambda row: run_order(row.newest))


def run_order(record: Record) -> tuple[int, str, bool, str]:
    """Sorts presets in their order, and the arms of each after it."""
    preset, arm = record["preset"], record["arm"]
    place = list(PRESETS).index(preset) if preset in PRESETS else len(PRESETS)
    return place, preset, arm != NO_ARM, arm


def run_words(record: Record) -> str:
    """Preset and arm as tables name them."""
    return preset_in_words(record, "" if record["arm"] == NO_ARM else record["arm"])


def age(record: Record) -> tuple[str, str]:
    """Sorts the oldest run first."""
    return record["started"], record["name"]


def has_cores(record: Record) -> bool:
    """Whether cores divided the components of the argmax (our addition to the paper)."""
    return InstanceConfig(**record["instances"]).core_probability > 0.5


def argmax_seg(record: Record) -> float | None:
    """SEG of the components of the argmax, without cores; None where a record lacks it."""
    scores = record["scores"]
    return scores.get("seg_of_argmax", None if has_cores(record) else scores["seg"])


def settings(record: Record) -> dict[str, Any]:
    """Each setting of a run, 'concern.field' → value; one younger than it has its default."""
    found = as_dict(ExperimentConfig())
    for concern, fields in record["config"].items():
        found.setdefault(concern, {}).update(fields)
    found["instances"] = InstanceConfig(**record["instances"]).as_dict()
    return {f"{concern}.{name}": v for concern in found for name, v in found[concern].items()}


def differing(record: Record, other: Record) -> dict[str, tuple[Any, Any]]:
    """The settings in which two runs differ: name → (value of the first, of the second)."""
    first, second = settings(record), settings(other)
    names = [*first, *(name for name in second if name not in first)]
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    return {name: values for name, values in pairs.items() if values[0] != values[1]}


def mean_of_seeds(values: Sequence[float]) -> str:
    """Mean of the seeds' figures, ± half their range if there are several."""
    spread = f" ± {(max(values) - min(values)) / 2:.4f}" if len(values) > 1 else ""
    return f"{fmean(values):.4f}{spread}"
