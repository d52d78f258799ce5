"""From records to pages: every number in results/ is taken from a record, none is typed.

The paper's own figures are the one exception; they stand here with their source. The same records
give the same bytes, whatever the order of files, the locale or the time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from unet2015.reports.words import OPEN, commit_in_words, plan_in_words, preset_in_words, spans
from unet2015.runtime.atomic import write_text
from unet2015.runtime.record import read_records

Record = Mapping[str, Any]

COMMAND = "python reproduce/tables.py"
README_START, README_END = "<!-- results:em_challenge -->", "<!-- /results -->"
METRICS = {"warping_error": 6, "rand_error": 4, "pixel_error": 4}
"""The paper's three metrics in the order of its Table 1, with their decimals there."""
PAPER_TABLE_1 = (
    ("human values", 0.000005, 0.0021, 0.0010),
    ("1. u-net", 0.000353, 0.0382, 0.0611),
    ("2. DIVE-SCI", 0.000355, 0.0305, 0.0584),
    ("3. IDSIA", 0.000420, 0.0504, 0.0613),
    ("4. DIVE", 0.000430, 0.0545, 0.0582),
    ("10. IDSIA-SCI", 0.000653, 0.0189, 0.1027),
)
"""Paper, Table 1: rank and group, warping, Rand and pixel error on 6 March 2015."""
U_NET = dict(zip(METRICS, PAPER_TABLE_1[1][1:], strict=True))
PRESETS: dict[str, tuple[int, ...]] = {"quick": (4,), "paper": (0, 1, 2, 3, 4)}
"""The presets and the folds that each runs; quick's settings were chosen with fold 4 unseen."""
SELECTION = (
    "The settings of `quick` were chosen on slices 0–5 (trained on 6–23), with slices 24–29 (fold "
    "4) unseen; figures of `quick` that include slices 0–5 are therefore flattered. What the paper "
    "leaves open was set for `paper` without a run. The threshold of every figure is its best on "
    "the scored slices themselves, as in the challenge. Nothing was chosen with test labels."
)
THE_PAPERS_FIGURES = """\
- The paper's figures are of the hidden labels of the challenge's test volume, computed by its
  server. Ours are of held-out slices of the training volume, unless the row says test volume: the
  two are measured on different slices, so Δ (ours − the paper's u-net) shows how near they are, not
  which is better."""
HOW_TO_READ = """\
- Lower is better in the three columns of the paper. Scores are pooled over all scored slices.
- Several seeds: mean ± half the range. Different presets, settings, slices or protocols never
  share a row; of equal runs the newest record counts. "not run": there is no record.
- The warping error's minimum has an artefact: a prediction that a threshold leaves almost empty
  scores (nearly) 0. The guarded one, our addition, is the minimum over those thresholds only at
  which the share of cell pixels is within a factor 1.5 of the truth's.
- V^Rand and V^Info (after border thinning) came after the paper; higher is better."""


@dataclass(frozen=True)
class Row:
    """Runs that may be averaged: one preset, configuration, set of slices and protocol."""

    preset: str
    config_hash: str
    folds: tuple[str, ...]
    protocol: str
    records: tuple[Record, ...]
    """The newest record of each seed, by seed."""

    @property
    def newest(self) -> Record:
        return max(self.records, key=_age)

    @property
    def name(self) -> str:
        return f"ours, {preset_in_words(self.newest)} ({self.config_hash})"

    @property
    def scored_on(self) -> str:
        if not self.folds:
            return "test volume"
        slices = spans(self.newest["pooled_slices"])
        count = len(self.folds)
        folds = f"fold {self.folds[0]}" if count == 1 else f"{count} folds"
        extra = "" if self.protocol == "2015" else f", protocol {self.protocol}"
        return f"held-out slices {slices} ({folds}{extra})"

    def scores(self) -> list[tuple[Record, Mapping[str, Any]]]:
        """Each record with its scores; empty for a test volume without labels."""
        found = [
            (r, r["pooled"] if self.folds else r["test_volume"]["scores"]) for r in self.records
        ]
        return [(record, scores) for record, scores in found if scores is not None]

    def values(self, metric: str, field: str = "value") -> list[float]:
        """One figure of each seed; empty if a seed lacks it."""
        found = [scores[metric].get(field) for _, scores in self.scores()]
        return [] if None in found else found


