"""Records → one tidy table: one row per run and fold, nested figures as columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from unet2015.reports.pages import record_link
from unet2015.reports.words import commit_in_words, plan_in_words

Record = Mapping[str, Any]

FIGURES = ("scores", "training", "metrics")
"""The fields whose figures become columns (`scores.rand_error.value`); other fields stay whole."""
RUN, HELD_OUT, FOLD, TEST_VOLUME = "run", "held-out slices", "fold", "test volume"
"""What a row's figures are of, in its column `part`. A run of the EM challenge has a row for all
its held-out slices together, one for each fold, and one for the test volume; any other has one."""
RUN_HEAD = ["record", "command", "settings and code", "hardware", "versions", "took"]
VERSIONS = {"python": "Python", "torch": "torch", "numpy": "numpy"}


def tidy(records: Sequence[Record]) -> pd.DataFrame:
    """The table of the records, in their order; None where a run lacks a figure."""
    rows = [row for record in records for row in _rows(record)]
    columns = dict.fromkeys(["part", *(name for row in rows for name in row)])
    found = [{name: row.get(name) for name in columns} for row in rows]
    # as objects, so that an integer beside a missing one stays an integer
    return pd.DataFrame(found, columns=list(columns), dtype=object)


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    parts = ("folds", "pooled", "test_volume")
    about = {key: value for key, value in record.items() if key not in (*FIGURES, *parts)}
    if record["experiment"] != "em_challenge":
        yield about | {"part": RUN} | _flat({key: record.get(key) for key in FIGURES})
        return
    folds = {key: record["folds"][key] for key in sorted(record["folds"], key=int)}
    about |= {"folds": tuple(folds), "reason": None}
    if record["pooled"] is not None:
        yield about | {"part": HELD_OUT} | _flat({"scores": record["pooled"]})
    for fold, figures in folds.items():
        yield about | {"part": FOLD, "fold": fold} | _flat(figures)
    if record["test_volume"] is not None:
        yield about | {"part": TEST_VOLUME, "folds": ()} | _flat(record["test_volume"])


def _flat(figures: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """Nested fields as one level, their names joined by dots."""
    found: dict[str, Any] = {}
    for key, value in figures.items():
        nested = isinstance(value, Mapping)
        found |= _flat(value, f"{start}{key}.") if nested else {start + key: value}
    if start == "training.":
        found["training.minutes"] = found["training.seconds"] / 60
    return found


def where(table: pd.DataFrame, **equal: Any) -> pd.DataFrame:
    """The rows that have these values in these columns."""
    for column, value in equal.items():
        table = table.loc[[each == value for each in table[column]]]
    return table


def rows(table: pd.DataFrame, **equal: Any) -> list[dict[str, Any]]:
    """The same rows as mappings."""
    return [
        {str(key): value for key, value in row.items()}
        for row in where(table, **equal).to_dict("records")
    ]


def values(table: pd.DataFrame, column: str) -> list[Any]:
    """What the rows have in a column; empty if one of them has nothing there."""
    found = list(table[column]) if column in table else [None]
    return [] if any(value is None for value in found) else found


def require(table: pd.DataFrame, *columns: str) -> None:
    """Raise ValueError naming the records that lack a figure."""
    for column in columns:
        lacking = table[table[column].isna()] if column in table else table
        if len(lacking):
            names = ", ".join(lacking["name"])
            raise ValueError(f"records that are not whole, without {column}: {names}")


def newest(table: pd.DataFrame, *equal: str) -> pd.DataFrame:
    """Of the rows that are equal in these columns the newest, the oldest first."""
    return table.sort_values(["started", "name"]).drop_duplicates(list(equal), keep="last")


def groups(table: pd.DataFrame, *equal: str) -> list[pd.DataFrame]:
    """The rows that are equal in these columns together, the group with the newest run first."""
    if table.empty:
        return []
    found = [group for _, group in table.groupby(list(equal), sort=False)]
    return sorted(found, key=age, reverse=True)


def age(table: pd.DataFrame) -> tuple[str, str]:
    """Sorts the tables of older runs first."""
    return max(zip(table["started"], table["name"], strict=True))


def latest(table: pd.DataFrame) -> dict[str, Any]:
    """The row of the newest run."""
    return table.sort_values(["started", "name"]).iloc[-1].to_dict()


def preset_order(preset: str) -> tuple[int, str]:
    """Sorts quick first, then paper, then all others by name."""
    return {"quick": 0, "paper": 1}.get(preset, 2), preset


def shown(run: Record, *columns: str, missing: str = "–") -> list[str]:
    """The cells of a table: a run's figures in 'column:format'.

    >>> shown({"seed": 0, "scores.seg": 0.5, "loss": None}, "seed", "scores.seg:.4f", "loss:.1f")
    ['0', '0.5000', '–']
    """
    parts = [column.partition(":") for column in columns]
    found = [(run.get(name), form) for name, _, form in parts]
    return [missing if value is None else f"{value:{form}}" for value, form in found]


def run_line(run: Record) -> list[str]:
    """Of RUN_HEAD: what was typed, with which code, on what, and how long it took."""
    hardware, versions, memory = run["hardware"], run["versions"], run.get("peak_memory_gib")
    took = [f"wall time {run['wall_time_s'] / 60:.1f} min"]
    took[0] += " (the last session of a continued run)" if run.get("resumed") else ""
    took.append(f"peak memory {'not known' if memory is None else f'{memory:.1f} GiB'}")
    return [
        record_link(run["name"]),
        f"`{run['command']}`",
        f"seed {run['seed']}, configuration {run['config_hash']}, {commit_in_words(run)}",
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['ram_gib']} GiB, "
        f"{hardware['torch_threads']} threads; accelerator: "
        f"{', '.join(hardware['accelerators']) or 'none'}",
        ", ".join(f"{package} {versions[key]}" for key, package in VERSIONS.items()),
        ", ".join(took) + (f"; {plan_in_words(run['plan'])}" if run.get("plan") else ""),
    ]


def machine(record: Record) -> str:
    """The accelerators of a run, or its processor."""
    hardware = record["hardware"]
    return ", ".join(hardware["accelerators"]) or f"{hardware['cpu']}, {hardware['cores']} cores"
