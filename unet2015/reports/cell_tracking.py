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
from unet2015.reports.pages import mean, record_link
from unet2015.reports.records import Record, latest, values
from unet2015.reports.words import preset_in_words
from unet2015.runtime.record import read_records

PRESETS = {"quick": "cell_tracking_quick", "paper": "cell_tracking"}
"""Preset → its file in experiments/."""
SETS = {"PhC-C2DH-U373": "PhC-U373", "DIC-C2DH-HeLa": "DIC-HeLa"}
"""Data set → its name in the paper's Table 2."""
U373, HELA = SETS
DIRECTIONS = (("01", "02"), ("02", "01"))
"""(trained on, scored on)."""
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
SEG, ARGMAX = "scores.seg", "argmax_seg"
COUNTS = ("cells", "merged", "split", "missed", "predicted", "spurious")

Row = pd.DataFrame
"""The newest run of each data set, direction and seed, in this order."""
Run = Record
"""A row of a table as a mapping."""
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
    found = read_records(results / "runs", "cell_tracking")
    return pages.write({results / "cell_tracking.md": page(found)})


def page(found: Sequence[Record]) -> str:
    """The page; ValueError naming the records if one lacks a figure."""
    mine = [record for record in found if record["experiment"] == "cell_tracking"]
    table = runs(sorted(mine, key=lambda record: record["name"]))
    every = table.to_dict("records")
    reported = rows(table)
    whole = [row for row in reported if latest(row)["arm"] == NO_ARM]
    border = [row for row in reported if latest(row)["arm"] == BORDER_ARM]
    others = [r for r in reported if latest(r)["arm"] not in (NO_ARM, BORDER_ARM)]
    held_out = [run for run in every if run["hold_out"]]
    held_out.sort(key=lambda run: (order(run), run["name"]))
    run_presets = {latest(row)["preset"] for row in reported}
    return pages.render(
        "cell_tracking",
        main=list(_main(reported)),
        cores=[what_cores_do(row) for row in whole if has_cores(row)],
        further=[line for row in reported for line in _further(row)],
        border=[line for row in border for line in _evidence(row, reported)],
        others=[line for row in others for line in _evidence(row, reported)],
        verdicts=[verdicts(row, reported) for row in border],
        missing_arms=[arm for arm in ARMS if arm not in {latest(row)["arm"] for row in reported}],
        held_out=[_held_out(run) for run in held_out],
        settings=held_out_settings(held_out, reported),
        configurations={name(row): _deviations(latest(row)) for row in reported},
        not_run=[preset for preset in PRESETS if preset not in run_presets],
        run_head=records.RUN_HEAD,
        runs=[_run(run) for run in every],
    )


def what_cores_do(row: Row) -> dict[str, Any]:
    """Where cores lower SEG, leave it and raise it, each place with its figures."""
    found: dict[str, Any] = {"lower": [], "same": [], "raise": [], "unknown": []}
    for dataset, direction in PLACES:
        part = of(row, dataset, direction)
        place, plain = f"{SETS[dataset]} {' → '.join(direction)}", values(part, ARGMAX)
        if not plain:
            found["unknown"] += [place] * bool(len(part))
            continue
        before, after = (round(fmean(figures), 4) for figures in (plain, part[SEG]))
        effect = "same" if before == after else "lower" if after < before else "raise"
        figures = "" if before == after else f" ({before:.4f} → {after:.4f})"
        found[effect].append(place + figures)
    return found | {"name": settings_name(latest(row))}


def verdicts(row: Row, reported: Sequence[Row]) -> dict[str, Any]:
    """Both halves of the claim, judged by nothing but the signs of the pairs' differences."""
    found, cores = pairs(row, reported), has_cores(row)
    hela, u373 = records.where(found, dataset=HELA), records.where(found, dataset=U373)
    on_hela = {"seg": hela["seg_change"] > 0, "merged": hela["merged_change"] < 0}
    both = u373.merge(hela, on=["train_sequence", "seed"], suffixes=("", "_hela"))
    on_u373 = {"seg": both["seg_change"].abs() < both["seg_change_hela"].abs()}
    if cores:
        known = hela["argmax_change"].dropna()
        both = both.dropna(subset=["argmax_change", "argmax_change_hela"])
        on_hela["argmax"] = known > 0
        on_u373["argmax"] = both["argmax_change"].abs() < both["argmax_change_hela"].abs()
    about = {"name": settings_name(latest(row)), "cores": cores}
    return about | {"hela": _verdict(hela, on_hela), "u373": _verdict(u373, on_u373)}