def em_challenge_table(
    records: Sequence[Record], *, dataset: str, selection: str = SELECTION
) -> str:
    """The page of the EM challenge: the paper's Table 1 with our rows in it, as Markdown.

    records: as `record.read_records` gives them; those of other experiments and data sets are
    left out. dataset: 'isbi2012', or 'phantom' for a page without the paper's figures, with which
    a phantom's cannot be compared. selection: what was chosen on which slices.
    Raises ValueError naming the record if one lacks a figure.
    """
    mine = [r for r in records if (r["experiment"], r["dataset"]) == ("em_challenge", dataset)]
    try:
        parts = list(_page(mine, dataset, selection))
    except (KeyError, TypeError, AttributeError) as error:
        names = ", ".join(str(record["name"]) for record in mine)
        raise ValueError(f"a record of em_challenge is not whole ({error!r}): {names}") from error
    return "\n\n".join(parts) + "\n"


def write_tables(records_directory: Path, results_directory: Path) -> list[Path]:
    """Write every page of results/ from the records alone; returns the paths written.

    em_challenge.md always, em_challenge_phantom.md if there are such records, and the results
    table in the README.md beside `results_directory` if that has the markers for it. All pages
    are made before the first is written. Raises FileNotFoundError and ValueError as
    `read_records` does, and ValueError for a README.md that lacks the closing marker.
    """
    records = read_records(records_directory, "em_challenge")
    pages = {results_directory / "em_challenge.md": em_challenge_table(records, dataset="isbi2012")}
    if any(record["dataset"] == "phantom" for record in records):
        page = em_challenge_table(records, dataset="phantom")
        pages[results_directory / "em_challenge_phantom.md"] = page
    readme = results_directory.resolve().parent / "README.md"
    if readme.is_file() and README_START in (text := readme.read_text(encoding="utf-8")):
        pages[readme] = with_table(text, README_START, em_challenge_summary(records), readme)
    results_directory.mkdir(parents=True, exist_ok=True)
    for path, page in pages.items():
        write_text(path, page)
    return list(pages)


def em_challenge_summary(records: Sequence[Record]) -> str:
    """The short table of the README: the paper's u-net, and the newest row of each preset."""
    paper = ["u-net, paper (Table 1)", "hidden test volume", *map(_figure, METRICS, U_NET.values())]
    lines = [paper]
    for preset in PRESETS:
        row = claimed_row(records, preset)
        if row is None:
            lines.append([f"ours, `{preset}`", *["not run"] * 4])
            continue
        figures = [_mean(row.values(metric), METRICS[metric]) for metric in METRICS]
        name = f"ours, {preset_in_words(row.newest)}{_seeds(row)}"
        lines.append([name, row.scored_on, *figures])
    head = ["", "scored on", "warping error", "Rand error", "pixel error"]
    return (
        markdown_table(head, lines)
        + "\n\nGenerated from the records in results/runs; how to read it, and all figures: "
        "[results/em_challenge.md](results/em_challenge.md)."
    )


def claimed_row(records: Sequence[Record], preset: str) -> Row | None:
    """The row that stands for a preset in README.md: of all its folds, the newest.

    A run of other folds has its row on the page, but is not what the preset claims; nor is, where
    the number of steps is free, a short run in the place of a long one.
    """
    claimed = (preset, tuple(map(str, PRESETS[preset])))

    def rank(row: Row) -> tuple[int, tuple[str, str]]:
        free = preset == OPEN
        return row.newest["config"]["training"]["steps"] if free else 0, _age(row.newest)

    mine = [r for r in records if (r["experiment"], r["dataset"]) == ("em_challenge", "isbi2012")]
    of_preset = [row for row in held_out_rows(mine) if (row.preset, row.folds) == claimed]
    return max(of_preset, key=rank, default=None)


def held_out_rows(records: Sequence[Record]) -> list[Row]:
    """The rows of runs scored on held-out slices, in the order of the page."""
    return _rows([r for r in records if r["pooled"] is not None], folds=True)


def submitted_rows(records: Sequence[Record]) -> list[Row]:
    """The rows of runs that predicted the challenge's test volume (`--submit`)."""
    return _rows([r for r in records if r["test_volume"] is not None], folds=False)


def _rows(records: Sequence[Record], *, folds: bool) -> list[Row]:
    newest: dict[tuple, dict[int, Record]] = {}
    for record in sorted(records, key=_age):
        key = (
            record["preset"],
            record["config_hash"],
            tuple(sorted(record["folds"], key=int)) if folds else (),
            record["scores_protocol"],
        )
        newest.setdefault(key, {})[record["seed"]] = record
    rows = [
        Row(*key, records=tuple(seeds[seed] for seed in sorted(seeds)))
        for key, seeds in newest.items()
    ]
    rows.sort(key=lambda row: _age(row.newest), reverse=True)
    return sorted(rows, key=lambda row: (_preset_order(row.preset), row.preset))


