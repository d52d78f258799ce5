"""The later re-implementations, from the records alone.

What a system's authors report is the one exception; it stands in the system's file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from unet2015.reports import pages, records
from unet2015.reports.records import Record
from unet2015.runtime.record import read_records

PRESETS = ("quick", "published")


class Arm(Protocol):
    """What the page needs of an arm."""

    @property
    def name(self) -> str: ...
    @property
    def defects(self) -> tuple[str, ...]: ...


class System(Protocol):
    """What the page needs of a system, beside its records."""

    @property
    def title(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def published(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def compare(self) -> str: ...
    @property
    def meaning(self) -> str: ...
    @property
    def not_rerun(self) -> tuple[str, ...]: ...
    def arms(self, preset: str, /) -> Sequence[Arm]: ...


def write_reimplementations(results: Path, systems: Mapping[str, System]) -> list[Path]:
    """Write results/reimplementations.md from the records in results/runs; returns the path.

    systems: name → what is in its file. Raises FileNotFoundError and ValueError as `read_records`.
    """
    found = read_records(results / "runs", "reimplementation")
    return pages.write({results / "reimplementations.md": page(found, systems)})


def page(found: Sequence[Record], systems: Mapping[str, System]) -> str:
    """The page: a section for each system."""
    table = records.tidy([{**r, "data": tuple(sorted(r["data_hashes"].items()))} for r in found])
    if not table.empty:
        equal = ("preset", "system", "arm", "seed", "config_hash", "data")
        table = records.newest(table, *equal).sort_values(["seed", "started"], kind="stable")
    runs = table.to_dict("records")
    sections = {
        name: _section(system, [run for run in runs if run["system"] == name])
        for name, system in systems.items()
    }
    return pages.render("reimplementations", sections=sections)


def _section(system: System, runs: Sequence[Record]) -> dict[str, Any]:
    arms = [arm for preset in PRESETS for arm in system.arms(preset)]
    named = [*(arm.defects for arm in arms), *(run["defects"] for run in runs)]
    # those of all arms, in the order of the page; those of older records last
    defects = list(dict.fromkeys(defect for each in named for defect in each))
    presets = {}
    for preset in PRESETS:
        own = [run for run in runs if run["preset"] == preset]
        own = [run for arm in system.arms(preset) for run in own if run["arm"] == arm.name]
        table = _table(system, system.arms(preset), own, defects) if own else None
        presets[preset] = table and {
            **meaning(system, own),
            "table": table,
            "deviations": dict.fromkeys(line for run in own for line in run["deviations"]),
            "runs": [_run(run) for run in own],
            "run_head": records.RUN_HEAD,
        }
    return {"system": system, "defects": defects, "presets": presets}


def _table(
    system: System, arms: Sequence[Arm], runs: Sequence[Record], listed: Sequence[str]
) -> dict[str, Any]:
    """A line for each run and each arm without one; a column for every metric of one of them.

    listed: the defects, whose numbers on the page stand in the second column.
    """
    columns = [
        (kind, metric)
        for kind in ("theirs", "honest")
        for metric in dict.fromkeys(name for run in runs for name in _figures(run, kind))
    ]
    lines = []
    for arm in arms:
        own = [run for run in runs if run["arm"] == arm.name]
        if not own:
            lines.append([f"`{arm.name}`", _numbers(arm.defects, listed), *["not run"] * 3])
        for run in own:
            line = [f"`{arm.name}`", _numbers(run["defects"], listed), str(run["seed"])]
            line += [run["counts"]["trained on"], run["counts"]["scored"]]
            found = [_figures(run, kind).get(metric) for kind, metric in columns]
            partner = _partner(run, runs)
            gain = [] if partner is None else [f"{_gain(system, partner, run):+.4f}"]
            lines.append([*line, *("" if v is None else f"{v:.4f}" for v in found), *gain])
    head = ["arm", "defects", "seed", "trained on", "scored"]
    head += [f"{kind}: {metric}" for kind, metric in columns]
    head += [f"Δ {system.compare}, mended − published"] if _pairs(runs) else []
    return {"head": head, "lines": lines}


def meaning(system: System, runs: Sequence[Record]) -> dict[str, Any]:
    """What the difference between the arms means: the figures and conditions of its sentences.

    Every figure stands in a cell of the table.
    """
    pairs = _pairs(runs)
    changes = [_gain(system, *pair) for pair in pairs]
    steps = sorted({run["training.steps"] for run in runs})
    seeds = len({run["seed"] for run in runs})
    effort = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    shown = {run["name"]: _shown(run, runs) for run in runs}
    soft = list(_soft(runs))
    return {
        "shown": shown,
        "seeds": "one seed" if seeds == 1 else f"{seeds} seeds",
        "effort": effort,
        # of more than two arms, the table says it better
        "own_metric": list(runs) if len({run["arm"] for run in runs}) <= 2 else [],
        "pairs": list(zip(pairs, changes, strict=True)),
        "gains": sum(change > 0 for change in changes),
        "losses": sum(change < 0 for change in changes),
        "disagreeing": [found for pair in pairs if (found := averages_disagree(*pair))],
        "nothing": [(run, _lower_means(run, runs)) for run in runs if finds_nothing(run)],
        "soft": (sum(below < hard for below, hard in soft), len(soft)),
        "convergence": list(_convergence(runs)),
    }


def averages_disagree(published: Record, mended: Record) -> dict[str, Any]:
    """Where the mean over images and all pixels pooled say the opposite of each other; else {}."""
    before, after = _figures(published, "honest"), _figures(mended, "honest")
    found = {}
    if 0 in (before.get("Dice pooled"), after.get("Dice pooled")):
        return {}  # one of them finds nothing, and the page says so
    for name in ("IoU", "Dice"):
        names = (name, f"{name} pooled")
        if all(each in figures for each in names for figures in (before, after)):
            one, two = (round(after[n], 4) - round(before[n], 4) for n in names)
            if one * two < 0:
                verbs = ("rises", "falls")[:: 1 if one > 0 else -1]
                found[name] = [
                    (verb, before[n], after[n]) for verb, n in zip(verbs, names, strict=True)
                ]
    return {"published": published, "mended": mended, "metrics": found} if found else {}


def finds_nothing(run: Record) -> bool:
    """Whether an arm has not one right pixel, and a mean over images that is high for all that."""
    # without a right pixel the Dice of an image is 1 or 0, and 1 only of an empty one
    figures = _figures(run, "honest")
    return figures.get("Dice pooled") == 0 and bool(figures.get("Dice"))


def _lower_means(run: Record, runs: Sequence[Record]) -> list[Record]:
    """Runs on the same images that find something and have the lower mean."""
    alike = ("seed", "data", "counts")
    found = [other for other in runs if all(other[key] == run[key] for key in alike)]
    mean = _figures(run, "honest")["Dice"]
    honest = [(other, _figures(other, "honest")) for other in found]
    return [
        other for other, some in honest if some.get("Dice pooled", 0) > 0 and some["Dice"] < mean
    ]


def _soft(runs: Sequence[Record]) -> Iterator[tuple[float, float]]:
    """The soft Dice coefficients of a system, each with the thresholded one."""
    for run in runs:
        for name, value in _figures(run, "theirs").items():
            if "soft" in name and "Dice" in _figures(run, "honest"):
                yield value, _figures(run, "honest")["Dice"]


def _convergence(runs: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """Of the EM stack: which arms learn nothing that a threshold could use.

    The pixel error is the lowest over thresholds, and threshold 0 makes cell everywhere of any
    prediction: so that no arm's is above that of cell everywhere. Two networks have the highest
    one in common, to the last digit, only where it is this one.
    """
    for data in dict.fromkeys(run["data"] for run in runs):
        own = [run for run in runs if run["data"] == data]
        if not all({"V^Rand", "pixel error"} <= _figures(run, "honest").keys() for run in own):
            continue
        highest = max(map(_pixel_error, own))
        failed = [run for run in own if _pixel_error(run) == highest]
        others = [run for run in own if run not in failed]
        yield {"runs": own, "failed": failed, "others": others, "cause": cause(failed, others)}


def cause(failed: Sequence[Record], others: Sequence[Record]) -> list[str]:
    """The defects that all runs that do not converge have in common, if all without converge.

    To converge is to halve the pixel error of those that failed (our choice).
    """
    halved = [run for run in others if _pixel_error(run) <= _pixel_error(failed[0]) / 2]
    if not halved or len(halved) < len(others):
        return []
    return [
        defect
        for defect in failed[0]["defects"]
        if all(defect in run["defects"] for run in failed)
        and not any(defect in run["defects"] for run in others)
    ]


def _pixel_error(run: Record) -> float:
    return run["metrics.honest.pixel error"]


def _figures(run: Record, kind: str) -> dict[str, float]:
    """The metrics of a kind, 'theirs' or 'honest', that a run has."""
    start = f"metrics.{kind}."
    names = [name for name in run if name.startswith(start) and run[name] is not None]
    return {name.removeprefix(start): run[name] for name in names}


def _numbers(defects: Sequence[str], listed: Sequence[str]) -> str:
    return ", ".join(str(listed.index(defect) + 1) for defect in defects) or "none"


def _shown(run: Record, runs: Sequence[Record]) -> str:
    """The name of an arm, with the seed where there are several."""
    several = len({each["seed"] for each in runs}) > 1
    return f"`{run['arm']}`" + (f" (seed {run['seed']})" if several else "")


def _pairs(runs: Sequence[Record]) -> list[tuple[Record, Record]]:
    """(published, mended) of each mended arm that has a partner."""
    found = [(_partner(run, runs), run) for run in runs]
    return [(partner, run) for partner, run in found if partner is not None]


def _partner(run: Record, runs: Sequence[Record]) -> Record | None:
    """The newest published arm of a mended one's suffix, seed and data."""
    if not run["arm"].startswith("mended"):
        return None
    published = (run["arm"].replace("mended", "published", 1), run["seed"], run["data"])
    found = [other for other in runs if (other["arm"], other["seed"], other["data"]) == published]
    return found[-1] if found else None


def _gain(system: System, published: Record, mended: Record) -> float:
    """How much more the mended arm has, of the figures as the page shows them."""
    after, before = (run[f"metrics.honest.{system.compare}"] for run in (mended, published))
    return round(after, 4) - round(before, 4)


def _run(run: Record) -> list[str]:
    counts = run["counts"]
    return [
        *records.run_line(run),
        f"{run['source']}; trained on {counts['trained on']}, honest figures of {counts['scored']}",
        *records.shown(run, "training.steps", "training.minutes:.1f"),
    ]
