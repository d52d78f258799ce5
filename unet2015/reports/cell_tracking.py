"""The cell tracking sets: our rows of the paper's Table 2, from the records alone.

The claim to test: the border weights raise SEG on DIC-HeLa by separating touching cells, and
matter little on PhC-U373. A pair is a run of a preset and one of an arm with the same data set,
direction and seed, whose settings differ in what the arm changes and in nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from unet2015.config import ExperimentConfig, as_dict
from unet2015.inference.instances import InstanceConfig
from unet2015.reports import pages, records
from unet2015.reports.records import Record, latest, values
from unet2015.reports.words import preset_in_words
from unet2015.runtime.lock import held

PRESETS = {"quick": "cell_tracking_quick", "paper": "cell_tracking"}
"""Preset → its file in experiments/."""
SETS = {"PhC-C2DH-U373": "PhC-U373", "DIC-C2DH-HeLa": "DIC-HeLa"}
"""Data set → its name in the paper's Table 2."""
U373, HELA = SETS
DIRECTIONS = {"01": "02", "02": "01"}
"""Trained on → scored on."""
PLACES = tuple(product(SETS, DIRECTIONS))
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
SEG, ARGMAX, MERGED = "scores.seg", "argmax_seg", "scores.merged"
COMPARED = {"seg": SEG, "argmax": ARGMAX, "merged": MERGED}
COUNTS = ("cells", "merged", "split", "missed", "predicted", "spurious")

Row = pd.DataFrame
"""The newest run of each data set, direction and seed, in this order."""
U_NET = {U373: 0.9203, HELA: 0.7756}
"""Of the paper's Table 2, which stands in the template: "IOU", which is SEG."""
CELLS = {
    "min_size_px": "components of fewer pixels are removed",
    "border_px": "components wholly within so many pixels of the image's border are removed",
    "fill_holes": "whether background that one component encloses becomes part of it",
    "core_probability": "cells are grown from cores, the components of the pixels with p above it, "
    "which divide the components of the argmax among them; 0.5: no cores, the components as they "
    "are, as the release has them (the paper states nothing)",
}
"""What a field of `InstanceConfig` means, in the words of the page."""


def write_cell_tracking(results: Path) -> list[Path]:
    """Write results/cell_tracking.md from the records in results/runs; returns the path.

    Raises FileNotFoundError and ValueError as `record.read_records` and `page`.
    """
    with held(results, wait=True):  # or the older of two pages might be written last
        found = records.read(results, "cell_tracking")
        return pages.write({results / "cell_tracking.md": page(found)})


def page(found: Sequence[Record]) -> str:
    """The page; ValueError naming the records if one lacks a figure."""
    every = runs(found)
    reported = rows(every)
    arms = {arm: [r for r in reported if latest(r)["arm"] == arm] for arm in (NO_ARM, *ARMS)}
    others = [row for row in reported if latest(row)["arm"] not in (NO_ARM, BORDER_ARM)]
    held_out = sorted((run for run in every if run["hold_out"]), key=_order)
    run_presets = {latest(row)["preset"] for row in reported}
    return pages.render(
        "cell_tracking",
        main=list(_main(arms[NO_ARM])),
        cores=[what_cores_do(row) for row in arms[NO_ARM] if latest(row)["cores"]],
        further=[run for row in reported for run in row.to_dict("records")],
        border=[line for row in arms[BORDER_ARM] for line in _evidence(row, reported)],
        others=[line for row in others for line in _evidence(row, reported)],
        verdicts=[verdicts(row, reported) for row in arms[BORDER_ARM]],
        missing_arms=[arm for arm in ARMS if not arms[arm]],
        held_out=held_out,
        settings=held_out_settings(held_out, reported),
        configurations={latest(row)["label"]: _deviations(latest(row)) for row in reported},
        not_run=[preset for preset in PRESETS if preset not in run_presets],
        runs=[records.in_words(run) for run in every],
    )


def what_cores_do(row: Row) -> dict[str, Any]:
    """Where cores lower SEG, leave it and raise it, each place with its figures."""
    found: dict[str, Any] = {"lower": [], "same": [], "raise": [], "unknown": []}
    for dataset, trained in PLACES:
        part = records.where(row, dataset=dataset, train_sequence=trained)
        place, plain = f"{SETS[dataset]} {trained} → {DIRECTIONS[trained]}", values(part, ARGMAX)
        if not plain:
            found["unknown"] += [place] * bool(len(part))
            continue
        before, after = (round(fmean(figures), 4) for figures in (plain, part[SEG]))
        effect = "same" if before == after else "lower" if after < before else "raise"
        figures = "" if before == after else f" ({before:.4f} → {after:.4f})"
        found[effect].append(place + figures)
    return found | {"name": latest(row)["configuration"]}


