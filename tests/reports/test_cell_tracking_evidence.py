"""What the page of the cell tracking sets concludes: pairs of runs, judged by their signs."""

import runpy
from itertools import product
from typing import Any, get_args

import pytest

from tests.commands import ROOT
from tests.reports.cell_tracking_records import CORES, HELA, U373, record, with_cores
from tests.reports.markdown import lines
from unet2015 import experiments
from unet2015.config import as_dict
from unet2015.reports.cell_tracking import (
    ARMS,
    DIRECTIONS,
    PRESETS,
    page,
)

WITHOUT = {"arm": "no_border_weight", "config_hash": "c" * 12}
WITHOUT |= {"config": {"weight_map": {"w0": 0.0}}}
ON_HELA = "- DIC-HeLa, that the border weights raise SEG by separating touching cells: "
ON_U373 = "- PhC-U373, that they matter little: "


def section(records: list[dict[str, Any]]) -> str:
    """The section of the evidence."""
    return page(records).partition("## What the evidence says\n\n")[2].partition("<details>")[0]


def pair(
    dataset: str,
    trained: str,
    segs: tuple[float, float],
    merged: tuple[int, int] = (4, 4),
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A run with border weights and one without: their SEG, and their merged cells."""
    where = {"dataset": dataset, "train_sequence": trained, "seed": seed}
    where |= {"scored_sequence": DIRECTIONS[trained]}
    made = [record(segs[0], **where), record(segs[1], **where, **WITHOUT)]
    for run, count in zip(made, merged, strict=True):
        run["scores"]["merged"] = count
    return made


def sentence(text: str, start: str) -> str:
    """What an item of a list says behind `start`, in one line."""
    (found,) = (
        part for part in text.partition("The verdict")[2].split("\n- ") if start in f"- {part}"
    )
    return " ".join(found.partition("\n\n")[0].removeprefix(start[2:]).split())


def test_the_arms_are_those_of_the_command_with_what_they_change():
    script = runpy.run_path(str(ROOT / "reproduce/cell_tracking.py"))
    assert {"none", *ARMS} == set(get_args(script["Arm"]))
    before = as_dict(experiments.load(PRESETS["paper"]))
    for arm, changed in ARMS.items():
        after = as_dict(script["settings_of"]("paper", arm))
        names = {
            f"{concern}.{name}"
            for concern, fields in after.items()
            for name, value in fields.items()
            if value != before[concern][name]
        }
        assert names == changed


@pytest.mark.parametrize("records", [[], [record(0.5)], [record(0.5, **WITHOUT, hold_out=2)]])
def test_without_an_arm_there_is_no_verdict(records):
    text = section(records)
    assert "Not run: there is no record of an arm." in text
    for arm in ARMS:
        assert f"- `{arm}`: not run" in text
    assert "borne out" not in text
    assert "mixed" not in text


def test_one_pair_is_judged_by_its_signs_alone():
    text = section(pair(HELA, "01", (0.5, 0.3), merged=(2, 7)))
    (line,) = lines(text, "DIC-HeLa", "| 02 |")
    assert line[3:7] == ["1", "0.5000", "0.3000", "+0.2000"]
    assert line[10:] == ["2", "7"]
    assert len(lines(text, "not run")) == 3
    assert sentence(text, ON_HELA) == (
        "**borne out**. SEG is higher with them in 1 of 1, fewer cells are merged in 1 of 1. "
        "That is 1 pair of runs with 1 seed; one seed cannot settle it."
    )
    assert sentence(text, ON_U373) == "**not run**."
    assert "- `no_border_weight`: not run" not in text
    assert "- `no_elastic`: not run" in text


@pytest.mark.parametrize(
    ("segs", "merged", "verdict"),
    [
        ((0.3, 0.5), (7, 2), "not borne out"),
        ((0.5, 0.5), (4, 4), "not borne out"),
        ((0.5, 0.3), (7, 2), "mixed"),
        ((0.3, 0.5), (2, 7), "mixed"),
    ],
)
def test_the_verdict_on_hela_follows_the_signs(segs, merged, verdict):
    text = section(pair(HELA, "01", segs, merged))
    assert sentence(text, ON_HELA).startswith(f"**{verdict}**. ")
    assert "one seed cannot settle it" in sentence(text, ON_HELA)


def test_four_pairs():
    made = [
        *pair(HELA, "01", (0.5, 0.3), (1, 5)),
        *pair(HELA, "02", (0.4, 0.5), (5, 1)),
        *pair(U373, "01", (0.80, 0.75)),
        *pair(U373, "02", (0.75, 0.80)),
    ]
    text = section(made)
    assert not lines(text, "not run")
    deltas = [line[6] for line in lines(text, "no_border_weight")]
    assert deltas == ["+0.0500", "-0.0500", "+0.2000", "-0.1000"]
    assert sentence(text, ON_HELA).startswith(
        "**mixed**. SEG is higher with them in 1 of 2, fewer cells are merged in 1 of 2. "
        "That is 2 pairs of runs with 1 seed; one"
    )
    assert sentence(text, ON_U373).startswith(
        "**borne out**. SEG changes by less than on DIC-HeLa in 2 of 2. "
        "That is 2 pairs of runs with 1 seed; one"
    )


def test_more_on_u373_than_on_hela_is_not_little():
    text = section([*pair(HELA, "01", (0.5, 0.4)), *pair(U373, "01", (0.5, 0.8))])
    assert sentence(text, ON_U373).startswith("**not borne out**. SEG changes by less than on")


@pytest.mark.parametrize("other", [[], pair(HELA, "02", (0.5, 0.4))])
def test_u373_is_not_judged_without_hela_in_the_same_direction(other):
    text = section([*pair(U373, "01", (0.5, 0.8)), *other])
    assert sentence(text, ON_U373) == (
        "**not judged**. There is no pair of DIC-HeLa beside it. That is 1 pair of runs with 1 "
        "seed; one seed cannot settle it."
    )


def test_the_argmax_is_judged_too_where_there_are_cores():
    made = [with_cores(0.7, 0.3), with_cores(0.6, 0.5, **WITHOUT)]
    text = section(made)
    (line,) = lines(text, "DIC-HeLa", "| 02 |")
    assert line[4:10] == ["0.7000", "0.6000", "+0.1000", "0.3000", "0.5000", "-0.2000"]
    assert "the argmax SEG is higher in 0 of 1, fewer" in sentence(text, ON_HELA)
    assert sentence(text, ON_HELA).startswith("**mixed**")
    assert "Cores (our addition) divide touching cells too" in text
    unknown = section([with_cores(0.7, 0.3), with_cores(0.6, None, **WITHOUT)])
    (line,) = lines(unknown, "DIC-HeLa", "| 02 |")
    assert line[7:10] == ["0.3000", "not recorded", ""]
    assert "argmax SEG is higher" not in sentence(unknown, ON_HELA)


def test_seeds_are_paired_and_counted():
    made = [
        *pair(HELA, "01", (0.5, 0.4), (1, 2)),
        *pair(HELA, "01", (0.7, 0.4), (2, 5), seed=1),
        record(0.9, seed=2),  # no arm with this seed
    ]
    text = section(made)
    (line,) = lines(text, "DIC-HeLa", "| 02 |")
    assert line[3:7] == ["2", "0.6000 ± 0.1000", "0.4000 ± 0.0000", "+0.2000 ± 0.1000"]
    assert line[10:] == ["1.5", "3.5"]
    assert "That is 2 pairs of runs with 2 seeds; so few cannot" in sentence(text, ON_HELA)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"training": {"steps": 7}}, "config_hash": "d" * 12},
        {"instances": CORES},
        {"preset": "quick, changed"},
        {"seed": 1},
        {"train_sequence": "02", "scored_sequence": "01"},
        {"dataset": U373},
    ],
)
def test_runs_that_differ_in_anything_else_are_no_pair(changes):
    text = section([record(0.5) | changes, record(0.3, **WITHOUT)])
    (line,) = lines(text, "DIC-HeLa", "| 02 |")
    assert line[3:7] == ["1", "not run", "0.3000", ""]
    assert sentence(text, ON_HELA) == "**not run**."


def test_the_preset_of_the_same_settings_is_taken_not_the_newest():
    newer = {"config": {"training": {"steps": 7}}, "config_hash": "d" * 12}
    newer |= {"started": "2026-02-01T00:00:00Z"}
    text = section([record(0.5), record(0.9, **newer), record(0.3, **WITHOUT)])
    (line,) = lines(text, "DIC-HeLa", "| 02 |")
    assert line[4:7] == ["0.5000", "0.3000", "+0.2000"]


def test_other_arms_stand_beside_their_preset_without_a_verdict():
    ridge = {"arm": "cell_tracking_no_ridge", "config_hash": "e" * 12}
    ridge |= {"config": {"weight_map": {"separate_touching": False}}}
    text = section([record(0.5), record(0.3, **ridge)])
    (line,) = lines(text, "cell_tracking_no_ridge", "DIC-HeLa", "| 02 |")
    assert line[3:7] == ["1", "0.5000", "0.3000", "+0.2000"]
    assert "The other arms, each beside its preset" in text
    assert "borne out" not in text
    assert "- `no_border_weight`: not run" in text
    assert "- `cell_tracking_no_ridge`: not run" not in text


def test_the_same_records_in_any_order_give_the_same_section():
    made = [
        run
        for dataset, trained in product((HELA, U373), ("01", "02"))
        for run in pair(dataset, trained, (0.5, 0.4))
    ]
    assert section(made) == section(made[::-1])