def _verdict(found: pd.DataFrame, signs: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict on half of the claim, its signs as (true, all), and on how many runs it rests."""
    every = [sign for of_figure in signs.values() for sign in of_figure]
    verdict = "borne out" if all(every) else "mixed" if any(every) else "not borne out"
    verdict = "not run" if found.empty else verdict if every else "not judged"
    counts = {figure: (int(each.sum()), len(each)) for figure, each in signs.items()}
    about = {"verdict": verdict, "pairs": len(found), "seeds": found["seed"].nunique()}
    return {"argmax": (0, 0)} | about | counts


def held_out_settings(held_out: Sequence[Run], reported: Sequence[Row]) -> dict[str, Any]:
    """The settings in which held-out runs differ from the reported ones of their preset.

    'same': how many had the settings of a run that is reported. 'head' and 'lines': a table with a
    column for each setting of the others; empty if there are none.
    """
    shown = {(run["config_hash"], run["cells"]) for run in map(latest, reported)}
    others = [run for run in held_out if (run["config_hash"], run["cells"]) not in shown]
    families = {run["preset"].split(",")[0] for run in others}
    near = [row for row in reported if row["preset"].iloc[0].split(",")[0] in families]
    near = [row.to_dict("records") for row in near if row["arm"].iloc[0] == NO_ARM]
    columns: dict[str, dict[str, Any]] = {}
    for kind, run in [("reported", run) for row in near for run in row] + [
        ("held out", run) for run in others
    ]:
        first = {"first started": run["started"]} | settings(run)
        before = columns.setdefault(f"{kind}: {settings_name(run)}", first)
        before["first started"] = min(before["first started"], run["started"])
    names = differing(*columns.values())
    lines = [
        [name, *(str(column.get(name)) for column in columns.values())]
        for name in next(iter(columns.values()), {})
        if name in names
    ]
    return {"same": len(held_out) - len(others), "head": ["", *columns], "lines": lines}


def _main(reported: Sequence[Row]) -> Iterator[list[str]]:
    whole = [(latest(row)["preset"], row) for row in reported if latest(row)["arm"] == NO_ARM]
    for preset in dict.fromkeys([*PRESETS, *(preset for preset, _ in whole)]):
        found = [line for each, row in whole if each == preset for line in _main_lines(row)]
        yield from found or [[f"ours, `{preset}`", "sequence left out", *["not run", "", ""] * 2]]


def _main_lines(row: Row) -> Iterator[list[str]]:
    """One line for each direction, and one for the mean of both."""
    ways = [(f"sequence {scored}, trained on {k}", [(k, scored)]) for k, scored in DIRECTIONS]
    for words, directions in [*ways, ("mean of both", list(DIRECTIONS))]:
        parts = {data: [of(row, data, way) for way in directions] for data in SETS}
        if any(all(len(part) for part in of_set) for of_set in parts.values()):
            figures = [cell for data in SETS for cell in _figures(data, parts[data])]
            yield [name(row), words, *figures]


def _figures(dataset: str, parts: Sequence[Row]) -> list[str]:
    """SEG of the argmax' components, its difference to the paper's, and SEG with cores."""
    if not all(len(part) for part in parts):
        return ["not run", "", ""]
    plain = [values(part, ARGMAX) for part in parts]
    seg = [values(part, SEG) for part in parts]
    like_for_like, change = ["not recorded", ""], ""
    if all(plain):
        gap = _across(plain) - U_NET[dataset]
        like_for_like = [_shown(plain), f"{gap:+.4f}"]
        change = f" ({_across(seg) - _across(plain):+.4f})"
    return [*like_for_like, _shown(seg) + change if has_cores(parts[0]) else "no cores"]


def _across(figures: Sequence[Sequence[float]]) -> float:
    """The mean of the directions' means."""
    return fmean(map(fmean, figures))


def _shown(figures: Sequence[Sequence[float]]) -> str:
    return mean(figures[0]) if len(figures) == 1 else mean([_across(figures)])


def _further(row: Row) -> Iterator[list[str]]:
    figures = ("seed", f"{SEG}:.4f", f"{ARGMAX}:.4f", "scores.foreground_iou:.4f")
    figures += ("scores.label_seg:.4f", *(f"scores.{key}" for key in COUNTS))
    for dataset, direction in PLACES:
        for run in of(row, dataset, direction).to_dict("records"):
            shown = records.shown(run, *figures, missing="not recorded")
            yield [name(row), SETS[dataset], direction[1], *shown]


def _evidence(row: Row, reported: Sequence[Row]) -> Iterator[list[str]]:
    """SEG and merged cells of the preset and the arm, for each data set and direction."""
    every = pairs(row, reported)
    for dataset, direction in PLACES:
        found = of(every, dataset, direction)
        arm, suffix = (of(row, dataset, direction), "") if found.empty else (found, "_arm")
        cells = [str(len(arm))]
        for figure, change in ((SEG, "seg_change"), (ARGMAX, "argmax_change")):
            cells += [_side(found, figure), _side(arm, figure + suffix)]
            cells.append("" if found[change].hasnans else mean(found[change], sign="+"))
        for side, column in ((found, "scores.merged"), (arm, f"scores.merged{suffix}")):
            cells.append("not run" if side.empty else f"{fmean(side[column]):g}")
        yield [name(row), SETS[dataset], direction[1], *cells]


def _side(runs: pd.DataFrame, figure: str) -> str:
    return "not run" if runs.empty else mean(values(runs, figure)) or "not recorded"


def _run(run: Run) -> list[str]:
    frames = [str(len(run[f"{which}_frames"])) for which in ("train", "scored")]
    course = ("training.steps", "training.minutes:.1f", "training.final_loss:.4f")
    shown = records.shown(run, *course, "prediction_seconds:.0f")
    return [*records.run_line(run), *frames, *shown]


def _held_out(run: Run) -> list[str]:
    words = [f"{run_words(run)} ({run['config_hash']})", SETS[run["dataset"]]]
    words += [run["train_sequence"], ", ".join(map(str, run["scored_frames"]))]
    figures = records.shown(run, "seed", f"{SEG}:.4f", "scores.foreground_iou:.4f")
    return [*words, *figures, record_link(run["name"])]


def _deviations(run: Run) -> list[str]:
    """How a run differs from `paper`, whose `InstanceConfig` is the default one."""
    ours, theirs = InstanceConfig(**run["instances"]), InstanceConfig()
    cells = [
        f"instances.{each.name}: {value} (was {before}): {CELLS[each.name]}"
        for each in fields(InstanceConfig)
        if (value := getattr(ours, each.name)) != (before := getattr(theirs, each.name))
    ]
    return [*run["deviations"], *cells]


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
        run[SEG] if plain is None and not run["cores"] else plain
        for run in table.to_dict("records")
        for plain in [run.get("scores.seg_of_argmax")]
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
