"""The page of the cell tracking sets: every figure from a record, and the committed page too."""

from dataclasses import fields
from pathlib import Path

import pytest

import experiments
from tests.reports.cell_tracking_records import U373, lines, record, with_cores
from unet2015.inference.instances import InstanceConfig
from unet2015.reports.cell_tracking_rows import PRESETS, rows
from unet2015.reports.cell_tracking_tables import CELLS, cell_tracking_table, write_cell_tracking
from unet2015.runtime.record import REPOSITORY, write_record


def test_without_records_the_page_says_so():
    page = cell_tracking_table([])
    (u_net,) = lines(page, "u-net (2015)")
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
    (best,) = lines(page, "CALT-US")
    assert best[2::3] == ["0.931", "0.887"]
    for preset in ("quick", "paper"):
        (line,) = lines(page, f"`{preset}`")
        assert line[2:] == ["not run", "", "", "not run", "", ""]
        assert f"- ours, `{preset}`: not run" in page
    assert "Not run: there is no record of an arm." in page
    assert page.endswith("## Runs\n\nNo record.\n")


def test_each_figure_stands_at_its_data_set_and_direction():
    other_way = record(0.7, train_sequence="02", scored_sequence="01")
    page = cell_tracking_table([record(0.5), other_way, record(0.91, dataset=U373)])
    (first,) = lines(page, "sequence 02, trained on 01")
    assert first[2:] == ["0.9100", "-0.0103", "no cores", "0.5000", "-0.2756", "no cores"]
    (second,) = lines(page, "sequence 01, trained on 02")
    assert second[2:] == ["not run", "", "", "0.7000", "-0.0756", "no cores"]


def test_the_mean_needs_both_directions():
    both = [record(0.5), record(0.7, train_sequence="02", scored_sequence="01")]
    page = cell_tracking_table([*both, record(0.91, dataset=U373)])
    (mean,) = lines(page, "mean of both |")
    assert mean[2:] == ["not run", "", "", "0.6000", "-0.1756", "no cores"]
    assert not lines(cell_tracking_table(both[:1]), "mean of both |")


def test_seeds_are_averaged_and_the_newest_record_counts():
    page = cell_tracking_table(
        [
            record(0.9, started="2025-12-31T00:00:00Z", name="old"),
            record(0.4, name="new"),
            record(0.6, seed=1),
        ]
    )
    (line,) = lines(page, "sequence 02, trained on 01")
    assert line[5] == "0.5000 ± 0.1000"


def test_other_settings_get_a_row_of_their_own():
    changed = {"min_size_px": 0, "border_px": 50, "fill_holes": True}
    found = rows([record(0.5), record(0.6, config_hash="b" * 12), record(0.7, instances=changed)])
    assert len(found) == 3
    assert any(row.name == "ours, `quick` (0123456789ab, min0_border50_filled)" for row in found)


def test_held_out_frames_stand_apart():
    page = cell_tracking_table([record(0.42, hold_out=2, scored_sequence="01")])
    (line,) = lines(page, "0.4200")
    assert line[1:6] == ["DIC-HeLa", "01", "6, 7", "0", "0.4200"]
    assert lines(page, "ours, `quick`")[0][2:] == ["not run", "", "", "not run", "", ""]


def test_the_counts_and_the_run_are_there():
    for made, argmax in (
        (record(0.5), "0.5000"),
        (with_cores(0.5, 0.4321), "0.4321"),
        # with cores, SEG is not that of the argmax
        (with_cores(0.5, None), "not recorded"),
    ):
        (line,) = lines(cell_tracking_table([made]), "0.7123")
        assert line[3:6] == ["0", "0.5000", argmax]
        assert line[6:] == ["0.7123", "0.9951", "98", "4", "5", "6", "120", "7"]
    page = cell_tracking_table([record(0.5)])
    assert "- 1200 steps in 5.0 min on 3 frames, final loss 0.1234; prediction 31 s for 2" in page
    assert "  - model.width: 24 (was 64)" in page


def test_the_argmax_stands_beside_the_cores_and_alone_beside_the_paper():
    other_way = {"train_sequence": "02", "scored_sequence": "01", "dataset": U373}
    page = cell_tracking_table(
        [
            with_cores(0.7, 0.4),
            with_cores(0.8, 0.9, **other_way),
            with_cores(0.6, 0.6, dataset=U373),
        ]
    )
    (first,) = lines(page, "sequence 02, trained on 01")
    assert first[2:5] == ["0.6000", "-0.3203", "0.6000 (+0.0000)"]
    assert first[5:] == ["0.4000", "-0.3756", "0.7000 (+0.3000)"]
    (second,) = lines(page, "sequence 01, trained on 02")
    assert second[2:] == ["0.9000", "-0.0203", "0.8000 (-0.1000)", "not run", "", ""]
    (mean,) = lines(page, "mean of both |")
    assert mean[2:] == ["0.7500", "-0.1703", "0.7000 (-0.0500)", "not run", "", ""]
    assert (
        "- What cores do in `quick` (0123456789ab, min500_core0.9): they lower SEG on PhC-U373 "
        "02 → 01 (0.9000 → 0.8000); do not change SEG on PhC-U373 01 → 02; raise SEG on DIC-HeLa "
        "01 → 02 (0.4000 → 0.7000).\n" in page
    )


