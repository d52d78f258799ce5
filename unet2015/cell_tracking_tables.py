"""The page of the cell tracking sets (paper, Table 2) from the records alone.

The paper's own figures and today's best are the one exception; they stand here with their source.
The same records give the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from unet2015.atomic import write_text
from unet2015.instances import InstanceConfig
from unet2015.record import read_records
from unet2015.tables import COMMAND, markdown_table

Record = Mapping[str, Any]

PRESETS = {"quick": "cell_tracking_quick", "paper": "cell_tracking"}
"""Preset → its file in experiments/."""
SETS = {"PhC-C2DH-U373": "PhC-U373", "DIC-C2DH-HeLa": "DIC-HeLa"}
"""Data set → its name in the paper's Table 2."""
DIRECTIONS = (("01", "02"), ("02", "01"))
"""(trained on, scored on)."""
HIDDEN = "hidden test sequences"
PAPER_TABLE_2 = (
    ("IMCB-SG (2014)", 0.2669, 0.2935),
    ("KTH-SE (2014)", 0.7953, 0.4607),
    ("HOUS-US (2014)", 0.5323, None),
    ("second-best 2015", 0.83, 0.46),
    ("u-net (2015)", 0.9203, 0.7756),
)
"""Paper, Table 2: "IOU", which is SEG, on PhC-U373 and DIC-HeLa."""
U_NET = dict(zip(SETS, PAPER_TABLE_2[-1][1:], strict=True))
BEST_PUBLISHED = ("CALT-US", 0.931, 0.887)
SOURCES = (
    "Sources: Ronneberger, Fischer, Brox 2015, Table 2 (ISBI cell tracking challenge 2015); the "
    "best published today as listed in doi:10.1038/s41598-024-56081-7."
)
SELECTION = """\
- Of the settings of `quick`, some are those of the EM challenge's `quick` (chosen on slices of the
  EM stack); normalisation, class weights, gray values, image size and cores were chosen on
  held-out frames of sequence 01 of both sets (experiments/cell_tracking_quick.py). What the paper
  leaves open was set for `paper` without a run.
- `--hold-out N` trains without the last N annotated frames of the training sequence and scores
  those, so that settings can be chosen without the sequence that is left out. Such runs stand
  below and in no other table. A setting chosen on held-out frames of 01 has seen frames that the
  direction 02 → 01 scores, and the other way round."""
HOW_TO_READ = """\
- SEG (the paper's "IOU"): the mean Jaccard index of all gold masks of the scored frames with the
  predicted cell that covers more than half of them, 0 without one. Higher is better. Predicted
  cells that match no gold mask cost nothing.
- The paper's figures, and those of today, are of the challenge's test sequences, whose truth is
  secret. Ours are of one of the two training sequences, by a network trained on the other: Δ
  (ours − the paper's u-net) shows how near they are, not which is better.
- Gold masks today: 34 frames (PhC-C2DH-U373) and 18 (DIC-C2DH-HeLa); the paper had 35 and 20 for
  training, ours has those of one sequence: 15 or 19, and 9.
- Several seeds: mean ± half the range. Of equal runs the newest record counts. "not run": there is
  no record. "mean of both" is of the two sequences' SEG."""
FURTHER = """\
Argmax SEG: of the components of the argmax as they are, without the cores that divide them
(`core` in the name of a row; not in the paper). IoU: of the foreground's pixels, without regions
where nobody annotated the cells. Label SEG: of the gold masks themselves, made into labels and
cells again, which a network that knew its labels by heart would reach. Merged: gold masks that
share their predicted cell with another one. Split: those in which the greater part of two or more
predicted cells lies. Missed: the other ones without match. Spurious: predicted cells that lie for
the greater part on annotated background."""


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
    def age(self) -> tuple[str, str]:
        return max(_age(record) for record in self.records)

    @property
    def name(self) -> str:
        change = "" if self.arm == "none" else f" {self.arm}"
        cells = "" if self.cells == InstanceConfig().tag else f", {self.cells}"
        return f"ours, `{self.preset}{change}` ({self.config_hash}{cells})"

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
        """SEG of each seed."""
        return [record["scores"]["seg"] for record in self.of(dataset, direction)]


def write_cell_tracking(records_directory: Path, results_directory: Path) -> list[Path]:
    """Write results/cell_tracking.md from the records alone; returns the paths written.

    Raises FileNotFoundError and ValueError as `record.read_records` and `cell_tracking_table`.
    """
    path = results_directory / "cell_tracking.md"
    page = cell_tracking_table(read_records(records_directory, "cell_tracking"))
    results_directory.mkdir(parents=True, exist_ok=True)
    write_text(path, page)
    return [path]


