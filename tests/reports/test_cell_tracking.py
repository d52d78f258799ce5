"""The page of the cell tracking sets: every figure from a record, and what it concludes of them."""

import runpy
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

import experiments
from tests.commands import ROOT
from tests.reports.cell_tracking_records import CORES, HELA, U373, record, with_cores
from tests.reports.markdown import lines
from unet2015.config import as_dict
from unet2015.inference.instances import InstanceConfig
from unet2015.reports.cell_tracking import (
    ARMS,
    CELLS,
    DIRECTIONS,
    PRESETS,
    U_NET,
    page,
    write_cell_tracking,
)
from unet2015.runtime.record import write_record

WITHOUT = {"arm": "no_border_weight", "config_hash": "c" * 12}
WITHOUT |= {"config": {"weight_map": {"w0": 0.0}}}
ON_HELA = "- DIC-HeLa, that the border weights raise SEG by separating touching cells: "
ON_U373 = "- PhC-U373, that they matter little: "


def test_without_records_the_page_says_so():
    text = page([])
    (u_net,) = lines(text, "u-net (2015)")
    assert u_net == [
        "paper: u-net (2015)",
        "hidden test sequences",
        "0.9203",
        "",
        "",
        "0.7756",
        "",
        "",
    ]
    assert list(U_NET.values()) == [float(u_net[2]), float(u_net[5])]
    (best,) = lines(text, "CALT-US")
    assert best[2::3] == ["0.931", "0.887"]
    for preset in ("quick", "paper"):
        (line,) = lines(text, f"`{preset}`")
        assert line[2:] == ["not run", "", "", "not run", "", ""]
        assert f"- ours, `{preset}`: not run" in text
    assert "Not run: there is no record of an arm." in text
    assert "No record." in text


def test_each_figure_stands_at_its_data_set_and_direction():
    other_way = record(0.7, train_sequence="02", scored_sequence="01")
    text = page([record(0.5), other_way, record(0.91, dataset=U373)])
    (first,) = lines(text, "sequence 02, trained on 01")
    assert first[2:] == ["0.9100", "-0.0103", "no cores", "0.5000", "-0.2756", "no cores"]
    (second,) = lines(text, "sequence 01, trained on 02")
    assert second[2:] == ["not run", "", "", "0.7000", "-0.0756", "no cores"]


def test_the_mean_needs_both_directions():
    both = [record(0.5), record(0.7, train_sequence="02", scored_sequence="01")]
    text = page([*both, record(0.91, dataset=U373)])
    (mean,) = lines(text, "mean of both |")
    assert mean[2:] == ["not run", "", "", "0.6000", "-0.1756", "no cores"]
    assert not lines(page(both[:1]), "mean of both |")


def test_seeds_are_averaged_and_the_newest_record_counts():
    text = page(
        [
            record(0.9, started="2025-12-31T00:00:00Z", name="old"),
            record(0.4, name="new"),
            record(0.6, seed=1),
        ]
    )
    (line,) = lines(text, "sequence 02, trained on 01")
    assert line[5] == "0.5000 ± 0.1000"


def test_other_settings_get_a_row_of_their_own():
    changed = {"min_size_px": 0, "border_px": 50, "fill_holes": True}
    text = page([record(0.5), record(0.6, config_hash="b" * 12), record(0.7, instances=changed)])
    names = {line[0] for line in lines(text, "sequence 02, trained on 01")}
    assert len(names) == 3
    assert "ours, `quick` (0123456789ab, min0_border50_filled)" in names


def test_held_out_frames_stand_apart():
    text = page([record(0.42, hold_out=2, scored_sequence="01")])
    (line,) = lines(text, "0.4200")
    assert line[1:6] == ["DIC-HeLa", "01", "6, 7", "0", "0.4200"]
    assert lines(text, "ours, `quick`")[0][2:] == ["not run", "", "", "not run", "", ""]


def test_the_counts_and_the_run_are_there():
    for made, argmax in (
        (record(0.5), "0.5000"),
        (with_cores(0.5, 0.4321), "0.4321"),
        (with_cores(0.5, 0.0), "0.0000"),
        # with cores, SEG is not that of the argmax
        (with_cores(0.5, None), "not recorded"),
    ):
        (line,) = lines(page([made]), "0.7123")
        assert line[3:6] == ["0", "0.5000", argmax]
        assert line[6:] == ["0.7123", "0.9951", "98", "4", "5", "6", "120", "7"]
    text = page([record(0.5)])
    assert "| 3 | 2 | 1200 | 5.0 | 0.1234 | 31 |" in text
    assert "  - model.width: 24 (was 64)" in text


def test_the_argmax_stands_beside_the_cores_and_alone_beside_the_paper():
    other_way = {"train_sequence": "02", "scored_sequence": "01", "dataset": U373}
    text = page(
        [
            with_cores(0.7, 0.4),
            with_cores(0.8, 0.9, **other_way),
            with_cores(0.6, 0.6, dataset=U373),
        ]
    )
    (first,) = lines(text, "sequence 02, trained on 01")
    assert first[2:5] == ["0.6000", "-0.3203", "0.6000 (+0.0000)"]
    assert first[5:] == ["0.4000", "-0.3756", "0.7000 (+0.3000)"]
    (second,) = lines(text, "sequence 01, trained on 02")
    assert second[2:] == ["0.9000", "-0.0203", "0.8000 (-0.1000)", "not run", "", ""]
    (mean,) = lines(text, "mean of both |")
    assert mean[2:] == ["0.7500", "-0.1703", "0.7000 (-0.0500)", "not run", "", ""]
    assert (
        "- What cores do in `quick` (0123456789ab, min500_core0.9).\n"
        "  They lower SEG on PhC-U373 02 → 01 (0.9000 → 0.8000).\n"
        "  They do not change SEG on PhC-U373 01 → 02.\n"
        "  They raise SEG on DIC-HeLa 01 → 02 (0.4000 → 0.7000).\n" in text
    )


