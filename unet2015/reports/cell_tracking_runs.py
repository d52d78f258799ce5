"""The runs of the cell tracking sets as rows: what differs in data set, direction and seed only.

A pair is a run of a preset and one of an arm with the same data set, direction and seed, whose
settings differ in what the arm changes and in nothing else.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from unet2015.config import ExperimentConfig, as_dict
from unet2015.inference.instances import InstanceConfig
from unet2015.reports import records
from unet2015.reports.records import Record, latest
from unet2015.reports.words import preset_in_words

PRESETS = {"quick": "cell_tracking_quick", "paper": "cell_tracking"}
"""Preset → its file in experiments/."""
SETS = {"PhC-C2DH-U373": "PhC-U373", "DIC-C2DH-HeLa": "DIC-HeLa"}
"""Data set → its name in the paper's Table 2."""
U373, HELA = SETS
DIRECTIONS = (("01", "02"), ("02", "01"))
"""(trained on, scored on)."""
NO_ARM, BORDER_ARM = "none", "no_border_weight"
ARMS = {
    BORDER_ARM: {"weight_map.w0"},
    "no_class_weight": {"weight_map.class_weights"},
    "no_elastic": {"augmentation.elastic_sigma_px"},
    "cell_tracking_no_ridge": {"weight_map.separate_touching"},
    "cell_tracking_later_weights": {
        *("weight_map.w0", "weight_map.sigma_px"),
        *("weight_map.class_weights", "weight_map.border_term"),
    },
}
"""Arm → the settings that it changes."""
EQUAL = ("preset", "arm", "config_hash", "cells")
"""In what the runs of a row are equal; they differ in data set, direction and seed."""
SEG, ARGMAX = "scores.seg", "argmax_seg"
COUNTS = ("cells", "merged", "split", "missed", "predicted", "spurious")

Row = pd.DataFrame
"""The newest run of each data set, direction and seed, in this order."""
Run = Record
"""A row of a table as a mapping."""


def runs(found: Sequence[Record]) -> pd.DataFrame:
    """The runs with how they find cells, and SEG of the components of the argmax, if recorded."""
    table = records.tidy(found)
    if table.empty:
        return table
    records.require(table, SEG, *(f"scores.{count}" for count in COUNTS))
    ways = [InstanceConfig(**fields) for fields in table["instances"]]
    table["cells"] = [way.tag for way in ways]
    table["cores"] = [way.core_probability > 0.5 for way in ways]
    # without cores, the cells are the components of the argmax; with them, they are not
    argmax = [
        run.get("scores.seg_of_argmax") or (None if run["cores"] else run[SEG])
        for run in table.to_dict("records")
    ]
    return table.assign(**{ARGMAX: pd.Series(argmax, index=table.index, dtype=object)})


def rows(table: pd.DataFrame) -> list[Row]:
    """The rows of runs that scored the sequence left out, in the order of every table.

    By preset; of each first the preset itself and then its arms by name, the newest first.
    """
    if table.empty:
        return []
    reported = records.where(table, hold_out=0)
    place = ("dataset", "train_sequence", "seed")
    found = records.groups(records.newest(reported, *EQUAL, *place), *EQUAL)
    return sorted((row.sort_values(list(place)) for row in found), key=lambda r: order(latest(r)))


def of(row: Row, dataset: str, direction: tuple[str, str]) -> Row:
    """The runs of one data set and direction, by seed."""
    trained, scored = direction
    return records.where(row, dataset=dataset, train_sequence=trained, scored_sequence=scored)


def has_cores(row: Row) -> bool:
    """Whether cores divided the components of the argmax (our addition to the paper)."""
    return bool(row["cores"].iloc[0])


def pairs(arm: Row, reported: Sequence[Row]) -> pd.DataFrame:
    """The runs of an arm beside those of its preset that are equal in everything else.

    One row per pair: the preset's figures, the arm's with `_arm` behind their names, and the
    preset's less the arm's: seg_change, argmax_change (NaN where not recorded), merged_change.
    """
    presets = [row for row in reported if latest(row)["arm"] == NO_ARM]
    place = ["preset", "dataset", "train_sequence", "scored_sequence", "seed"]
    found = pd.concat(presets or [arm.iloc[:0]]).merge(arm, on=place, suffixes=("", "_arm"))
    equal = [
        differing(settings(pair), settings(pair, "_arm")) <= ARMS.get(pair["arm_arm"], set())
        for pair in found.to_dict("records")
    ]
    found = records.newest(found.loc[equal], *place).sort_values(place)
    changes = {"seg_change": SEG, "argmax_change": ARGMAX, "merged_change": "scores.merged"}
    return found.assign(
        **{
            change: found[figure].astype(float) - found[f"{figure}_arm"].astype(float)
            for change, figure in changes.items()
        }
    )


def settings(run: Run, suffix: str = "") -> dict[str, Any]:
    """Each setting of a run, 'concern.field' → value; one younger than it has its default."""
    found = as_dict(ExperimentConfig())
    for concern, changed in run[f"config{suffix}"].items():
        found.setdefault(concern, {}).update(changed)
    found["instances"] = InstanceConfig(**run[f"instances{suffix}"]).as_dict()
    return {f"{concern}.{key}": v for concern in found for key, v in found[concern].items()}


def differing(*runs: dict[str, Any]) -> set[str]:
    """The names of the settings in which runs differ."""
    names = {name for run in runs for name in run}
    return {name for name in names if any(run.get(name) != runs[0].get(name) for run in runs)}


def name(row: Row) -> str:
    """Preset and arm as tables name them, with the settings' hash."""
    return f"ours, {settings_name(latest(row))}"


def settings_name(run: Run) -> str:
    """Preset and arm, with the hash of the settings, and how cells are found if unusual."""
    cells = "" if run["cells"] == InstanceConfig().tag else f", {run['cells']}"
    return f"{run_words(run)} ({run['config_hash']}{cells})"


def run_words(run: Run) -> str:
    return preset_in_words(run, "" if run["arm"] == NO_ARM else run["arm"])


def order(run: Run) -> tuple[int, str, bool, str]:
    """Sorts presets in their order, and the arms of each after it."""
    return *records.preset_order(run["preset"]), run["arm"] != NO_ARM, run["arm"]