def verdicts(row: Row, reported: Sequence[Row]) -> dict[str, Any]:
    """Both halves of the claim, judged by nothing but the signs of the pairs' differences."""
    found, newest = pairs(row, reported), latest(row)
    hela, u373 = records.where(found, dataset=HELA), records.where(found, dataset=U373)
    both = u373.merge(hela, on=["train_sequence", "seed"], suffixes=("", "_hela"))
    on_hela, on_u373 = {"merged": hela["merged"] < 0}, {}
    for figure in ("seg", "argmax") if newest["cores"] else ("seg",):
        on_hela[figure] = hela[figure].dropna() > 0
        known = both.dropna(subset=[figure, f"{figure}_hela"])
        on_u373[figure] = known[figure].abs() < known[f"{figure}_hela"].abs()
    about = {"name": newest["configuration"], "cores": newest["cores"]}
    return about | {"hela": _verdict(hela, on_hela), "u373": _verdict(u373, on_u373)}


def _verdict(found: pd.DataFrame, signs: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict on half of the claim, its signs as (true, all), and on how many runs it rests."""
    every = [sign for of_figure in signs.values() for sign in of_figure]
    verdict = "borne out" if all(every) else "mixed" if any(every) else "not borne out"
    verdict = "not run" if found.empty else verdict if every else "not judged"
    counts = {figure: (int(each.sum()), len(each)) for figure, each in signs.items()}
    about = {"verdict": verdict, "pairs": len(found), "seeds": found["seed"].nunique()}
    return {"argmax": (0, 0)} | about | counts


def held_out_settings(held_out: Sequence[Record], reported: Sequence[Row]) -> dict[str, Any]:
    """The settings in which held-out runs differ from the reported ones of their preset.

    'same': how many had the settings of a run that is reported. 'lines': a table with a column for
    each setting of the others; empty if there are none.
    """
    shown = {(run["config_hash"], run["cells"]) for run in map(latest, reported)}
    others = [run for run in held_out if (run["config_hash"], run["cells"]) not in shown]
    families = {run["preset"].split(",")[0] for run in others}
    plain = [run for row in reported for run in row.to_dict("records") if run["arm"] == NO_ARM]
    near = [run for run in plain if run["preset"].split(",")[0] in families]
    columns: dict[str, dict[str, Any]] = {}
    for kind, run in [*(("reported", run) for run in near), *(("held out", run) for run in others)]:
        first = {"first started": run["started"]} | settings(run)
        before = columns.setdefault(f"{kind}: {run['configuration']}", first)
        before["first started"] = min(before["first started"], run["started"])
    names = differing(*columns.values())
    lines = [
        {"": name} | {run: str(found.get(name)) for run, found in columns.items()}
        for name in next(iter(columns.values()), {})
        if name in names
    ]
    return {"same": len(held_out) - len(others), "lines": lines}


def _main(whole: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Of each row a line for each direction, and one for the mean of both."""
    ways = {f"sequence {scored}, trained on {k}": [k] for k, scored in DIRECTIONS.items()}
    not_run = dict.fromkeys(SETS, "not run")
    presets = [latest(row)["preset"] for row in whole]
    for preset in dict.fromkeys([*PRESETS, *presets]):
        if preset not in presets:
            yield not_run | {"label": f"ours, `{preset}`", "measured_on": "sequence left out"}
        for row in [row for row in whole if latest(row)["preset"] == preset]:
            for words, trained in (ways | {"mean of both": [*DIRECTIONS]}).items():
                line = {"label": latest(row)["label"], "measured_on": words}
                for dataset in SETS:
                    parts = [records.where(row, dataset=dataset, train_sequence=k) for k in trained]
                    if all(len(part) for part in parts):
                        line |= _figures(dataset, parts, cores=latest(row)["cores"])
                if line.keys() & SETS.keys():
                    yield not_run | line


def _figures(dataset: str, parts: Sequence[Row], *, cores: bool) -> dict[str, Any]:
    """SEG of the argmax' components, its difference to the paper's, and SEG with cores."""
    plain, seg = (_together([values(part, column) for part in parts]) for column in (ARGMAX, SEG))
    made = {dataset: plain or "not recorded", f"cores {dataset}": "no cores"}
    if plain:
        made[f"Δ {dataset}"] = fmean(plain) - U_NET[dataset]
    if cores:
        gain = f" ({fmean(seg) - fmean(plain):+.4f})" if plain else ""
        made[f"cores {dataset}"] = pages.cell(seg, ".4f") + gain
    return made


def _together(figures: Sequence[list[float]]) -> list[float]:
    """The seeds of one direction, or the mean of the directions' means; empty if one has none."""
    if len(figures) == 1:
        return figures[0]
    return [fmean(map(fmean, figures))] if all(figures) else []


def _evidence(row: Row, reported: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """SEG and merged cells of the preset and the arm, for each data set and direction."""
    every = pairs(row, reported)
    for dataset, trained in PLACES:
        place = {"dataset": dataset, "train_sequence": trained}
        found = records.where(every, **place)
        arm, suffix = (records.where(row, **place), "") if found.empty else (found, "_arm")
        line = {"label": latest(row)["label"], "set": SETS[dataset], "seeds": len(arm)}
        line["scored_sequence"] = DIRECTIONS[trained]
        for name, figure in COMPARED.items():
            line[name] = [] if found[name].hasnans else list(found[name])
            for side, runs, column in (("with", found, figure), ("without", arm, figure + suffix)):
                shown = values(runs, column) or ("not run" if runs.empty else "not recorded")
                # of the merged cells, which every run has, the mean alone
                alone = name == "merged" and len(runs)
                line[f"{name} {side}"] = fmean(runs[column]) if alone else shown
        yield line


def _deviations(run: Record) -> list[str]:
    """How a run differs from `paper`, whose `InstanceConfig` is the default one."""
    ours, theirs = InstanceConfig(**run["instances"]), InstanceConfig()
    cells = [
        f"instances.{each.name}: {value} (was {before}): {CELLS[each.name]}"
        for each in fields(InstanceConfig)
        if (value := getattr(ours, each.name)) != (before := getattr(theirs, each.name))
    ]
    return [*run["deviations"], *cells]


def runs(found: Sequence[Record]) -> list[dict[Any, Any]]:
    """The runs with the words of the page, and SEG of the components of the argmax, if recorded."""
    mine = [record for record in found if record["experiment"] == "cell_tracking"]
    table = records.tidy(sorted(mine, key=lambda record: record["name"]))
    if len(table):
        records.require(table, SEG, *(f"scores.{count}" for count in COUNTS))
    return [_run(run) for run in table.to_dict("records")]


def _run(run: Record) -> dict[Any, Any]:
    way = InstanceConfig(**run["instances"])
    cores = way.core_probability > 0.5
    words = preset_in_words(run, "" if run["arm"] == NO_ARM else run["arm"])
    unusual = "" if way == InstanceConfig() else f", {way.tag}"
    configuration = f"{words} ({run['config_hash']}{unusual})"
    # without cores, the cells are the components of the argmax; with them, they are not
    plain = run.get("scores.seg_of_argmax")
    return {
        **run,
        "cells": way.tag,
        "cores": cores,
        ARGMAX: run[SEG] if plain is None and not cores else plain,
        "configuration": configuration,
        "label": f"ours, {configuration}",
        "short": f"{words} ({run['config_hash']})",
        "set": SETS[run["dataset"]],
        "train_count": len(run["train_frames"]),
        "scored_count": len(run["scored_frames"]),
        "frames": ", ".join(map(str, run["scored_frames"])),
        "record": records.link(run),
    }


def rows(every: Sequence[Record]) -> list[Row]:
    """The rows of runs that scored the sequence left out, in the order of every table.

    By preset; of each first the preset itself and then its arms by name, the newest first.
    """
    reported = pd.DataFrame([run for run in every if not run["hold_out"]], dtype=object)
    if reported.empty:
        return []
    place = ["dataset", "train_sequence", "seed"]
    found = records.groups(records.newest(reported, *EQUAL, *place), *EQUAL)
    found.sort(key=lambda row: _order(latest(row))[:-1])
    return [row.sort_values(place, ascending=[False, True, True]) for row in found]  # U373 first


def pairs(arm: Row, reported: Sequence[Row]) -> pd.DataFrame:
    """The runs of an arm beside those of its preset that are equal in everything else.

    One row per pair: the preset's figures, the arm's with `_arm` behind their names, and the
    preset's less the arm's: seg, argmax (NaN where not recorded), merged.
    """
    presets = [row for row in reported if latest(row)["arm"] == NO_ARM]
    place = ["preset", "dataset", "train_sequence", "scored_sequence", "seed"]
    found = pd.concat(presets or [arm.iloc[:0]]).merge(arm, on=place, suffixes=("", "_arm"))
    equal = [
        differing(settings(pair), settings(pair, "_arm")) <= ARMS.get(pair["arm_arm"], set())
        for pair in found.to_dict("records")
    ]
    found = records.newest(found.loc[equal], *place).sort_values(place)
    for name, figure in COMPARED.items():
        found[name] = found[figure].astype(float) - found[f"{figure}_arm"].astype(float)
    return found


def settings(run: Record, suffix: str = "") -> dict[str, Any]:
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


def _order(run: Record) -> tuple[tuple[int, str], bool, str, str]:
    """Sorts presets in their order, and the arms of each after it."""
    return records.preset_order(run["preset"]), run["arm"] != NO_ARM, run["arm"], run["name"]
