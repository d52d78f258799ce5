"""The page of the cell tracking sets: every figure from a record."""

from dataclasses import fields
from pathlib import Path

import pytest

from tests.reports.cell_tracking_records import U373, record, with_cores
from tests.reports.markdown import lines
from unet2015 import experiments
from unet2015.inference.instances import InstanceConfig
from unet2015.reports.cell_tracking import (
    CELLS,
    PRESETS,
    U_NET,
    page,
    write_cell_tracking,
)
from unet2015.runtime.record import write_record


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
