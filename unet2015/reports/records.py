"""Records → one tidy table: one row per run and fold, nested figures as columns."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from unet2015.reports.words import commit_in_words, plan_in_words, processor_in_words
from unet2015.runtime.record import read_records

Record = Mapping[Any, Any]

FIGURES = ("scores", "training", "metrics")
"""The fields whose figures become columns (`scores.rand_error.value`); other fields stay whole."""
RUN, HELD_OUT, FOLD, TEST_VOLUME = "run", "held-out slices", "fold", "test volume"
"""What a row's figures are of, in its column `part`. A run of the EM challenge has a row for all
its held-out slices together, one for each fold, and one for the test volume; any other has one."""


def read(results: Path, experiment: str) -> list[Record]:
    """The records of an experiment as pages show them: every text in them is `inert`.

    Raises FileNotFoundError and ValueError as `read_records`.
    """
    return inert(read_records(results / "runs", experiment))


def inert(value: Any) -> Any:
    """Nested values whose texts mean nothing in Markdown, wherever they are put in a page.

    A line stays one, and what would begin code, a link, emphasis, HTML or a comment is its entity
    (which a code span shows as it is).

    >>> inert({"command": "python `x`", "notes": ["a\\n<!-- /results -->", 1.5]})
    {'command': 'python &#96;x&#96;', 'notes': ['a &lt;!-- /results -->', 1.5]}
    >>> inert("__so__ a_b www.x.y")
    '&#95;&#95;so&#95;&#95; a_b www&#46;x.y'
    """
    if isinstance(value, str):
        line = re.sub(r"\s", " ", value).translate(_ENTITIES)
        return _IN_SOME_PLACES.sub(lambda found: f"&#{ord(found[0])};", line)
    if isinstance(value, Mapping):
        return {inert(key): inert(each) for key, each in value.items()}
    return [inert(each) for each in value] if isinstance(value, list) else value


_IN_SOME_PLACES = re.compile(r"(?i):(?=//)|(?<=\bwww)\.|(?<![^\W_])_|_(?![^\W_])")
"""Of addresses, and of what is emphasised; a _ within a word is none."""
_ENTITIES = {ord(sign): f"&#{ord(sign)};" for sign in "`[|*~$#@"} | {ord("<"): "&lt;"}


def tidy(records: Sequence[Record]) -> pd.DataFrame:
    """The table of the records, in their order; None where a run lacks a figure."""
    rows = [row for record in records for row in _rows(record)]
    columns = dict.fromkeys(["part", *(name for row in rows for name in row)])
    found = [[row.get(name) for name in columns] for row in rows]
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
    """The rows that are equal in these columns together: presets in order, the newest run first."""
    if table.empty:
        return []
    found = [group for _, group in table.groupby(list(equal), sort=False)]
    found.sort(key=lambda group: age(latest(group)), reverse=True)
    return sorted(found, key=lambda group: preset_order(group["preset"].iloc[0]))


def age(run: Record) -> tuple[str, str]:
    """Sorts older runs first."""
    return run["started"], run["name"]


def latest(table: pd.DataFrame) -> dict[Any, Any]:
    """The row of the newest run."""
    return max(table.to_dict("records"), key=age)


def preset_order(preset: str) -> tuple[int, str]:
    """Sorts from quick to paper by the time they take, then all others by name."""
    known = ("quick", "long", "hour", "paper")
    return known.index(preset) if preset in known else len(known), preset


def link(run: Record) -> str:
    """A record's name as a link to its file, from a page in results/.

    >>> link({"name": "a_run"})
    '[a_run](runs/a_run.json)'
    """
    return f"[{run['name']}](runs/{run['name']}.json)"


def in_words(run: Record) -> dict[Any, Any]:
    """A run with the cells of a table of runs: what was typed, with which code, on what."""
    hardware, versions, memory = run["hardware"], run["versions"], run.get("peak_memory_gib")
    resumed = " (the last session of a continued run)" if run.get("resumed") else ""
    took = f"wall time {run['wall_time_s'] / 60:.1f} min{resumed}, peak memory "
    took += "not known" if memory is None else f"{memory:.1f} GiB"
    return {
        **run,
        "record": link(run),
        "command": f"`{run['command']}`",
        "settings and code": f"seed {run['seed']}, configuration {run['config_hash']}, "
        f"{commit_in_words(run)}",
        "hardware": f"{processor_in_words(hardware)}, {hardware['ram_gib']} GiB, "
        f"{hardware['torch_threads']} threads; accelerator: "
        f"{', '.join(hardware['accelerators']) or 'none'}",
        "versions": "Python {python}, torch {torch}, numpy {numpy}".format(**versions),
        "took": took + (f"; {plan_in_words(run['plan'])}" if run.get("plan") else ""),
    }