def test_an_argmax_that_was_not_recorded_is_not_the_seg_with_cores():
    page = cell_tracking_table([with_cores(0.7, 0.4), with_cores(0.6, None, seed=1)])
    (line,) = lines(page, "sequence 02, trained on 01")
    assert line[5:] == ["not recorded", "", "0.6500 ± 0.0500"]
    assert "they have an effect that is not recorded on DIC-HeLa 01 → 02.\n" in page
    assert "What cores do" not in cell_tracking_table([record(0.5)])


def test_the_preset_comes_before_its_arms_in_every_table():
    presets = [("paper", "none"), ("quick", "none"), ("quick", "cell_tracking_no_ridge")]
    presets.append(("quick", "no_elastic"))
    made = [
        # the name and the time of an arm come before those of its preset
        record(0.1 * k + 0.1, preset=p, arm=a, config_hash=f"{k}" * 12, hold_out=k_out)
        for k_out in (0, 2)
        for k, (p, a) in enumerate(reversed(presets))
    ]
    page = cell_tracking_table(made)
    expected = ["`quick`", "`quick cell_tracking_no_ridge`", "`quick no_elastic`"]
    expected.append("`paper`, 80000 steps in float32")
    for table in (
        lines(page.partition("## Cells merged")[2].partition("## What the evidence")[0], "ours"),
        lines(page.partition("## What was selected")[2], "DIC-HeLa"),
    ):
        assert [line[0].removeprefix("ours, ").partition(" (")[0] for line in table] == expected
    deviations = page.partition("## Deviations")[2].partition("## Runs")[0]
    places = [deviations.index(f"- ours, {name}") for name in expected]
    assert places == sorted(places)


def test_how_cells_are_found_is_a_deviation_too():
    # what the page takes for the paper's way of finding cells is that of its preset
    assert experiments.instances(PRESETS["paper"]) == InstanceConfig()
    assert list(CELLS) == [field.name for field in fields(InstanceConfig)]
    page = cell_tracking_table([with_cores(0.5, 0.4)])
    (line,) = (line for line in page.splitlines() if "instances." in line)
    assert line.startswith("  - instances.core_probability: 0.9 (was 0.5): cells are grown from")
    changed = {"min_size_px": 0, "border_px": 50, "fill_holes": True}
    page = cell_tracking_table([record(0.5, instances=changed)])
    assert "  - instances.min_size_px: 0 (was 500): components of fewer" in page
    assert "  - instances.border_px: 50 (was 0): " in page
    assert "  - instances.fill_holes: True (was False): " in page
    # old records have no such field, and then there were no cores
    assert "instances." not in cell_tracking_table([record(0.5)])
    assert "`paper`, 80000 steps in float32 (0123456789ab): none" in cell_tracking_table(
        [record(0.5, preset="paper", deviations=[])]
    )


def held_out(**changes):
    """A run on held-out frames, of `quick`."""
    return record(0.42, hold_out=2, scored_sequence="01") | changes


def test_the_page_says_that_the_scored_sequence_had_its_say():
    page = cell_tracking_table([])
    text = " ".join(page.split())
    assert "two full runs 01 → 02 without batch normalisation failed" in text
    assert "one with SEG 0.13" in text
    assert "scored sequence 02 did influence the choice of batch normalisation" in text


def test_held_out_runs_of_other_settings_are_named_with_the_difference():
    reported = with_cores(0.5, 0.4, config={"model": {"width": 24}})
    older = {"preset": "quick, changed", "config_hash": "b" * 12, "started": "2025-12-31T00:00:00Z"}
    older |= {"config": {"model": {"width": 32, "normalization": "batch"}}}
    page = cell_tracking_table([reported, held_out(**older), held_out(**older, seed=1)])
    assert "None of the 2 recorded runs on held-out frames (below) had the settings of a" in page
    assert (
        "- `quick, changed` (bbbbbbbbbbbb), 2 runs: earlier than `quick` (0123456789ab, "
        "min500_core0.9), with model.width 32 (reported: 24), model.normalization batch (reported: "
        "none), instances.core_probability 0.5 (reported: 0.9)\n" in page
    )
    later = older | {"started": "2026-01-02T00:00:00Z"}
    assert "1 run: later than `quick` (0123" in cell_tracking_table([reported, held_out(**later)])
    assert "1 run: no run of its preset is reported" in cell_tracking_table([held_out(**later)])


def test_held_out_runs_of_the_reported_settings_are_not_called_others():
    page = cell_tracking_table([record(0.5), held_out(), held_out(config_hash="b" * 12)])
    assert "1 of the 2 runs on held-out frames had the settings of a run reported above:" in page
    assert "- `quick` (0123456789ab), 1 run: the settings of `quick` (0123456789ab)\n" in page
    assert "None of the" not in page


def test_a_record_that_lacks_a_figure_is_named():
    broken = record(0.5)
    del broken["scores"]["merged"]
    with pytest.raises(ValueError, match=r"not whole \(KeyError\('merged'\)\): run0.5"):
        cell_tracking_table([broken])


def test_the_page_is_written_from_the_folder_of_records(tmp_path: Path):
    write_record(tmp_path / "runs", "cell_tracking_quick", record(0.5))
    (path,) = write_cell_tracking(tmp_path / "runs", tmp_path)
    first = path.read_bytes()
    assert b"0.5000" in first
    assert write_cell_tracking(tmp_path / "runs", tmp_path)[0].read_bytes() == first


def test_the_committed_page_is_that_of_the_committed_records(tmp_path: Path):
    results = REPOSITORY / "results"
    if not (results / "runs").is_dir():
        pytest.skip("no records beside the package")
    (path,) = write_cell_tracking(results / "runs", tmp_path)
    assert path.read_bytes() == (results / path.name).read_bytes()