def cell_tracking_table(records: Sequence[Record]) -> str:
    """The page of the cell tracking sets: the paper's Table 2 with our rows in it, as Markdown.

    records: as `record.read_records` gives them; those of other experiments are left out.
    Raises ValueError naming the records if one lacks a figure.
    """
    mine = [record for record in records if record["experiment"] == "cell_tracking"]
    try:
        return "\n\n".join(_page(mine)) + "\n"
    except (KeyError, TypeError, AttributeError) as error:
        names = ", ".join(str(record["name"]) for record in mine)
        raise ValueError(f"a record of cell_tracking is not whole ({error!r}): {names}") from error


def rows(records: Sequence[Record]) -> list[Row]:
    """The rows of runs that scored the sequence left out: presets in order, the newest first."""
    newest: dict[tuple, dict[tuple, Record]] = {}
    for record in sorted(records, key=_age):
        if record["hold_out"]:
            continue
        tag = InstanceConfig(**record["instances"]).tag
        key = (record["preset"], record["arm"], record["config_hash"], tag)
        part = (record["dataset"], record["train_sequence"], record["seed"])
        newest.setdefault(key, {})[part] = record
    found = [Row(*key, records=tuple(parts.values())) for key, parts in newest.items()]
    found.sort(key=lambda row: row.age, reverse=True)
    return sorted(found, key=lambda row: (_preset_order(row.preset), row.preset, row.arm))


def _page(records: Sequence[Record]) -> Iterator[str]:
    """The parts of the page, one after the other."""
    found = rows(records)
    whole = [row for row in found if row.arm == "none"]
    arms = [row for row in found if row.arm != "none"]
    yield f"<!-- generated from the records in results/runs by: {COMMAND} — do not edit -->"
    yield "# The cell tracking challenge (paper, Table 2) and ours"
    yield _main_table(whole)
    yield SOURCES
    yield "## How to read\n\n" + HOW_TO_READ
    if found:
        yield "## Cells merged, split and missed\n\n" + _further_table(found) + "\n\n" + FURTHER
    yield "## Ablations\n\n" + _arm_table(whole, arms)
    yield "## What was selected on what\n\n" + SELECTION
    if held_out := [record for record in records if record["hold_out"]]:
        yield _held_out_table(held_out)
    yield "## Deviations from the paper\n\n" + _deviations(found)
    yield "## Runs"
    if not records:
        yield "No record."
    for record in sorted(records, key=lambda record: record["name"]):
        yield _run(record)


def _main_table(found: Sequence[Row]) -> str:
    lines = []
    for name, *values in PAPER_TABLE_2:
        lines.append([f"paper: {name}", HIDDEN, *_published(values)])
    name, *values = BEST_PUBLISHED
    lines.append([f"best published today: {name}", HIDDEN, *_published(values)])
    shown = [*PRESETS, *sorted({row.preset for row in found} - PRESETS.keys())]
    for preset in shown:
        of_preset = [row for row in found if row.preset == preset]
        for row in of_preset:
            lines += _main_lines(row)
        if not of_preset:
            lines.append([f"ours, `{preset}`", "sequence left out", *["not run", ""] * 2])
    head = ["", "SEG measured on", "PhC-U373", "Δ", "DIC-HeLa", "Δ"]
    return markdown_table(head, lines)


def _published(values: Sequence[float | None]) -> list[str]:
    return [cell for value in values for cell in ("–" if value is None else f"{value:.4g}", "")]


def _main_lines(row: Row) -> Iterator[list[str]]:
    """One line for each direction, and one for the mean of both."""
    for direction in DIRECTIONS:
        figures = [row.seg(dataset, direction) for dataset in SETS]
        trained, scored = direction
        words = f"sequence {scored}, trained on {trained}"
        if any(figures):
            yield [row.name, words, *_figures(figures)]
    both = []
    for dataset in SETS:
        of_each = [row.seg(dataset, direction) for direction in DIRECTIONS]
        both.append([fmean(map(fmean, of_each))] if all(of_each) else [])
    if any(both):
        yield [row.name, "mean of both", *_figures(both)]


def _figures(figures: Sequence[Sequence[float]]) -> list[str]:
    """SEG and its difference to the paper's, for each data set."""
    cells = []
    for values, paper in zip(figures, U_NET.values(), strict=True):
        assert paper is not None
        cells += [_mean(values), f"{fmean(values) - paper:+.4f}"] if values else ["not run", ""]
    return cells


def _further_table(found: Sequence[Row]) -> str:
    head = ["", "data set", "scored on", "seed", "SEG", "argmax SEG", "IoU", "label SEG"]
    head += ["gold masks", "merged", "split", "missed", "predicted", "spurious"]
    lines = []
    for row, record in _records(found):
        scores = record["scores"]
        lines.append(
            [
                row.name,
                SETS[record["dataset"]],
                record["scored_sequence"],
                str(record["seed"]),
                f"{scores['seg']:.4f}",
                # of records from before there were cores the same
                f"{scores.get('seg_of_argmax', scores['seg']):.4f}",
                *(f"{scores[key]:.4f}" for key in ("foreground_iou", "label_seg")),
                *(str(scores[key]) for key in ("cells", "merged", "split", "missed")),
                *(str(scores[key]) for key in ("predicted", "spurious")),
            ]
        )
    return markdown_table(head, lines)


