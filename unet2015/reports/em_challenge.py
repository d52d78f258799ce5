"""The EM challenge: our rows of the paper's Table 1, from the records alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from unet2015.reports import pages, records
from unet2015.reports.pages import mean, record_link
from unet2015.reports.records import FOLD, HELD_OUT, TEST_VOLUME, Record, latest, values
from unet2015.reports.words import OPEN, preset_in_words, spans
from unet2015.runtime.record import read_records

METRICS = {
    "warping_error": ("warping error", 6),
    "rand_error": ("Rand error", 4),
    "pixel_error": ("pixel error", 4),
}
"""The paper's three metrics in the order of its Table 1: in words, and their decimals there."""
LATER = ("warping_error_guarded", "v_rand_thinned", "v_info_thinned")
U_NET = {"warping_error": 0.000353, "rand_error": 0.0382, "pixel_error": 0.0611}
"""Of the paper's Table 1, which stands in the template."""
PRESETS: dict[str, tuple[int, ...]] = {"quick": (4,), "paper": (0, 1, 2, 3, 4)}
"""The presets and the folds that each runs; quick's settings were chosen with fold 4 unseen."""
EQUAL = ("preset", "config_hash", "folds", "scores_protocol")
"""In what runs are equal that may be averaged; they differ in their seeds."""

Row = pd.DataFrame
"""Runs that may be averaged: the newest of each seed, by seed."""


def write_em_challenge(results: Path) -> list[Path]:
    """Write em_challenge.md, and em_challenge_phantom.md if there are such records.

    From the records in results/runs alone; returns the paths. Raises FileNotFoundError and
    ValueError as `read_records` and `page` do.
    """
    found = read_records(results / "runs", "em_challenge")
    made = {results / "em_challenge.md": page(found)}
    if any(record["dataset"] == "phantom" for record in found):
        made[results / "em_challenge_phantom.md"] = page(found, "phantom")
    return pages.write(made)


def page(found: Sequence[Record], dataset: str = "isbi2012") -> str:
    """The page; of the phantom, without the paper's figures, with which it cannot be compared.

    found: records, of which those of other experiments and data sets are left out. Raises
    ValueError naming the records that lack a figure.
    """
    mine, phantom = _of(found, dataset), dataset == "phantom"
    table = records.tidy(mine)
    held_out, submitted = rows(found, HELD_OUT, dataset), rows(found, TEST_VOLUME, dataset)
    every = held_out + submitted
    used = {run for row in every for run in row["name"]}
    scored = [row for row in every if _values(row, "rand_error")]
    claimed = {} if phantom else {preset: claimed_row(found, preset) for preset in PRESETS}
    return pages.render(
        "em_challenge",
        phantom=phantom,
        main=list(_main(held_out, submitted, phantom)),
        claims=[beside_the_paper(row) for row in claimed.values() if row is not None],
        further=[_further(row) for row in scored],
        thresholds=[line for row in scored for line in _thresholds(row)],
        folds=[line for row in held_out for line in _folds(row, table)],
        configurations={name(row): latest(row)["deviations"] for row in every},
        not_run=[p for p in claimed if p not in {latest(row)["preset"] for row in every}],
        run_head=records.RUN_HEAD,
        runs=[records.run_line(run) for run in mine if run["name"] in used],
    )


def summary(found: Sequence[Record]) -> str:
    """The short table of README.md: the paper's u-net, and the row that stands for each preset."""
    lines = [_paper_line()]
    for preset in PRESETS:
        row = claimed_row(found, preset)
        if row is None:
            lines.append([f"ours, `{preset}`", *["not run"] * 4])
            continue
        # the test of README.md makes the table from these records, whatever others there are
        links = " ".join(f"[record](results/runs/{run}.json)" for run in row["name"])
        words = f"ours, {preset_in_words(latest(row))}{_seeds(row)}"
        lines.append([words, scored_on(row), *(_mean(row, metric) for metric in METRICS), links])
    return (
        pages.table(lines, [*_short_head(), ""]) + "\n\nHow to read it, and all figures: "
        "[results/em_challenge.md](results/em_challenge.md)."
    )


def row_of(found: Sequence[Record], run: str) -> str:
    """The rows of a run, below the paper's: what a command shows of the table. run: its name."""
    (dataset,) = {record["dataset"] for record in found if record["name"] == run}
    lines = [] if dataset == "phantom" else [_paper_line()]
    for row in (*rows(found, HELD_OUT, dataset), *rows(found, TEST_VOLUME, dataset)):
        if run in set(row["name"]):
            figures = [_mean(row, metric) or latest(row)["reason"] for metric in METRICS]
            lines.append([name(row) + _seeds(row), scored_on(row), *figures])
    return pages.table(lines, _short_head())


def claimed_row(found: Sequence[Record], preset: str) -> Row | None:
    """The row that stands for a preset in README.md: of all its folds, the newest.

    A run of other folds has its row on the page, but is not what the preset claims; nor is, where
    the number of steps is free, a short run in the place of a long one.
    """

    def rank(row: Row) -> tuple[int, tuple[str, str]]:
        steps = latest(row)["config"]["training"]["steps"] if preset == OPEN else 0
        return steps, records.age(row)

    claimed = (preset, tuple(map(str, PRESETS[preset])))
    of_preset = [
        row
        for row in rows(found, HELD_OUT)
        if (latest(row)["preset"], latest(row)["folds"]) == claimed
    ]
    return max(of_preset, key=rank, default=None)


