"""The page of the ablations: tables, and for each question what the evidence says.

All from the records: no number is typed, and a paragraph quotes only cells of the table above it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from unet2015.data.cell_tracking import RELEASES
from unet2015.reports.ablation_figures import draw_section, figure_stem
from unet2015.reports.statistics import (
    BASELINE,
    DIVERGED,
    FAILED,
    FINISHED,
    METRICS,
    Arm,
    Difference,
    Record,
    Section,
    metrics_of,
    score,
    sections,
)
from unet2015.reports.tables import markdown_table
from unet2015.reports.words import spans
from unet2015.runtime.atomic import write_text
from unet2015.runtime.record import read_records

COMMAND = "python reproduce/ablations.py"
PAGE = "ablations"
PRESETS = ("quick", "paper")
CELL_SOURCE = (
    "Images: Cell Tracking Challenge (doi:10.1038/nmeth.4473); none of them is shown here."
)
EM_STACK, PHANTOM = "isbi2012", "phantom"
_ONE_DIFFERENCE = """\
- Every arm has one difference from the baseline, which is in the arm's line under "Differences".
  Folds, seeds, sequence of samples, number of steps and learning rate are the baseline's."""
_COUNTED = """\
- A run that diverged or failed has no scores and is in no pair, but it is counted. A dead start
  predicts one class only for its first 300 steps, or to its end."""
HOW_TO_READ = f"""\
{_ONE_DIFFERENCE}
- A cell is the mean of the paired differences, arm − baseline with the same fold and seed, and in
  brackets the 95 % bootstrap interval of that mean (BCa). Lower is better for the errors, higher
  for V^Rand and V^Info. **Bold**: the interval excludes zero. Fewer than three pairs, or pairs
  that all differ by the same, have no interval.
- The intervals are too narrow where there are few pairs: with four, an interval excludes zero in
  about a quarter of all comparisons in which there is no difference (with eight in an eighth; a
  test simulates it). Pairs of one fold share its slices, folds share slices to train on. A bold
  cell of few pairs is a hint, several metrics that agree are a better one.
{_COUNTED}
- The warping error's minimum over thresholds flatters a prediction that one threshold leaves
  almost empty; the guarded one, our addition, does not (see [em_challenge.md](em_challenge.md)).
- Scores are on the held-out slices of the fold, each metric at its best threshold there, as in the
  challenge. No setting was chosen by them."""
HOW_TO_READ_CELLS = f"""\
{_ONE_DIFFERENCE}
- A fold is a direction: fold 1 is trained on sequence 01 and scored on 02, fold 2 is trained on 02
  and scored on 01.
- SEG is the paper's "IOU" (Table 2). Foreground IoU: of all pixels of cells, pooled. Share of
  merged cells: of the gold masks, those that have their predicted cell in common with another one
  (see [cell_tracking.md](cell_tracking.md)).
- A cell is the mean of the paired differences, arm − baseline with the same fold and seed, and in
  brackets the 95 % bootstrap interval of that mean (BCa). Higher is better for SEG and foreground
  IoU, lower for the share of merged cells. **Bold**: the interval excludes zero. Fewer than three
  pairs, or pairs that all differ by the same, have no interval.
- The intervals are too narrow where there are few pairs: with four, an interval excludes zero in
  about a quarter of all comparisons in which there is no difference (with eight in an eighth; a
  test simulates it). Pairs of one fold share both sequences, and there are two sequences only: a
  difference holds for these, not for others. A bold cell of few pairs is a hint, several metrics
  that agree are a better one.
{_COUNTED}
- A network that finds no cells merges none: the share of merged cells says nothing without SEG.
- `same_padding`: with the presets' tiles the output is larger than the frames are high (quick: and
  wide). There it is mirrored, and the tile's position is no longer random.
- Scores are on the sequence left out. The settings of `quick` were chosen on sequence 01 of both
  sets, so fold 2 scores frames that this choice has seen; no arm was part of the choice but
  `no_class_weight`, which `quick` has in its baseline."""


def ablations_page(found: Sequence[Section], *, dataset: str = EM_STACK) -> str:
    """The page of all sections on one data set, as Markdown; 'not run' for a preset without one."""
    mine = [section for section in found if section.dataset == dataset]
    parts = [f"<!-- generated from the records in results/runs by: {COMMAND} — do not edit -->"]
    parts += _head(dataset, [name for name in RELEASES if name in {s.dataset for s in found}])
    presets = sorted(
        {section.preset for section in mine} | (set() if dataset == PHANTOM else set(PRESETS)),
        key=lambda preset: (PRESETS.index(preset) if preset in PRESETS else 2, preset),
    )
    for preset in presets:
        of_preset = [section for section in mine if section.preset == preset]
        if not of_preset:
            parts.append(f"## Preset `{preset}`\n\nnot run")
        for section in of_preset:
            parts += _section(section, newest=section is of_preset[0])
    return "\n\n".join(parts) + "\n"


