"""The page of the cell tracking sets (paper, Table 2) from the records alone.

The paper's own figures and today's best are the one exception; they stand here with their source.
The same records give the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import fmean
from typing import Any

from unet2015.inference.instances import InstanceConfig
from unet2015.reports.cell_tracking_evidence import evidence
from unet2015.reports.cell_tracking_rows import (
    DIRECTIONS,
    NO_ARM,
    PRESETS,
    SETS,
    Record,
    Row,
    age,
    argmax_seg,
    differing,
    mean_of_seeds,
    rows,
    run_order,
    run_words,
)
from unet2015.reports.tables import COMMAND, markdown_table
from unet2015.reports.words import commit_in_words, plan_in_words
from unet2015.runtime.atomic import write_text
from unet2015.runtime.record import read_records

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
- Not on held-out frames alone: two full runs 01 → 02 without batch normalisation failed, one
  stopped, one with SEG 0.13 (neither left a record), and were the reason to look again. So the
  scored sequence 02 did influence the choice of batch normalisation: neither direction of `quick`
  is free of selection.
- `--hold-out N` trains without the last N annotated frames of the training sequence and scores
  those, so that settings can be chosen without the sequence that is left out. Such runs stand
  below and in no other table. A setting chosen on held-out frames of 01 has seen frames that the
  direction 02 → 01 scores, and the other way round."""
CELLS = {
    "min_size_px": "components of fewer pixels are removed",
    "border_px": "components wholly within so many pixels of the image's border are removed",
    "fill_holes": "whether background that one component encloses becomes part of it",
    "core_probability": "cells are grown from cores, the components of the pixels with p above it, "
    "which divide the components of the argmax among them; 0.5: no cores, the components as they "
    "are, as the release has them (the paper states nothing)",
}
"""What a field of `InstanceConfig` means, in the words of the page."""
HOW_TO_READ = """\
- SEG (the paper's "IOU"): the mean Jaccard index of all gold masks of the scored frames with the
  predicted cell that covers more than half of them, 0 without one. Higher is better. Predicted
  cells that match no gold mask cost nothing.
- The paper's figures, and those of today, are of the challenge's test sequences, whose truth is
  secret. Ours are of one of the two training sequences, by a network trained on the other: Δ
  (ours − the paper's u-net) shows how near they are, not which is better.
- What stands beside the paper's figures, with Δ, is the SEG of the connected components of the
  argmax, small ones removed. "With cores": the same prediction after post-processing that the paper
  does not have (cells grown from cores), in brackets what that adds to SEG. It is not like for
  like, so it has no Δ to the paper.
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


def _page(records: Sequence[Record]) -> Iterator[str]:
    """The parts of the page, one after the other."""
    found = rows(records)
    whole = [row for row in found if row.arm == NO_ARM]
    yield f"<!-- generated from the records in results/runs by: {COMMAND} — do not edit -->"
    yield "# The cell tracking challenge (paper, Table 2) and ours"
    yield _main_table(whole)
    if changes := [_what_cores_do(row) for row in whole if row.has_cores]:
        yield "\n".join(changes)
    yield SOURCES
    yield "## How to read\n\n" + HOW_TO_READ
    if found:
        yield "## Cells merged, split and missed\n\n" + _further_table(found) + "\n\n" + FURTHER
    yield "## What the evidence says"
    yield from evidence(found)
    yield "## What was selected on what\n\n" + SELECTION
    if held_out := [record for record in records if record["hold_out"]]:
        yield _held_out_settings(held_out, found)
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
            lines.append([f"ours, `{preset}`", "sequence left out", *["not run", "", ""] * 2])
    head = ["", "SEG measured on"]
    for name in SETS.values():
        head += [name, "Δ", "with cores"]
    return markdown_table(head, lines)


def _published(values: Sequence[float | None]) -> list[str]:
    return [cell for v in values for cell in ("–" if v is None else f"{v:.4g}", "", "")]


def _main_lines(row: Row) -> Iterator[list[str]]:
    """One line for each direction, and one for the mean of both."""
    parts = [(f"sequence {scored}, trained on {k}", [(k, scored)]) for k, scored in DIRECTIONS]
    for words, directions in [*parts, ("mean of both", list(DIRECTIONS))]:
        if any(all(row.seg(dataset, way) for way in directions) for dataset in SETS):
            figures = [cell for dataset in SETS for cell in _figures(row, dataset, directions)]
            yield [row.name, words, *figures]


def _figures(row: Row, dataset: str, directions: Sequence[tuple[str, str]]) -> list[str]:
    """SEG of the argmax' components, its difference to the paper's, and SEG with cores."""
    seg = [row.seg(dataset, direction) for direction in directions]
    plain = [row.argmax_seg(dataset, direction) for direction in directions]
    if not all(seg):
        return ["not run", "", ""]
    paper = U_NET[dataset]
    assert paper is not None
    like_for_like = ["not recorded", ""]
    if all(plain):
        like_for_like = [_across(plain), f"{_mean(plain) - paper:+.4f}"]
    if not row.has_cores:
        return [*like_for_like, "no cores"]
    change = f" ({_mean(seg) - _mean(plain):+.4f})" if all(plain) else ""
    return [*like_for_like, _across(seg) + change]


def _mean(figures: Sequence[Sequence[float]]) -> float:
    """The mean of the directions' means."""
    return fmean(map(fmean, figures))