def rows(found: Sequence[Record], part: str, dataset: str = "isbi2012") -> list[Row]:
    """The rows of HELD_OUT or TEST_VOLUME figures, in the order of the page."""
    table = records.where(records.tidy(_of(found, dataset)), part=part)
    if not table.empty:
        scored = records.where(table, reason=None)
        records.require(scored, *(f"scores.{metric}.value" for metric in METRICS))
        table = records.newest(table, *EQUAL, "seed")
    equal = records.groups(table, *EQUAL)
    return [
        row.sort_values("seed")
        for row in sorted(equal, key=lambda row: records.preset_order(latest(row)["preset"]))
    ]


def name(row: Row) -> str:
    """Preset and configuration, as tables name them."""
    newest = latest(row)
    return f"ours, {preset_in_words(newest)} ({newest['config_hash']})"


def scored_on(row: Row) -> str:
    """The slices in words."""
    newest = latest(row)
    if newest["part"] == TEST_VOLUME:
        return "test volume"
    count = len(newest["folds"])
    folds = f"fold {newest['folds'][0]}" if count == 1 else f"{count} folds"
    protocol = newest["scores_protocol"]
    extra = "" if protocol == "2015" else f", protocol {protocol}"
    return f"held-out slices {spans(newest['pooled_slices'])} ({folds}{extra})"


def beside_the_paper(row: Row) -> dict[str, Any]:
    """In which of the three errors a row lies below the paper's figure, and in which above."""
    gaps = {metric: fmean(_values(row, metric)) - U_NET[metric] for metric in METRICS}
    return {
        "name": preset_in_words(latest(row)),
        "scored_on": scored_on(row),
        "below": [METRICS[metric][0] for metric, gap in gaps.items() if gap < 0],
        "above": [METRICS[metric][0] for metric, gap in gaps.items() if gap > 0],
    }


def main_line(row: Row) -> list[str]:
    """A row of the page's first table."""
    cells = []
    for metric, (_, decimals) in METRICS.items():
        found = _values(row, metric)
        gap = f"{fmean(found) - U_NET[metric]:+.{decimals}f}" if found else ""
        cells += [_mean(row, metric) or latest(row)["reason"], gap]
    links = "<br>".join(map(record_link, row["name"]))
    return [name(row) + _seeds(row), scored_on(row), *cells, links]


def _short_head() -> list[str]:
    return ["", "scored on", *(words for words, _ in METRICS.values())]


def _paper_line() -> list[str]:
    figures = [f"{U_NET[metric]:.{decimals}f}" for metric, (_, decimals) in METRICS.items()]
    return ["u-net, paper (Table 1)", "hidden test volume", *figures]


def _of(found: Sequence[Record], dataset: str) -> list[Record]:
    mine = [r for r in found if (r["experiment"], r["dataset"]) == ("em_challenge", dataset)]
    return sorted(mine, key=lambda run: run["name"])


def _main(held_out: Sequence[Row], submitted: Sequence[Row], phantom: bool) -> Iterator[list[str]]:
    lines = []
    shown = {latest(row)["preset"] for row in held_out} | {*(("quick",) if phantom else PRESETS)}
    for preset in sorted(shown, key=records.preset_order):
        found = [main_line(row) for row in held_out if latest(row)["preset"] == preset]
        missing = [f"ours, `{preset}`", HELD_OUT, *["not run", ""] * 3, ""]
        lines += found or [missing]
    asked = [main_line(row) for row in submitted]
    lines += asked or [["ours", TEST_VOLUME, *["not asked for", ""] * 3, ""]]
    for line in lines:
        yield line[:2] + line[2:8:2] + line[8:] if phantom else line


def _further(row: Row) -> list[str]:
    guarded = mean(_values(row, "warping_error_guarded"), 6)
    thinned = [
        mean(_values(row, metric, field)) or "–"
        for metric in LATER[1:]
        for field in ("value", "split", "merge")
    ]
    return [name(row) + _seeds(row), scored_on(row), guarded or "no threshold qualifies", *thinned]


def _thresholds(row: Row) -> Iterator[list[str]]:
    for run in records.rows(row, reason=None):
        thresholds = [f"scores.{metric}.threshold:.1f" for metric in (*METRICS, *LATER)]
        yield [name(row), str(run["seed"]), scored_on(row), *records.shown(run, *thresholds)]


def _folds(row: Row, table: pd.DataFrame) -> Iterator[list[str]]:
    """The folds of each run one by one: their slices, figures, and training."""
    figures = [f"scores.{metric}.value:.{decimals}f" for metric, (_, decimals) in METRICS.items()]
    figures += ["training.steps", "training.minutes:.1f", "training.final_loss:.4f"]
    figures += ["training.dead_start_steps", "prediction_seconds:.0f"]
    for run in row["name"]:
        for part in records.rows(table, name=run, part=FOLD):
            place = [name(row), str(part["seed"]), part["fold"], spans(part["held_out"])]
            yield place + records.shown(part, *figures)


def _values(row: Row, metric: str, field: str = "value") -> list[float]:
    """One figure of each seed; empty if one lacks it. A test volume may have no labels."""
    return values(records.where(row, reason=None), f"scores.{metric}.{field}")


def _mean(row: Row, metric: str) -> str:
    return mean(_values(row, metric), METRICS[metric][1])


def _seeds(row: Row) -> str:
    return f", {len(row)} seeds" if len(row) > 1 else ""