def _age(record: Record) -> tuple[str, str]:
    return record["started"], record["name"]


def _preset_order(preset: str) -> int:
    return list(PRESETS).index(preset) if preset in PRESETS else len(PRESETS)


def _page(records: Sequence[Record], dataset: str, selection: str) -> Iterator[str]:
    """The parts of the page, one after the other."""
    phantom = dataset == "phantom"
    held_out, submitted = held_out_rows(records), submitted_rows(records)
    rows = held_out + submitted
    yield f"<!-- generated from the records in results/runs by: {COMMAND} — do not edit -->"
    if phantom:
        yield "# PHANTOM results: a procedural stand-in, NOT the ISBI 2012 EM stack"
        yield (
            "**These figures say nothing about the paper or about EM images.** They show that the "
            "whole chain runs on a machine without the data. The results on the real stack are in "
            "[em_challenge.md](em_challenge.md)."
        )
    else:
        yield "# The EM challenge (paper, Table 1) and ours"
    yield _main_table(held_out, submitted, phantom)
    if not phantom:
        yield "Source of the paper's figures: Ronneberger, Fischer, Brox 2015, Table 1 " + (
            "(6 March 2015, sorted by warping error)."
        )
    yield "## How to read\n\n" + ("" if phantom else THE_PAPERS_FIGURES + "\n") + HOW_TO_READ
    if not phantom:
        yield "## What was selected on what\n\n" + selection
    scored = [row for row in rows if row.scores()]
    if scored:
        yield "## Further figures\n\n" + _further_table(scored)
        yield "## Thresholds at which the figures were reached\n\n" + _threshold_table(scored)
    if folds := [line for row in held_out if len(row.folds) > 1 for line in _fold_lines(row)]:
        head = ["", "seed", "fold", "slices", "warping error", "Rand error", "pixel error"]
        yield "## Fold by fold\n\n" + markdown_table(head, folds)
    yield "## Deviations from the paper\n\n" + _deviations(rows, () if phantom else tuple(PRESETS))
    used = {record["name"]: record for row in rows for record in row.records}
    yield "## Runs"
    if not used:
        yield "No record."
    for name in sorted(used):
        yield _run(used[name])


def _main_table(held_out: Sequence[Row], submitted: Sequence[Row], phantom: bool) -> str:
    lines = []
    if not phantom:
        for name, *values in PAPER_TABLE_1:
            pairs = zip(METRICS, values, strict=True)
            figures = [cell for pair in pairs for cell in (_figure(*pair), "")]
            lines.append([f"paper: {name}", "hidden test volume", *figures, ""])
    presets = {row.preset for row in held_out}
    shown = sorted({*presets, *(("quick",) if phantom else PRESETS)}, key=_preset_order)
    for preset in shown:
        of_preset = [row for row in held_out if row.preset == preset]
        lines += [_main_line(row, phantom) for row in of_preset]
        if not of_preset:
            lines.append([f"ours, `{preset}`", "held-out slices", *["not run", ""] * 3, ""])
    lines += [_main_line(row, phantom) for row in submitted]
    if not submitted:
        lines.append(["ours", "test volume", *["not asked for", ""] * 3, ""])
    head = ["", "scored on", "warping error", "Δ", "Rand error", "Δ", "pixel error", "Δ", "records"]
    if phantom:
        lines = [line[:2] + line[2:8:2] + line[8:] for line in lines]
        head = head[:2] + head[2:8:2] + head[8:]
    return markdown_table(head, lines)


def _main_line(row: Row, phantom: bool) -> list[str]:
    cells = []
    for metric, decimals in METRICS.items():
        values = row.values(metric)
        if not values:
            reason = row.newest["test_volume"]["reason"] if not row.folds else "–"
            cells += [reason, ""]
            continue
        difference = "" if phantom else f"{fmean(values) - U_NET[metric]:+.{decimals}f}"
        cells += [_mean(values, decimals), difference]
    return [row.name + _seeds(row), row.scored_on, *cells, _names(row)]


