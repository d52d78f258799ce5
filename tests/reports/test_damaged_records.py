"""A record of any shape gives its page, or one message: never another error."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT
from unet2015 import reimplementations
from unet2015.reports.ablations import write_ablations
from unet2015.reports.cell_tracking import write_cell_tracking
from unet2015.reports.em_challenge import write_em_challenge
from unet2015.reports.reimplementations import write_reimplementations
from unet2015.runtime.record import SHA256

WRITERS: dict[str, tuple[Callable[[Path], Any], int]] = {
    "em_challenge": (write_em_challenge, 80),
    "cell_tracking": (write_cell_tracking, 80),
    "reimplementation": (lambda at: write_reimplementations(at, reimplementations.systems()), 80),
    "ablation": (write_ablations, 8),  # its intervals and figures take a second
}
"""How each page is written, and how many damages it is tried with."""
GONE = object()
VALUES = (None, "x", -1, 0, 2**70, 1e300, [], {}, True, [None], {"a": 1}, [0, 0], GONE)
Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Of every field, and of the first items of lists."""
    if at:
        yield at
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value[:2])
        for key, inner in items:
            yield from places(inner, (*at, key))


def damaged(record: dict[str, Any], place: Place, value: object) -> dict[str, Any]:
    copy = json.loads(json.dumps(record))
    at = copy
    for key in place[:-1]:
        at = at[key]
    if value is GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return copy


def committed(experiment: str) -> list[dict[str, Any]]:
    """The newest record; of an ablation a pair of folds of an arm and its baseline."""
    paths = sorted((ROOT / "results" / "runs").glob(f"{experiment}_*.json"))
    if experiment == "ablation":
        found = [p for p in paths if "_quick_" in p.name and "isbi2012" in p.name]
        paths = [p for p in found if p.name.startswith(("ablation_baseline", "ablation_batch"))]
    else:
        paths = paths[-1:]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    for record in records:
        record.pop(SHA256)  # as if it had been written so
    return records


@pytest.mark.parametrize("experiment", WRITERS)
def test_a_field_that_is_gone_or_another_is_one_message_or_none(tmp_path, experiment):
    write, times = WRITERS[experiment]
    rng, records = random.Random(0), committed(experiment)
    (tmp_path / "runs").mkdir()
    for record in records:
        path = tmp_path / "runs" / f"{record['name']}.json"
        path.write_text(json.dumps(record), encoding="utf-8")
    write(tmp_path)
    first = records[0]
    path, every = tmp_path / "runs" / f"{first['name']}.json", list(places(first))
    refused = 0
    for _ in range(times):
        bad = damaged(first, rng.choice(every), rng.choice(VALUES))
        path.write_text(json.dumps(bad), encoding="utf-8")
        try:
            write(tmp_path)
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
    assert refused > times / 2
