"""The EM challenge: our rows of the paper's Table 1, from the records alone."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from unet2015.reports import pages, records
from unet2015.reports.records import FOLD, HELD_OUT, TEST_VOLUME, Record
from unet2015.reports.words import OPEN, preset_in_words, processor_in_words, spans
from unet2015.runtime.lock import held

U_NET = {"warping error": 0.000353, "Rand error": 0.0382, "pixel error": 0.0611}
"""Of the paper's Table 1, which stands in the template."""
SCORES = {words: f"scores.{words.lower().replace(' ', '_')}.value" for words in U_NET}
"""The columns of the same figures of ours."""
GUARDED = "scores.warping_error_guarded.value"
HEAD = ["scored on=scored_on", "warping error=warping error:.6f"]
HEAD += ["Rand error=Rand error:.4f", "pixel error=pixel error:.4f"]
"""The columns of the short tables; those of the page stand in its template."""
PRESETS: dict[str, tuple[int, ...]] = {"quick": (4,), "hour": (4,), "paper": (0, 1, 2, 3, 4)}
"""The presets and the folds that each runs; the first two were chosen with fold 4 unseen."""
FOR_CHOICES = ("0",)
"""The fold on which settings are chosen: a run of this one alone was a trial."""
EQUAL = ("preset", "config_hash", "folds", "scores_protocol")
"""In what runs are equal that may be averaged; they differ in their seeds."""

Row = dict[Any, Any]
"""Runs that may be averaged: the newest one's fields, with the figures of all seeds as lists."""


def write_em_challenge(results: Path) -> list[Path]:
    """Write em_challenge.md, and em_challenge_phantom.md if there are such records.

    From the records in results/runs alone; returns the paths. Raises FileNotFoundError and
    ValueError as `read_records` and `page` do.
    """
    with held(results, wait=True):  # or the older of two pages might be written last
        found = records.read(results, "em_challenge")
        made = {results / "em_challenge.md": page(found)}
        if any(record["dataset"] == "phantom" for record in found):
            made[results / "em_challenge_phantom.md"] = page(found, "phantom")
        return pages.write(made)


def page(found: Sequence[Record], dataset: str = "isbi2012") -> str:
    """The page; of the phantom, without the paper's figures, with which it cannot be compared.

    found: records, of which those of other experiments and data sets are left out. Raises
    ValueError naming the records that lack a figure.
    """
    phantom = dataset == "phantom"
    held_out, submitted = rows(found, HELD_OUT, dataset), rows(found, TEST_VOLUME, dataset)
    tried = [] if phantom else [row for row in held_out if row["folds"] == FOR_CHOICES]
    held_out = [row for row in held_out if phantom or row["folds"] != FOR_CHOICES]
    every = held_out + submitted
    absent = {*(("quick",) if phantom else PRESETS)} - {row["preset"] for row in held_out}
    missing = [not_run(f"ours, `{p}`", HELD_OUT) | {"preset": p} for p in absent]
    main = sorted(held_out + missing, key=lambda row: records.preset_order(row["preset"]))
    claimed = [] if phantom else [claimed_row(found, preset) for preset in PRESETS]
    scored = [row for row in every if row["scored"]]
    used = {run["name"]: run for row in every + tried for run in row["runs"]}
    folds = records.where(_table(found, dataset), part=FOLD)
    return pages.render(
        "em_challenge",
        phantom=phantom,
        main=main + (submitted or [not_run("ours", TEST_VOLUME, "not asked for")]),
        claims=[row for row in claimed if row],
        scored=scored,
        thresholds=[row | run for row in scored for run in row["scored"]],
        folds=[
            row | part | {"slices": spans(part["held_out"])}
            for row in held_out
            for run in row["runs"]
            for part in records.where(folds, name=run["name"]).to_dict("records")
        ],
        tried=_tried(tried, folds, [row["config_hash"] for row in claimed if row]),
        repeated=[] if phantom else _repeated(_table(found, dataset)),
        configurations={row["configuration"]: row["deviations"] for row in every},
        not_run=[] if phantom else [p for p in PRESETS if p not in {r["preset"] for r in every}],
        runs=[records.in_words(used[name]) for name in sorted(used)],
    )


def summary(found: Sequence[Record]) -> str:
    """The short table of README.md: the paper's u-net, and the row that stands for each preset."""
    lines = [_paper()]
    for preset in PRESETS:
        line = not_run(f"ours, `{preset}`", "not run")
        if row := claimed_row(found, preset):
            # the test of README.md makes the table from these records, whatever others there are
            links = [f"[record](results/runs/{run['name']}.json)" for run in row["runs"]]
            words = f"ours, {row['preset in words']}{row['seeds']}"
            line = row | {"label": words, "records": " ".join(links)}
        lines.append(line)
    return (
        pages.table(lines, ["=label", *HEAD, "=records"]) + "\n\nHow to read it, and all figures: "
        "[results/em_challenge.md](results/em_challenge.md)."
    )


def row_of(found: Sequence[Record], run: str) -> str:
    """The rows of a run, below the paper's: what a command shows of the table. run: its name."""
    (dataset,) = {record["dataset"] for record in found if record["name"] == run}
    every = rows(found, HELD_OUT, dataset) + rows(found, TEST_VOLUME, dataset)
    ours = [row for row in every if run in {each["name"] for each in row["runs"]}]
    return pages.table([_paper()] * (dataset != "phantom") + ours, ["=label", *HEAD])


