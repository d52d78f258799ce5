"""The later re-implementations, from the records alone.

What a system's authors report is the one exception; it stands in the system's file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unet2015.reports import pages, records
from unet2015.reports.records import Record
from unet2015.runtime.lock import held

PRESETS = ("quick", "published")

System = Any
"""What its file in experiments/reimplementations/ says of it: title, repository, published,
compare (a metric), meaning, not_rerun, and by arms(preset) the arms with name and defects."""


def write_reimplementations(results: Path, systems: Mapping[str, System]) -> list[Path]:
    """Write results/reimplementations.md from the records in results/runs; returns the path.

    systems: name → what is in its file. Raises FileNotFoundError and ValueError as `read_records`.
    """
    with held(results, wait=True):  # or the older of two pages might be written last
        found = records.read(results, "reimplementation")
        return pages.write({results / "reimplementations.md": page(found, systems)})


def page(found: Sequence[Record], systems: Mapping[str, System]) -> str:
    """The page: a section for each system."""
    table = records.tidy([{**r, "data": tuple(sorted(r["data_hashes"].items()))} for r in found])
    if not table.empty:
        equal = ("preset", "system", "arm", "seed", "config_hash", "data")
        table = records.newest(table, *equal).sort_values(["seed", "started"], kind="stable")
    runs = [
        {**run, "theirs": _figures(run, "theirs"), "honest": _figures(run, "honest")}
        for run in table.to_dict("records")
    ]
    for run in runs:
        metric = systems[run["system"]].compare if run["system"] in systems else None
        if metric is not None and metric not in run["honest"]:
            raise ValueError(f"{run['name']}: a record without metrics.honest.{metric}")
    sections = {
        name: _section(system, [run for run in runs if run["system"] == name])
        for name, system in systems.items()
    }
    return pages.render("reimplementations", sections=sections)


def _figures(run: Record, kind: str) -> dict[str, float]:
    """The metrics of a kind, 'theirs' or 'honest', that a run has."""
    start = f"metrics.{kind}."
    names = [name for name in run if name.startswith(start) and run[name] is not None]
    return {name.removeprefix(start): run[name] for name in names}


def _section(system: System, runs: Sequence[Record]) -> dict[str, Any]:
    every = [arm.defects for preset in PRESETS for arm in system.arms(preset)]
    every += [run["defects"] for run in runs]
    # those of all arms, in the order of the page; those of older records last
    defects = list(dict.fromkeys(defect for each in every for defect in each))
    presets = {}
    for preset in PRESETS:
        of_preset = [run for run in runs if run["preset"] == preset]
        arms = {
            arm: [run for run in of_preset if run["arm"] == arm.name] for arm in system.arms(preset)
        }
        own = [run for of_arm in arms.values() for run in of_arm]
        if own:
            presets[preset] = meaning(system, own) | {
                # a column for every metric that one of the runs has
                "metrics": [
                    f"{kind}: {metric}=metrics.{kind}.{metric}:.4f"
                    for kind in ("theirs", "honest")
                    for metric in dict.fromkeys(name for run in own for name in run[kind])
                ],
                "deviations": dict.fromkeys(line for run in own for line in run["deviations"]),
                "runs": [records.in_words(run) | {"data": _data(run)} for run in own],
            }
            gains = {mended["name"]: change for (_, mended), change in presets[preset]["pairs"]}
            presets[preset]["lines"] = list(_lines(arms, defects, gains))
    return {"system": system, "defects": defects, "presets": presets}


def _lines(
    arms: Mapping[Any, Sequence[Record]], listed: Sequence[str], gains: Mapping[str, float]
) -> Iterator[dict[Any, Any]]:
    """A line for each run and each arm without one. listed: the defects by number."""
    nothing = dict.fromkeys(("seed", "trained on", "scored"), "not run")
    for arm, runs in arms.items():
        missing: Record = {**nothing, "name": None, "defects": arm.defects}
        for run in runs or [missing]:
            numbers = [str(listed.index(defect) + 1) for defect in run["defects"]]
            about = {"arm": f"`{arm.name}`", "numbers": ", ".join(numbers) or "none"}
            yield {**run, **run.get("counts", {}), **about, "gain": gains.get(run["name"])}


def _data(run: Record) -> str:
    counts = run["counts"]
    used = f"trained on {counts['trained on']}, honest figures of {counts['scored']}"
    return f"{run['source']}; {used}"


def meaning(system: System, runs: Sequence[Record]) -> dict[str, Any]:
    """What the difference between the arms means: the figures and conditions of its sentences.

    Every figure stands in a cell of the table.
    """
    pairs = _pairs(runs)
    # of the figures as the page shows them
    changes = [_change(system.compare, *pair) for pair in pairs]
    steps = sorted({run["training.steps"] for run in runs})
    seeds = len({run["seed"] for run in runs})
    soft = [
        value < run["honest"]["Dice"]
        for run in runs
        for name, value in run["theirs"].items()
        if "soft" in name and "Dice" in run["honest"]
    ]
    return {
        # the name of an arm, with the seed where there are several
        "shown": {
            run["name"]: f"`{run['arm']}`" + f" (seed {run['seed']})" * (seeds > 1) for run in runs
        },
        "seeds": "one seed" if seeds == 1 else f"{seeds} seeds",
        "effort": " to ".join(map(str, dict.fromkeys((steps[0], steps[-1])))),
        # of more than two arms, the table says it better
        "own_metric": list(runs) if len({run["arm"] for run in runs}) <= 2 else [],
        "pairs": list(zip(pairs, changes, strict=True)),
        "gains": sum(change > 0 for change in changes),
        "losses": sum(change < 0 for change in changes),
        "disagreeing": [found for pair in pairs if (found := averages_disagree(*pair))],
        "nothing": [(run, _lower_means(run, runs)) for run in runs if finds_nothing(run)],
        "soft": (sum(soft), len(soft)),
        "convergence": list(_convergence(runs)),
    }


def _pairs(runs: Sequence[Record]) -> list[tuple[Record, Record]]:
    """(published, mended) of each mended arm with the newest partner of its suffix, seed, data."""
    newest = {(run["arm"], run["seed"], run["data"]): run for run in runs}
    partners = [
        (newest.get((run["arm"].replace("mended", "published", 1), run["seed"], run["data"])), run)
        for run in runs
        if run["arm"].startswith("mended")
    ]
    return [(published, mended) for published, mended in partners if published is not None]


def _change(metric: str, before: Record, after: Record) -> float:
    """By how much an honest figure changes, as the page shows both."""
    return round(after["honest"][metric], 4) - round(before["honest"][metric], 4)


def averages_disagree(published: Record, mended: Record) -> dict[str, Any]:
    """Where the mean over images and all pixels pooled say the opposite of each other; else {}."""
    before, after = published["honest"], mended["honest"]
    if 0 in (before.get("Dice pooled"), after.get("Dice pooled")):
        return {}  # one of them finds nothing, and the page says so
    found = {}
    for name in ("IoU", "Dice"):
        both = (name, f"{name} pooled")
        if {*both} <= before.keys() & after.keys():
            changes = [_change(each, published, mended) for each in both]
            if changes[0] * changes[1] < 0:
                found[name] = [
                    ("rises" if change > 0 else "falls", before[each], after[each])
                    for each, change in zip(both, changes, strict=True)
                ]
    return {"published": published, "mended": mended, "metrics": found} if found else {}


def finds_nothing(run: Record) -> bool:
    """Whether an arm has not one right pixel, and a mean over images that is high for all that."""
    # without a right pixel the Dice of an image is 1 or 0, and 1 only of an empty one
    return run["honest"].get("Dice pooled") == 0 and bool(run["honest"].get("Dice"))


def _lower_means(run: Record, runs: Sequence[Record]) -> list[Record]:
    """Runs on the same images that find something and have the lower mean."""
    return [
        other
        for other in runs
        if all(other[key] == run[key] for key in ("seed", "data", "counts"))
        and other["honest"].get("Dice pooled", 0) > 0
        and other["honest"]["Dice"] < run["honest"]["Dice"]
    ]


def _convergence(runs: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """Of the EM stack: which arms learn nothing that a threshold could use.

    The pixel error is the lowest over thresholds, and threshold 0 makes cell everywhere of any
    prediction: so that no arm's is above that of cell everywhere. Two networks have the highest
    one in common, to the last digit, only where it is this one.
    """
    for data in dict.fromkeys(run["data"] for run in runs):
        own = [run for run in runs if run["data"] == data]
        if all({"V^Rand", "pixel error"} <= run["honest"].keys() for run in own):
            highest = max(map(_pixel_error, own))
            failed = [run for run in own if _pixel_error(run) == highest]
            others = [run for run in own if _pixel_error(run) < highest]
            yield {"runs": own, "failed": failed, "others": others, "cause": cause(failed, others)}


def cause(failed: Sequence[Record], others: Sequence[Record]) -> list[str]:
    """The defects that all runs that do not converge have in common, if all without converge.

    To converge is to halve the pixel error of those that failed (our choice).
    """
    if not others or max(map(_pixel_error, others)) > _pixel_error(failed[0]) / 2:
        return []
    return [
        defect
        for defect in failed[0]["defects"]
        if all(defect in run["defects"] for run in failed)
        and not any(defect in run["defects"] for run in others)
    ]


def _pixel_error(run: Record) -> float:
    return run["honest"]["pixel error"]
