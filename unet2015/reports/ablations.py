"""The ablations: paired differences from the baseline, and for each question what they say.

All from the records: no number is typed.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from unet2015.data.cell_tracking import RELEASES
from unet2015.reports import pages, records
from unet2015.reports.ablation_figures import draw_lengths, draw_section, figure_stem
from unet2015.reports.statistics import (
    DIVERGED,
    FAILED,
    FINISHED,
    METRICS,
    Arm,
    Difference,
    Section,
    metrics_of,
    of_several_lengths,
    scores,
    sections,
)
from unet2015.reports.words import commit_in_words, processor_in_words
from unet2015.runtime.lock import held

PRESETS = ("quick", "long", "paper")
EM_STACK, PHANTOM = "isbi2012", "phantom"


def write_ablations(results: Path) -> list[Path]:
    """Write results/ablations.md and its figures from the records in results/runs alone.

    Returns the paths written. A page of the phantom, and of each cell tracking set, is written
    beside it if there are such records: results/ablations_<dataset>.md.
    Raises FileNotFoundError and ValueError as `record.read_records` and `statistics.sections` do.
    """
    with held(results, wait=True):  # or the older of two pages might be written last
        found = sections(records.read(results, "ablation"))
        made = {results / "ablations.md": page(found)}
        for dataset in sorted({section.dataset for section in found} - {EM_STACK}):
            made[results / f"ablations_{dataset}.md"] = page(found, dataset)
        drawn: dict[str, Section] = {}
        for section in found:  # of one preset, the newest is first: older baselines have no figures
            if _has_figures(section):
                drawn.setdefault(figure_stem(section), section)
        folder = results / "figures"
        figures = [path for section in drawn.values() for path in draw_section(section, folder)]
        figures += [draw_lengths(each, folder) for each in _drawn_lengths(found).values()]
        return [*pages.write(made), *figures]


def page(found: Sequence[Section], dataset: str = EM_STACK) -> str:
    """The page of all sections on one data set; 'not run' for a preset without one."""
    shown: dict[str, list[dict[str, Any]]] = {
        preset: [] for preset in PRESETS if dataset != PHANTOM
    }
    several = {
        lengths[0].preset: _lengths(lengths)
        for lengths in _drawn_lengths(found).values()
        if lengths[0].dataset == dataset
    }
    for section in found:
        if section.dataset == dataset:
            of_preset = shown.setdefault(section.preset, [])
            of_preset.append(_section(section, newest=not of_preset))
    return pages.render(
        "ablations",
        dataset=dataset,
        cells=dataset in RELEASES,
        phantom=dataset == PHANTOM,
        cell_sets=[name for name in RELEASES if name in {section.dataset for section in found}],
        metrics=[words for words, _, _ in metrics_of(dataset).values()],
        scores=[
            f"{words}=scores.{metric}.value:.{decimals}f"
            for metric, (words, decimals, _) in metrics_of(dataset).items()
        ],
        presets=shown,
        lengths=several,
    )


def evidence(arm: Arm) -> dict[str, Any]:
    """An arm's line of the table, and in which metrics it is better, worse or not to be told."""
    found = [each for each in arm.differences if each.mean is not None]
    verdicts = {
        verdict: [METRICS[each.metric][0] for each in found if each.verdict == verdict]
        for verdict in ("better", "worse", "open")
    }
    ends = {end: arm.count(end) for end in (DIVERGED, FAILED)}
    figures = {METRICS[each.metric][0]: _figure(each, arm.pairs) for each in arm.differences}
    return {
        **_counts(arm),
        "pairs": arm.pairs,
        **figures,
        "question": arm.runs["question"].iloc[0],
        "difference": "; ".join(arm.runs["difference"].iloc[0]),
        "ends": ends | {"had a dead start": arm.dead_starts},
        **verdicts,
    }


def mostly(arm: Arm, verdict: str, opposite: str) -> bool:
    """Whether at least half of the metrics are of this verdict, and none of the opposite."""
    found = [difference.verdict for difference in arm.differences]
    return 2 * found.count(verdict) >= len(found) and opposite not in found


def _drawn_lengths(found: Sequence[Section]) -> dict[str, list[Section]]:
    """Of each preset and data set that have figures the newest sections of several lengths."""
    drawn: dict[str, list[Section]] = {}
    for lengths in of_several_lengths(filter(_has_figures, found)):
        drawn.setdefault(figure_stem(lengths[0]), lengths)
    return drawn