def _further_table(rows: Sequence[Row]) -> str:
    head = ["", "scored on", "guarded warping error", "V^Rand", "split", "merge"]
    head += ["V^Info", "split", "merge"]
    lines = []
    for row in rows:
        guarded = _mean(row.values("warping_error_guarded"), 6) or "no threshold qualifies"
        thinned = [
            _mean(row.values(metric, field), 4) or "–"
            for metric in ("v_rand_thinned", "v_info_thinned")
            for field in ("value", "split", "merge")
        ]
        lines.append([row.name + _seeds(row), row.scored_on, guarded, *thinned])
    return markdown_table(head, lines)


def _threshold_table(rows: Sequence[Row]) -> str:
    metrics = (*METRICS, "warping_error_guarded", "v_rand_thinned", "v_info_thinned")
    head = ["", "seed", "scored on", "warping", "Rand", "pixel"]
    head += ["guarded warping", "V^Rand", "V^Info"]
    lines = []
    for row in rows:
        for record, scores in row.scores():
            found = [scores[metric]["threshold"] for metric in metrics]
            shown = ["–" if threshold is None else f"{threshold:.1f}" for threshold in found]
            lines.append([row.name, str(record["seed"]), row.scored_on, *shown])
    return markdown_table(head, lines)


def _fold_lines(row: Row) -> Iterator[list[str]]:
    for record in row.records:
        for fold in row.folds:
            part = record["folds"][fold]
            figures = [_figure(metric, part["scores"][metric]["value"]) for metric in METRICS]
            yield [row.name, str(record["seed"]), fold, spans(part["held_out"]), *figures]


def _deviations(rows: Sequence[Row], presets: Sequence[str]) -> str:
    """The deviations of each configuration that has a row, and of the presets without one."""
    found = {row.name: row.newest["deviations"] for row in rows}
    lines = []
    for name, deviations in found.items():
        lines.append(f"- {name}:" + (" none" if not deviations else ""))
        lines += [f"  - {deviation}" for deviation in deviations]
    run = {row.preset for row in rows}
    lines += [f"- ours, `{preset}`: not run" for preset in presets if preset not in run]
    return "\n".join(lines) or "No record."


def _run(record: Record) -> str:
    """One run: what was typed, with which code, on what, and how long it took."""
    machine, versions = record["hardware"], record["versions"]
    names = machine["accelerators"]
    memory = record["peak_memory_gib"]
    lines = [
        f"### {record['name']}",
        "",
        f"- command: `{record['command']}`",
        f"- seed {record['seed']}, configuration {record['config_hash']}, "
        + commit_in_words(record),
        f"- hardware: {machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB, "
        f"{machine['torch_threads']} threads; accelerator: {', '.join(names) or 'none'}",
        f"- Python {versions['python']}, torch {versions['torch']}, numpy {versions['numpy']}",
        f"- wall time {record['wall_time_s'] / 60:.1f} min"
        + (" (the last session of a continued run)" if record.get("resumed") else "")
        + f", peak memory {'not known' if memory is None else f'{memory:.1f} GiB'}",
        *([f"- {plan_in_words(record['plan'])}"] if record.get("plan") else []),
    ]
    for fold in sorted(record["folds"], key=int):
        part = record["folds"][fold]
        trained, predicted = part["training"], part["prediction_seconds"]
        lines.append(
            f"- fold {fold}: {trained['steps']} steps in {trained['seconds'] / 60:.1f} min, final "
            f"loss {trained['final_loss']:.4f}, dead start {trained['dead_start_steps']} steps"
            + ("" if predicted is None else f"; prediction {predicted:.0f} s")
        )
    return "\n".join(lines)


def _figure(metric: str, value: float) -> str:
    return f"{value:.{METRICS[metric]}f}"


def _mean(values: Sequence[float], decimals: int) -> str:
    """Mean of the seeds' figures, ± half their range if there are several; '' for none."""
    if not values:
        return ""
    spread = f" ± {(max(values) - min(values)) / 2:.{decimals}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{decimals}f}{spread}"


def _seeds(row: Row) -> str:
    return f", {len(row.records)} seeds" if len(row.records) > 1 else ""


def _names(row: Row) -> str:
    return "<br>".join(record["name"] for record in row.records)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [head, ["---"] * len(head), *lines]
    cells = [[cell.strip().replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def with_table(text: str, start: str, table: str, readme: Path) -> str:
    """The README with `table` between the marker `start` and the next end marker."""
    before, _, rest = text.partition(start)
    _, end, after = rest.partition(README_END)
    if not end:
        raise ValueError(f"{readme}: has {start} but no {README_END} after it")
    return f"{before}{start}\n{table}\n{README_END}{after}"