def _head(dataset: str, cell_sets: Sequence[str]) -> Iterator[str]:
    """Title and how to read; cell_sets: those that have a page of their own."""
    if dataset in RELEASES:
        yield f"# Ablations on {dataset}: which part of the recipe matters"
        yield f"The EM stack: [{PAGE}.md]({PAGE}.md). {CELL_SOURCE}"
        yield "## How to read\n\n" + HOW_TO_READ_CELLS
        return
    if dataset == PHANTOM:
        yield "# PHANTOM ablations: a procedural stand-in, NOT the ISBI 2012 EM stack"
        yield "**These figures say nothing about EM images.**"
    else:
        yield "# Ablations on the EM stack: which part of the recipe matters"
        if links := [f"[{name}]({PAGE}_{name}.md)" for name in cell_sets]:
            yield f"The same on the cell tracking sets: {', '.join(links)}."
    yield "## How to read\n\n" + HOW_TO_READ


def write_ablations(results: Path) -> list[Path]:
    """Write results/ablations.md and its figures from the records in results/runs alone.

    Returns the paths written. A page of the phantom, and of each cell tracking set, is written
    beside it if there are such records: results/ablations_<dataset>.md.
    Raises FileNotFoundError and ValueError as `record.read_records` and `statistics.sections` do.
    """
    records = read_records(results / "runs", "ablation")
    found = sections(records)
    pages = {results / f"{PAGE}.md": ablations_page(found)}
    for dataset in sorted({section.dataset for section in found} - {EM_STACK}):
        pages[results / f"{PAGE}_{dataset}.md"] = ablations_page(found, dataset=dataset)
    results.mkdir(parents=True, exist_ok=True)
    paths = list(pages)
    drawn: set[str] = set()
    for section in found:  # of one preset, the newest is first: older baselines have no figures
        if _has_figures(section) and (stem := figure_stem(section)) not in drawn:
            drawn.add(stem)
            paths += draw_section(section, results / "figures")
    for path, page in pages.items():
        write_text(path, page)
    return paths


def _has_figures(section: Section) -> bool:
    return section.dataset != PHANTOM and section.preset in PRESETS


def _section(section: Section, *, newest: bool) -> Iterator[str]:
    yield f"## Preset `{section.preset}`, baseline {section.baseline_hash}"
    yield _about(section)
    yield f"### Baseline\n\n{_baseline_table(section)}"
    yield f"### Paired differences from the baseline\n\n{difference_table(section.arms)}"
    if newest and section.arms and _has_figures(section):
        for kind, words in (("differences", "paired differences"), ("curves", "learning curves")):
            yield f"![{words}](figures/{figure_stem(section)}_{kind}.png)"
    if section.arms:
        yield "### What the evidence says"
    for arm in section.arms:
        yield evidence(arm)
    yield "### Differences\n\n" + "\n".join(
        f"- `{arm.name}`: " + "; ".join(arm.runs[0]["difference"]) for arm in section.arms
    )
    yield f"### Every run\n\n{_run_table(section)}"


def _about(section: Section) -> str:
    """One paragraph on what all runs of a section share."""
    runs = section.runs
    folds = spans([run["fold"] for run in runs])
    seeds = spans([run["seed"] for run in runs])
    hours = sum(run["wall_time_s"] for run in runs) / 3600
    machines = sorted({_machine(run) for run in runs})
    config = section.baseline.runs[0]["config"]
    training = config["training"]
    return (
        f"{len(runs)} runs, {hours:.1f} h in all, on {'; '.join(machines)}. Folds {folds}, seeds "
        f"{seeds}. Baseline: {training['steps']} steps of {training['optimizer']} in "
        f"{training['precision']} at learning rate {training['learning_rate']:g}, "
        f"{config['model']['width']} channels at the first level, "
        f"input tile {training['input_tile_px']} px, averaging {config['prediction']['averaging']}."
        f"{_cells(section)} Command: `{max(runs, key=lambda run: run['started'])['command']}`. "
        f"Code: {'; '.join(f'{name}: {n} run(s)' for name, n in section.commits.items())}."
    )


def _cells(section: Section) -> str:
    """How cells were found in the probability; '' where none were."""
    settings = section.baseline.runs[0].get("instances")
    if settings is None:
        return ""
    return " Cells: " + ", ".join(f"{name} {value}" for name, value in settings.items()) + "."


def _machine(run: Record) -> str:
    hardware = run["hardware"]
    return ", ".join(hardware["accelerators"]) or f"{hardware['cpu']}, {hardware['cores']} cores"