def _lengths(lengths: Sequence[Section]) -> dict[str, Any]:
    """What the template says of one baseline and its arms at several numbers of steps."""
    names = sorted({arm.name for section in lengths for arm in section.arms})
    verdicts = {name: {"arm": f"`{name}`"} for name in names}
    figures = {
        (name, words): {"arm": f"`{name}`", "metric": words}
        for name in names
        for words, _, _ in metrics_of(lengths[0].dataset).values()
    }
    for section in lengths:
        steps = f"{section.steps} steps"
        for line in (*verdicts.values(), *figures.values()):
            line[steps] = "not run"
        for arm in section.arms:
            verdicts[arm.name][steps] = _verdicts(arm)
            for each in arm.differences:
                words = METRICS[each.metric][0]
                figures[arm.name, words][steps] = _figure(each, arm.pairs) or "no pair"
    return {
        "figure": f"{figure_stem(lengths[0])}_lengths",
        "verdicts": [*verdicts.values()],
        "figures": [*figures.values()],
    }


def _verdicts(arm: Arm) -> str:
    """In how many metrics an arm is better and worse."""
    found = [difference.verdict for difference in arm.differences]
    better, worse = found.count("better"), found.count("worse")
    return f"better in {better}, worse in {worse} of {len(found)} ({arm.pairs} pairs)"


def _has_figures(section: Section) -> bool:
    return bool(section.arms) and section.dataset != PHANTOM and section.preset in PRESETS


def _section(section: Section, *, newest: bool) -> dict[str, Any]:
    """What the template says of one baseline and its arms."""
    every = (section.baseline, *section.arms)
    runs = [run for arm in every for run in arm.runs.to_dict("records")]
    commits = sorted(map(commit_in_words, runs))
    return {
        "hash": section.baseline_hash,
        "config": section.config,
        "instances": runs[0].get("instances") or {},
        "machines": sorted(set(map(_machine, runs))),
        "command": max(runs, key=lambda run: run["started"])["command"],
        "commits": {commit: commits.count(commit) for commit in commits},
        "figures": figure_stem(section) if newest and _has_figures(section) else "",
        "baseline": _baseline(section),
        "arms": [evidence(arm) for arm in section.arms],
        "better": [f"`{arm.name}`" for arm in section.arms if mostly(arm, "better", "worse")],
        "worse": [f"`{arm.name}`" for arm in section.arms if mostly(arm, "worse", "better")],
        "runs": [
            {
                **run,
                "arm": f"`{run['arm']}`",
                "ended": run["outcome"] + (f": {run['reason']}" if run["reason"] else ""),
                "record": records.link(run),
            }
            for run in runs
        ],
    }


def _baseline(section: Section) -> dict[str, Any]:
    """Its line of the table: the means of its runs, with the smallest and the largest."""
    line = _counts(section.baseline)
    for metric, (words, decimals, _) in metrics_of(section.dataset).items():
        values, form = scores(section.baseline.runs, metric).values(), f".{decimals}f"
        spread = values and f"{fmean(values):{form}} ({min(values):{form}} … {max(values):{form}})"
        line[words] = spread or None
    return line


def _counts(arm: Arm) -> dict[str, Any]:
    outcomes = {outcome: arm.count(outcome) for outcome in (FINISHED, DIVERGED, FAILED)}
    return {
        "arm": f"`{arm.name}`",
        "runs": len(arm.runs),
        **outcomes,
        "dead starts": arm.dead_starts,
    }


def _figure(found: Difference, pairs: int) -> str | None:
    """The mean difference with its interval, bold where it excludes zero."""
    if found.mean is None:
        return None
    form = f"+.{METRICS[found.metric][1]}f"
    low, high = found.interval.low, found.interval.high
    between = "no interval" if low is None else f"{low:{form}}, {high:{form}}"
    figure = f"{found.mean:{form}} [{between}]" + "†" * bool(
        low is not None and found.interval.note
    )
    if found.interval.excludes_zero:
        figure = f"**{figure}**"
    return figure + f" (pairs: {len(found.pairs)})" * (len(found.pairs) < pairs)


def _machine(run: records.Record) -> str:
    hardware = run["hardware"]
    return ", ".join(hardware["accelerators"]) or processor_in_words(hardware)