def claimed_row(found: Sequence[Record], preset: str) -> Row | None:
    """The row that stands for a preset in README.md: of all its folds, the newest.

    A run of other folds has its row on the page, but is not what the preset claims; nor is, where
    the number of steps is free, a short run in the place of a long one.
    """
    claimed = (preset, tuple(map(str, PRESETS[preset])))
    of_preset = [row for row in rows(found, HELD_OUT) if (row["preset"], row["folds"]) == claimed]

    def rank(row: Row) -> tuple[int, tuple[str, str]]:
        return row["config"]["training"]["steps"] if preset == OPEN else 0, records.age(row)

    return max(of_preset, key=rank, default=None)


def rows(found: Sequence[Record], part: str, dataset: str = "isbi2012") -> list[Row]:
    """The rows of HELD_OUT or TEST_VOLUME figures, in the order of the page."""
    table = records.where(_table(found, dataset), part=part)
    if not table.empty:
        records.require(records.where(table, reason=None), *SCORES.values())
        table = records.newest(table, *EQUAL, "seed")
    return [_row(group.sort_values("seed")) for group in records.groups(table, *EQUAL)]


def not_run(label: str, scored_on: str, words: str = "not run") -> Row:
    """A row without a record."""
    return {"label": label, "scored_on": scored_on} | dict.fromkeys(U_NET, words)


def _paper() -> Row:
    return {"label": "u-net, paper (Table 1)", "scored_on": "hidden test volume"} | U_NET


def _table(found: Sequence[Record], dataset: str) -> pd.DataFrame:
    mine = [r for r in found if (r["experiment"], r["dataset"]) == ("em_challenge", dataset)]
    return records.tidy(sorted(mine, key=lambda run: run["name"]))


def _row(group: pd.DataFrame) -> Row:
    # a test volume may have no labels; then there is a reason, and no figure
    newest, scored = records.latest(group), records.where(group, reason=None)
    figures = {name: records.values(scored, name) for name in group if "scores." in str(name)}
    gaps = {
        words: fmean(figures[name]) - U_NET[words]
        for words, name in SCORES.items()
        if figures.get(name)
    }
    seeds = f", {len(group)} seeds" if len(group) > 1 else ""
    named = preset_in_words(newest)
    configuration = f"ours, {named} ({newest['config_hash']})"
    return {
        **newest,
        **figures,
        GUARDED: figures.get(GUARDED) or "no threshold qualifies",
        **{words: figures.get(name) or newest["reason"] for words, name in SCORES.items()},
        **{f"Δ {words}": gap for words, gap in gaps.items()},
        "below": [words for words, gap in gaps.items() if gap < 0],
        "above": [words for words, gap in gaps.items() if gap > 0],
        "preset in words": named,
        "seeds": seeds,
        "configuration": configuration,
        "label": configuration + seeds,
        "scored_on": _scored_on(newest),
        "records": "<br>".join(map(records.link, group.to_dict("records"))),
        "runs": group.to_dict("records"),
        "scored": scored.to_dict("records"),
    }


def _tried(
    trials: Sequence[Row], folds: pd.DataFrame, taken_hashes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """By preset, what was tried for it on one fold: the settings that vary as columns, scores.

    folds: the table's rows of part FOLD. taken_hashes: of the settings that presets have.
    """
    by_preset: dict[str, list[Row]] = {}
    for row in trials:
        by_preset.setdefault(row["preset"].removesuffix(", changed"), []).append(row)
    found = {}
    for preset in sorted(by_preset, key=records.preset_order):
        rows_of_preset = by_preset[preset]
        # one column per setting, as text: the same in all of them is not shown
        settings = pd.json_normalize([row["config"] for row in rows_of_preset]).astype(str)
        settings = settings.loc[:, settings.nunique() > 1]
        lines = []
        for row, values in zip(rows_of_preset, settings.to_dict("records"), strict=True):
            parts = folds.loc[folds["name"].isin([run["name"] for run in row["runs"]])]
            minutes = list(parts["training.minutes"])
            taken = "yes" if row["config_hash"] in taken_hashes else ""
            lines.append(row | values | {"minutes": minutes, "taken": taken})
        first, *rest = (row["deviations"] for row in rows_of_preset)
        shared = [each for each in first if all(each in other for other in rest)]
        found[preset] = {"rows": lines, "varied": list(settings), "shared": shared}
    return found


def _repeated(table: pd.DataFrame) -> list[Row]:
    """By how much runs of the same settings and seed differ, and by how much the seeds do.

    A line for each figure of settings of which a seed was run more than once; the same run on the
    same machine has the same bits, so that it was another machine, number of threads or code.
    """
    lines = []
    for group in records.groups(records.where(table, part=HELD_OUT), *EQUAL):
        same = [runs for _, runs in group.groupby("seed") if len(runs) > 1]
        newest = records.newest(group, "seed")
        for words, name in SCORES.items() if same else ():
            apart = max(max(runs[name]) - min(runs[name]) for runs in same)
            seeds = max(newest[name]) - min(newest[name]) if len(newest) > 1 else None
            several = [run for runs in same for run in runs.to_dict("records")]
            lines.append(
                {
                    "configuration": _row(newest)["configuration"],
                    "figure": words,
                    "repeated": apart,
                    "seeds": seeds,
                    "more": "" if seeds is None else "yes" if apart > seeds else "no",
                    "runs": len(several),
                    "machines": "; ".join(sorted({_machine(run) for run in several})),
                }
            )
    return lines


def _machine(run: Record) -> str:
    hardware = run["hardware"]
    return f"{processor_in_words(hardware)}, {hardware['torch_threads']} thread(s)"


def _scored_on(run: Record) -> str:
    """The slices in words."""
    if run["part"] == TEST_VOLUME:
        return TEST_VOLUME
    count, protocol = len(run["folds"]), run["scores_protocol"]
    folds = f"fold {run['folds'][0]}" if count == 1 else f"{count} folds"
    extra = "" if protocol == "2015" else f", protocol {protocol}"
    return f"held-out slices {spans(run['pooled_slices'])} ({folds}{extra})"