def _baseline_table(section: Section) -> str:
    arm, metrics = section.baseline, metrics_of(section.dataset)
    head = ["", *_counts_head(), *(words for words, _, _ in metrics.values())]
    figures = []
    for metric, (_, decimals, _) in metrics.items():
        values = arm.scores(metric)
        spread = f" ({min(values):.{decimals}f} … {max(values):.{decimals}f})" if values else ""
        figures.append(f"{fmean(values):.{decimals}f}{spread}" if values else "–")
    table = markdown_table(head, [[f"`{BASELINE}`", *_counts(arm), *figures]])
    return table + "\n\nMeans over the runs, in brackets the smallest and the largest."


def difference_table(arms: Sequence[Arm]) -> str:
    """Each arm's paired differences with their intervals, as Markdown."""
    if not arms:
        return "No arm was run."
    words = [METRICS[difference.metric][0] for difference in arms[0].differences]
    head = ["", *_counts_head(), "pairs", *words]
    lines = []
    for arm in arms:
        cells = [_cell(difference, arm.pairs) for difference in arm.differences]
        lines.append([f"`{arm.name}`", *_counts(arm), str(arm.pairs), *cells])
    table = markdown_table(head, lines)
    return table + "\n\n† percentile interval: BCa is not defined" if "†" in table else table


def _counts_head() -> list[str]:
    return ["runs", FINISHED, DIVERGED, FAILED, "dead starts"]


def _counts(arm: Arm) -> list[str]:
    outcomes = [str(arm.count(outcome)) for outcome in (FINISHED, DIVERGED, FAILED)]
    return [str(len(arm.runs)), *outcomes, str(arm.dead_starts)]


def _cell(difference: Difference, pairs: int) -> str:
    figure = _figure(difference)
    if difference.interval.excludes_zero:
        figure = f"**{figure}**"
    fewer = len(difference.values) < pairs
    return f"{figure} (pairs: {len(difference.values)})" if fewer else figure


def _figure(difference: Difference) -> str:
    """The mean difference and its interval, as the table and the paragraphs show it."""
    if difference.mean is None:
        return "–"
    decimals = METRICS[difference.metric][1]
    low, high = difference.interval.low, difference.interval.high
    if low is None or high is None:
        return f"{difference.mean:+.{decimals}f} [no interval]"
    mark = "†" if difference.interval.note else ""
    return f"{difference.mean:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}]{mark}"


def evidence(arm: Arm) -> str:
    """What an arm's runs say about its question; every number in it is in the arm's table row."""
    start = f"**{arm.question}** (`{arm.name}`)"
    if not arm.pairs:
        outcomes = f"finished {arm.count(FINISHED)}, diverged {arm.count(DIVERGED)}"
        return f"{start} No pair of runs to compare: {outcomes}, failed {arm.count(FAILED)}."
    parts = []
    for verdict in ("better", "worse", "open"):
        found = [d for d in arm.differences if d.verdict == verdict and d.mean is not None]
        listed = ", ".join(f"{METRICS[d.metric][0]} {_figure(d)}" for d in found)
        if found and verdict != "open":
            parts.append(f"{verdict} than the baseline in {listed}")
        elif found:
            parts.append(f"no difference that these runs can tell from chance in {listed}")
    ends = [
        f" Of {len(arm.runs)} runs {count} {what}."
        for what, count in (
            (DIVERGED, arm.count(DIVERGED)),
            (FAILED, arm.count(FAILED)),
            ("had a dead start", arm.dead_starts),
        )
        if count
    ]
    return f"{start} Pairs: {arm.pairs}. The arm shows: {'; '.join(parts)}.{''.join(ends)}"


def _run_table(section: Section) -> str:
    metrics = metrics_of(section.dataset)
    head = ["", "fold", "seed", "outcome", "steps", "minutes", "dead-start steps"]
    head += [words for words, _, _ in metrics.values()] + ["record"]
    lines = []
    for arm in (section.baseline, *section.arms):
        for run in arm.runs:
            training = run["training"]
            course = ["–", "–", "–"]
            if training is not None:
                course = [str(training["steps"]), f"{training['seconds'] / 60:.1f}"]
                course.append(str(training["dead_start_steps"]))
            outcome = run["outcome"] + (f": {run['reason']}" if run["reason"] else "")
            values = [(score(run, metric), metrics[metric][1]) for metric in metrics]
            figures = ["–" if v is None else f"{v:.{decimals}f}" for v, decimals in values]
            place = [f"`{arm.name}`", str(run["fold"]), str(run["seed"]), outcome]
            lines.append([*place, *course, *figures, run["name"]])
    return markdown_table(head, lines)