def test_an_argmax_that_was_not_recorded_is_not_the_seg_with_cores():
    text = page([with_cores(0.7, 0.4), with_cores(0.6, None, seed=1)])
    (line,) = lines(text, "sequence 02, trained on 01")
    assert line[5:] == ["not recorded", "", "0.6500 ± 0.0500"]
    assert "They have an effect that is not recorded on DIC-HeLa 01 → 02.\n" in text
    assert "What cores do" not in page([record(0.5)])


def test_the_preset_comes_before_its_arms_in_every_table():
    presets = [("paper", "none"), ("quick", "none"), ("quick", "cell_tracking_no_ridge")]
    presets.append(("quick", "no_elastic"))
    made = [
        # the name and the time of an arm come before those of its preset
        record(0.1 * k + 0.1, preset=p, arm=a, config_hash=f"{k}" * 12, hold_out=k_out)
        for k_out in (0, 2)
        for k, (p, a) in enumerate(reversed(presets))
    ]
    text = page(made)
    expected = ["`quick`", "`quick cell_tracking_no_ridge`", "`quick no_elastic`"]
    expected.append("`paper`, 80000 steps in float32")
    for table in (
        lines(text.partition(">Cells merged")[2].partition("</details>")[0], "ours"),
        lines(text.partition(">What was selected")[2].partition("</details>")[0], "DIC-HeLa"),
    ):
        assert [line[0].removeprefix("ours, ").partition(" (")[0] for line in table] == expected
    deviations = text.partition(">Deviations")[2].partition("</details>")[0]
    places = [deviations.index(f"- ours, {name}") for name in expected]
    assert places == sorted(places)


def test_how_cells_are_found_is_a_deviation_too():
    # what the text takes for the paper's way of finding cells is that of its preset
    assert experiments.instances(PRESETS["paper"]) == InstanceConfig()
    assert list(CELLS) == [field.name for field in fields(InstanceConfig)]
    text = page([with_cores(0.5, 0.4)])
    (line,) = (line for line in text.splitlines() if "instances." in line)
    assert line.startswith("  - instances.core_probability: 0.9 (was 0.5): cells are grown from")
    changed = {"min_size_px": 0, "border_px": 50, "fill_holes": True}
    text = page([record(0.5, instances=changed)])
    assert "  - instances.min_size_px: 0 (was 500): components of fewer" in text
    assert "  - instances.border_px: 50 (was 0): " in text
    assert "  - instances.fill_holes: True (was False): " in text
    # old records have no such field, and then there were no cores
    assert "instances." not in page([record(0.5)])
    assert "`paper`, 80000 steps in float32 (0123456789ab): none" in page(
        [record(0.5, preset="paper", deviations=[])]
    )


def held_out(**changes):
    """A run on held-out frames, of `quick`."""
    return record(0.42, hold_out=2, scored_sequence="01") | changes


def test_the_page_says_that_the_scored_sequence_had_its_say():
    text = page([])
    text = " ".join(text.split())
    assert "two full runs 01 → 02 without batch normalisation failed" in text
    assert "one with SEG 0.13" in text
    assert "scored sequence 02 did influence the choice of batch normalisation" in text


def test_held_out_runs_of_other_settings_are_shown_with_the_difference():
    reported = with_cores(0.5, 0.4, config={"model": {"width": 24}})
    older = {"preset": "quick, changed", "config_hash": "b" * 12, "started": "2025-12-31T00:00:00Z"}
    older |= {"config": {"model": {"width": 32, "normalization": "batch"}}}
    text = page([reported, held_out(**older), held_out(**older, seed=1)])
    assert "None of the 2 recorded runs on held-out frames had the settings of a run rep" in text
    table = text.partition("What differs from the runs reported above:")[2].partition("</det")[0]
    assert lines(table, "|") == [
        [
            "",
            "reported: `quick` (0123456789ab, min500_core0.9)",
            "held out: `quick, changed` (bbbbbbbbbbbb)",
        ],
        ["---"] * 3,
        ["first started", "2026-01-01T00:00:00Z", "2025-12-31T00:00:00Z"],
        ["model.width", "24", "32"],
        ["model.normalization", "none", "batch"],
        ["instances.core_probability", "0.9", "0.5"],
    ]
    assert "What differs" not in page([held_out()])  # nothing of its preset is reported


def test_held_out_runs_of_the_reported_settings_are_not_called_others():
    text = page([record(0.5), held_out(), held_out(config_hash="b" * 12)])
    assert "1 of the 2 runs on held-out frames had the settings of a run reported above." in text
    assert "None of the" not in text


def test_a_record_that_lacks_a_figure_is_named():
    broken = record(0.5)
    del broken["scores"]["merged"]
    with pytest.raises(ValueError, match=r"not whole, without scores\.merged: run0\.5"):
        page([broken])


def test_the_page_is_written_from_the_folder_of_records(tmp_path: Path):
    write_record(tmp_path / "runs", "cell_tracking_quick", record(0.5))
    (path,) = write_cell_tracking(tmp_path)
    first = path.read_bytes()
    assert b"0.5000" in first
    assert write_cell_tracking(tmp_path)[0].read_bytes() == first


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
