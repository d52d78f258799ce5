"""The ablations: paired differences from the baseline, and for each question what they say.

All from the records: no number is typed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from unet2015.data.cell_tracking import RELEASES
from unet2015.reports import pages, records
from unet2015.reports.ablation_figures import draw_section, figure_stem
from unet2015.reports.statistics import (
    DIVERGED,
    FAILED,
    FINISHED,
    METRICS,
    Arm,
    Difference,
    Section,
    metrics_of,
    scores,
    sections,
)
from unet2015.reports.words import commit_in_words
from unet2015.runtime.record import read_records

PRESETS = ("quick", "paper")
EM_STACK, PHANTOM = "isbi2012", "phantom"
OUTCOMES = (FINISHED, DIVERGED, FAILED)


def write_ablations(results: Path) -> list[Path]:
    """Write results/ablations.md and its figures from the records in results/runs alone.

    Returns the paths written. A page of the phantom, and of each cell tracking set, is written
    beside it if there are such records: results/ablations_<dataset>.md.
    Raises FileNotFoundError and ValueError as `record.read_records` and `statistics.sections` do.
    """
    found = sections(read_records(results / "runs", "ablation"))
    made = {results / "ablations.md": page(found)}
    for dataset in sorted({section.dataset for section in found} - {EM_STACK}):
        made[results / f"ablations_{dataset}.md"] = page(found, dataset)
    drawn: dict[str, Section] = {}
    for section in found:  # of one preset, the newest is first: older baselines have no figures
        if _has_figures(section):
            drawn.setdefault(figure_stem(section), section)
    figures = [draw_section(section, results / "figures") for section in drawn.values()]
    return [*pages.write(made), *(path for paths in figures for path in paths)]


def page(found: Sequence[Section], dataset: str = EM_STACK) -> str:
    """The page of all sections on one data set; 'not run' for a preset without one."""
    mine = [section for section in found if section.dataset == dataset]
    presets = {section.preset for section in mine} | ({*PRESETS} if dataset != PHANTOM else set())
    shown = {
        preset: [section for section in mine if section.preset == preset]
        for preset in sorted(presets, key=records.preset_order)
    }
    return pages.render(
        "ablations",
        dataset=dataset,
        cells=dataset in RELEASES,
        phantom=dataset == PHANTOM,
        cell_sets=[name for name in RELEASES if name in {section.dataset for section in found}],
        metrics=[words for words, _, _ in metrics_of(dataset).values()],
        presets={
            preset: [_section(each, newest=each is of_preset[0]) for each in of_preset]
            for preset, of_preset in shown.items()
        },
    )


def evidence(arm: Arm) -> dict[str, Any]:
    """The metrics in which an arm is better, worse or cannot be told from the baseline."""
    found = [difference for difference in arm.differences if difference.mean is not None]
    verdicts = {
        verdict: [METRICS[each.metric][0] for each in found if each.verdict == verdict]
        for verdict in ("better", "worse", "open")
    }
    ends = {DIVERGED: arm.count(DIVERGED), FAILED: arm.count(FAILED)}
    ends["had a dead start"] = arm.dead_starts
    return {
        "name": arm.name,
        "question": arm.runs["question"].iloc[0],
        "difference": "; ".join(arm.runs["difference"].iloc[0]),
        "pairs": arm.pairs,
        "count": len(arm.runs),
        "finished": arm.count(FINISHED),
        "ends": {words: count for words, count in ends.items() if count},
        **verdicts,
    }


def mostly(arm: Arm, verdict: str, opposite: str) -> bool:
    """Whether at least half of the metrics are of this verdict, and none of the opposite."""
    found = [difference.verdict for difference in arm.differences]
    return 2 * found.count(verdict) >= len(found) and opposite not in found


def difference_line(arm: Arm) -> list[str]:
    """An arm's counts, and its paired differences with their intervals."""
    cells = []
    for difference in arm.differences:
        figure = _figure(difference)
        if difference.interval.excludes_zero:
            figure = f"**{figure}**"
        few = len(difference.pairs) < arm.pairs
        cells.append(f"{figure} (pairs: {len(difference.pairs)})" if few else figure)
    return [*_counts(arm), str(arm.pairs), *cells]


def _has_figures(section: Section) -> bool:
    return bool(section.arms) and section.dataset != PHANTOM and section.preset in PRESETS


def _section(section: Section, *, newest: bool) -> dict[str, Any]:
    """What the template says of one baseline and its arms."""
    every = (section.baseline, *section.arms)
    runs = [run for arm in every for run in arm.runs.to_dict("records")]
    commits = sorted(map(commit_in_words, runs))
    verdicts = {}
    for verdict, opposite in (("better", "worse"), ("worse", "better")):
        found = [arm for arm in section.arms if mostly(arm, verdict, opposite)]
        verdicts[verdict] = [f"`{arm.name}`" for arm in found]
    return verdicts | {
        "baseline_hash": section.baseline_hash,
        "runs": runs,
        "config": section.baseline.runs["config"].iloc[0],
        "instances": runs[0].get("instances") or {},
        "machines": sorted(set(map(records.machine, runs))),
        "command": max(runs, key=lambda run: run["started"])["command"],
        "commits": {commit: commits.count(commit) for commit in dict.fromkeys(commits)},
        "figures": figure_stem(section) if newest and _has_figures(section) else "",
        "baseline": _baseline_line(section),
        "differences": [difference_line(arm) for arm in section.arms],
        "evidence": [evidence(arm) for arm in section.arms],
        "lines": list(_run_lines(runs, section.dataset)),
    }


def _baseline_line(section: Section) -> list[str]:
    figures = []
    for metric, (_, decimals, _) in metrics_of(section.dataset).items():
        values = scores(section.baseline.runs, metric).values()
        spread = f" ({min(values):.{decimals}f} … {max(values):.{decimals}f})" if values else ""
        figures.append(f"{fmean(values):.{decimals}f}{spread}" if values else "–")
    return [*_counts(section.baseline), *figures]


def _counts(arm: Arm) -> list[str]:
    outcomes = [str(arm.count(outcome)) for outcome in OUTCOMES]
    return [f"`{arm.name}`", str(len(arm.runs)), *outcomes, str(arm.dead_starts)]


def _figure(difference: Difference) -> str:
    """The mean difference and its interval."""
    if difference.mean is None:
        return "–"
    decimals = METRICS[difference.metric][1]
    low, high = difference.interval.low, difference.interval.high
    if low is None or high is None:
        return f"{difference.mean:+.{decimals}f} [no interval]"
    mark = "†" if difference.interval.note else ""
    return f"{difference.mean:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}]{mark}"


def _run_lines(runs: Sequence[records.Record], dataset: str) -> Iterator[list[str]]:
    for run in runs:
        course = ["–", "–", "–"]
        if run.get("training.steps") is not None:
            course = [str(run["training.steps"]), f"{run['training.seconds'] / 60:.1f}"]
            course.append(str(run["training.dead_start_steps"]))
        outcome = run["outcome"] + (f": {run['reason']}" if run["reason"] else "")
        values = [
            (run.get(f"scores.{metric}.value") if run["outcome"] == FINISHED else None, decimals)
            for metric, (_, decimals, _) in metrics_of(dataset).items()
        ]
        figures = ["–" if v is None else f"{v:.{decimals}f}" for v, decimals in values]
        place = [f"`{run['arm']}`", str(run["fold"]), str(run["seed"]), outcome]
        yield [*place, *course, *figures, pages.record_link(run["name"])]