def _across(figures: Sequence[Sequence[float]]) -> str:
    return mean_of_seeds(figures[0]) if len(figures) == 1 else f"{_mean(figures):.4f}"


def _what_cores_do(row: Row) -> str:
    """Where cores lower SEG, leave it and raise it, each with its figures."""
    found: dict[str, list[str]] = {"lower": [], "do not change": [], "raise": [], "unknown": []}
    for dataset, name in SETS.items():
        for direction in DIRECTIONS:
            seg, plain = row.seg(dataset, direction), row.argmax_seg(dataset, direction)
            if not seg:
                continue
            place = f"{name} {direction[0]} → {direction[1]}"
            if not plain:
                found["unknown"].append(place)
                continue
            before, after = f"{fmean(plain):.4f}", f"{fmean(seg):.4f}"
            effect = "do not change" if before == after else "lower"
            effect = "raise" if fmean(seg) > fmean(plain) and before != after else effect
            found[effect].append(f"{place} ({before} → {after})" if before != after else place)
    unknown = found.pop("unknown")
    parts = [f"{effect} SEG on {', '.join(places)}" for effect, places in found.items() if places]
    parts += [f"have an effect that is not recorded on {', '.join(unknown)}"] * bool(unknown)
    return f"- What cores do in {row.settings_name}: they {'; '.join(parts)}."


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
                "not recorded" if (plain := argmax_seg(record)) is None else f"{plain:.4f}",
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


def _held_out_settings(records: Sequence[Record], found: Sequence[Row]) -> str:
    """Whether the held-out runs had the settings that are reported, by comparing the records."""
    groups: dict[tuple, list[Record]] = {}
    for record in sorted(records, key=_held_out_order):
        key = (record["preset"], record["arm"], record["config_hash"], str(record["instances"]))
        groups.setdefault(key, []).append(record)
    same, lines = 0, []
    for group in groups.values():
        newest = max(group, key=age)
        line, equal = _beside_reported(newest, group, found)
        same += len(group) * equal
        name = f"{run_words(newest)} ({newest['config_hash']})"
        lines.append(f"- {name}, {len(group)} run{'s' * (len(group) != 1)}: {line}")
    total = len(records)
    words = (
        f"{same} of the {total} runs on held-out frames had the settings of a run reported above"
    )
    if not same:
        words = (
            f"None of the {total} recorded runs on held-out frames (below) had the settings of a "
        )
        words += "run reported above, so they are no evidence for those settings"
    return f"{words}:\n\n" + "\n".join(lines)


def _beside_reported(
    record: Record, group: Sequence[Record], found: Sequence[Row]
) -> tuple[str, bool]:
    """How held-out runs of one setting differ from the reported run next to them, and if not."""
    tag = InstanceConfig(**record["instances"]).tag
    for row in found:
        if (row.config_hash, row.cells) == (record["config_hash"], tag):
            return f"the settings of {row.settings_name}", True
    family = record["preset"].split(",")[0]
    near = [row for row in found if row.preset.split(",")[0] == family and row.arm == NO_ARM]
    if not near:
        return "no run of its preset is reported", False
    reported = near[0]
    when = "at the time of"
    if max(r["started"] for r in group) < min(r["started"] for r in reported.records):
        when = "earlier than"
    elif min(r["started"] for r in group) > max(r["started"] for r in reported.records):
        when = "later than"
    changes = [
        f"{name} {ours} (reported: {theirs})"
        for name, (ours, theirs) in differing(record, reported.newest).items()
    ]
    return (
        f"{when} {reported.settings_name}, with {', '.join(changes) or 'another hash alone'}",
        False,
    )


def _held_out_order(record: Record) -> tuple:
    return run_order(record), record["name"]


def _held_out_table(records: Sequence[Record]) -> str:
    head = ["", "data set", "sequence", "frames scored", "seed", "SEG", "IoU", "record"]
    lines = []
    for record in sorted(records, key=_held_out_order):
        lines.append(
            [
                f"{run_words(record)} ({record['config_hash']})",
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
        deviations = [*row.newest["deviations"], *_of_cells(row.newest["instances"])]
        lines.append(f"- {row.name}:" + ("" if deviations else " none"))
        lines += [f"  - {deviation}" for deviation in deviations]
    run = {row.preset for row in found}
    lines += [f"- ours, `{preset}`: not run" for preset in PRESETS if preset not in run]
    return "\n".join(lines)


def _of_cells(instances: Mapping[str, Any]) -> Iterator[str]:
    """How cells are found otherwise than by `paper`, whose `InstanceConfig` is the default one."""
    ours, theirs = InstanceConfig(**instances), InstanceConfig()
    for name in (field.name for field in fields(InstanceConfig)):
        value, before = getattr(ours, name), getattr(theirs, name)
        if value != before:
            yield f"instances.{name}: {value} (was {before}): {CELLS[name]}"


def _run(record: Record) -> str:
    """One run: what was typed, with which code, on what, and how long it took."""
    machine, versions, trained = record["hardware"], record["versions"], record["training"]
    memory, predicted = record["peak_memory_gib"], record["prediction_seconds"]
    lines = [
        f"### {record['name']}",
        "",
        f"- command: `{record['command']}`",
        f"- seed {record['seed']}, configuration {record['config_hash']}, "
        + commit_in_words(record),
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
        *([f"- {plan_in_words(record['plan'])}"] if record.get("plan") else []),
    ]
    return "\n".join(lines)