def _records(found: Sequence[Row]) -> Iterator[tuple[Row, Record]]:
    for row in found:
        for dataset in SETS:
            for direction in DIRECTIONS:
                for record in row.of(dataset, direction):
                    yield row, record


def _arm_table(whole: Sequence[Row], arms: Sequence[Row]) -> str:
    """Each arm beside the newest row of its preset."""
    lines = []
    for row in arms:
        of_preset = [base for base in whole if base.preset == row.preset]
        for dataset, name in SETS.items():
            for direction in DIRECTIONS:
                if not (ours := row.of(dataset, direction)):
                    continue
                base = of_preset[0].of(dataset, direction) if of_preset else []
                lines.append([row.name, name, direction[1], *_beside(ours, base)])
    if not lines:
        return "Not run: there is no record of an arm."
    head = ["", "data set", "scored on", "SEG", "SEG of the preset", "Δ", "merged", "split"]
    return markdown_table([*head, "missed", "(preset: merged, split, missed)"], lines)


def _beside(ours: Sequence[Record], base: Sequence[Record]) -> list[str]:
    """An arm's figures, and those of the preset where it was run."""
    seg = [record["scores"]["seg"] for record in ours]
    counts = [_count(ours, key) for key in ("merged", "split", "missed")]
    if not base:
        return [_mean(seg), "not run", "", *counts, "not run"]
    other = [record["scores"]["seg"] for record in base]
    counts.append(", ".join(_count(base, key) for key in ("merged", "split", "missed")))
    return [_mean(seg), _mean(other), f"{fmean(seg) - fmean(other):+.4f}", *counts]


def _count(records: Sequence[Record], key: str) -> str:
    return f"{fmean(record['scores'][key] for record in records):g}"


def _held_out_table(records: Sequence[Record]) -> str:
    head = ["", "data set", "sequence", "frames scored", "seed", "SEG", "IoU", "record"]
    lines = []
    for record in sorted(records, key=lambda record: record["name"]):
        change = "" if record["arm"] == "none" else f" {record['arm']}"
        lines.append(
            [
                f"`{record['preset']}{change}` ({record['config_hash']})",
                SETS[record["dataset"]],
                record["train_sequence"],
                ", ".join(map(str, record["scored_frames"])),
                str(record["seed"]),
                f"{record['scores']['seg']:.4f}",
                f"{record['scores']['foreground_iou']:.4f}",
                record["name"],
            ]
        )
    return markdown_table(head, lines)


def _deviations(found: Sequence[Row]) -> str:
    """The deviations of each configuration that has a row, and of the presets without one."""
    lines = []
    for row in found:
        newest = max(row.records, key=_age)
        lines.append(f"- {row.name}:" + ("" if newest["deviations"] else " none"))
        lines += [f"  - {deviation}" for deviation in newest["deviations"]]
    run = {row.preset for row in found}
    lines += [f"- ours, `{preset}`: not run" for preset in PRESETS if preset not in run]
    return "\n".join(lines)


def _run(record: Record) -> str:
    """One run: what was typed, with which code, on what, and how long it took."""
    commit = record["commit"][:12] if record["commit"] else "not under version control"
    changed = ", with uncommitted changes" if record["dirty"] else ""
    machine, versions, trained = record["hardware"], record["versions"], record["training"]
    memory, predicted = record["peak_memory_gib"], record["prediction_seconds"]
    lines = [
        f"### {record['name']}",
        "",
        f"- command: `{record['command']}`",
        f"- seed {record['seed']}, configuration {record['config_hash']}, commit {commit}{changed}",
        f"- hardware: {machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB, "
        f"{machine['torch_threads']} threads; accelerator: "
        f"{', '.join(machine['accelerators']) or 'none'}",
        f"- Python {versions['python']}, torch {versions['torch']}, numpy {versions['numpy']}",
        f"- wall time {record['wall_time_s'] / 60:.1f} min, peak memory "
        + ("not known" if memory is None else f"{memory:.1f} GiB"),
        f"- {trained['steps']} steps in {trained['seconds'] / 60:.1f} min on "
        f"{len(record['train_frames'])} frames, final loss {trained['final_loss']:.4f}"
        + ("" if predicted is None else f"; prediction {predicted:.0f} s")
        + f" for {len(record['scored_frames'])} frames",
    ]
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    """Mean of the seeds' figures, ± half their range if there are several."""
    spread = f" ± {(max(values) - min(values)) / 2:.4f}" if len(values) > 1 else ""
    return f"{fmean(values):.4f}{spread}"


def _age(record: Record) -> tuple[str, str]:
    return record["started"], record["name"]


def _preset_order(preset: str) -> int:
    return list(PRESETS).index(preset) if preset in PRESETS else len(PRESETS)
