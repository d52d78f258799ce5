"""The page of the cell tracking sets: every figure from a record, and the committed page too."""

from pathlib import Path
from typing import Any

import pytest

from unet2015.cell_tracking_tables import cell_tracking_table, rows, write_cell_tracking
from unet2015.record import REPOSITORY, write_record

U373, HELA = "PhC-C2DH-U373", "DIC-C2DH-HeLa"
SCORES = {"foreground_iou": 0.7123, "label_seg": 0.9951, "cells": 98, "merged": 4, "split": 5}
SCORES |= {"missed": 6, "predicted": 120, "spurious": 7}


def record(seg: float, **fields: Any) -> dict[str, Any]:
    """A record as reproduce/cell_tracking.py writes it; `fields` replaces some."""
    about = {
        "experiment": "cell_tracking",
        "name": f"run{seg}",
        "preset": "quick",
        "arm": "none",
        "dataset": HELA,
        "train_sequence": "01",
        "scored_sequence": "02",
        "train_frames": [2, 5, 21],
        "scored_frames": [6, 7],
        "hold_out": 0,
        "instances": {"min_size_px": 500, "border_px": 0, "fill_holes": False},
        "scores": SCORES | {"seg": seg, "seg_of_frame": [seg, seg]},
        "training": {"steps": 1200, "seconds": 300.0, "final_loss": 0.1234},
        "prediction_seconds": 31.0,
        "peak_memory_gib": 1.9,
        "seed": 0,
        "config": {},
        "config_hash": "0123456789ab",
        "commit": "f" * 40,
        "dirty": False,
        "hardware": {"cpu": "a CPU", "cores": 2, "ram_gib": 16.0, "torch_threads": 2}
        | {"accelerators": []},
        "versions": {"python": "3.11", "torch": "2.13", "numpy": "2.4"},
        "wall_time_s": 600.0,
        "command": "python reproduce/cell_tracking.py",
        "deviations": ["model.width: 24 (was 64)"],
        "data_hashes": {},
        "started": "2026-01-01T00:00:00Z",
    }
    return about | fields


def lines(page: str, *words: str) -> list[list[str]]:
    """The cells of all table lines that have these words."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("|") and all(word in line for word in words)
    ]


def test_without_records_the_page_says_so():
    page = cell_tracking_table([])
    (u_net,) = lines(page, "u-net (2015)")
    assert u_net == ["paper: u-net (2015)", "hidden test sequences", "0.9203", "", "0.7756", ""]
    (best,) = lines(page, "CALT-US")
    assert best[2::2] == ["0.931", "0.887"]
    for preset in ("quick", "paper"):
        (line,) = lines(page, f"`{preset}`")
        assert line[2:] == ["not run", "", "not run", ""]
        assert f"- ours, `{preset}`: not run" in page
    assert "Not run: there is no record of an arm." in page
    assert page.endswith("## Runs\n\nNo record.\n")


def test_each_figure_stands_at_its_data_set_and_direction():
    other_way = record(0.7, train_sequence="02", scored_sequence="01")
    page = cell_tracking_table([record(0.5), other_way, record(0.91, dataset=U373)])
    (first,) = lines(page, "sequence 02, trained on 01")
    assert first[2:] == ["0.9100", "-0.0103", "0.5000", "-0.2756"]
    (second,) = lines(page, "sequence 01, trained on 02")
    assert second[2:] == ["not run", "", "0.7000", "-0.0756"]


def test_the_mean_needs_both_directions():
    both = [record(0.5), record(0.7, train_sequence="02", scored_sequence="01")]
    page = cell_tracking_table([*both, record(0.91, dataset=U373)])
    (mean,) = lines(page, "mean of both |")
    assert mean[2:] == ["not run", "", "0.6000", "-0.1756"]
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
    assert line[4] == "0.5000 ± 0.1000"


def test_other_settings_get_a_row_of_their_own():
    changed = {"min_size_px": 0, "border_px": 50, "fill_holes": True}
    found = rows([record(0.5), record(0.6, config_hash="b" * 12), record(0.7, instances=changed)])
    assert len(found) == 3
    assert any(row.name == "ours, `quick` (0123456789ab, min0_border50_filled)" for row in found)


def test_an_arm_stands_beside_its_preset():
    arm = record(0.3, arm="no_border_weight", config_hash="c" * 12)
    page = cell_tracking_table([record(0.5), arm])
    (line,) = lines(page, "no_border_weight", "-0.2000")
    assert line[1:] == ["DIC-HeLa", "02", "0.3000", "0.5000", "-0.2000", "4", "5", "6", "4, 5, 6"]
    (alone,) = lines(cell_tracking_table([arm]), "no_border_weight", "not run")
    assert alone[3:6] == ["0.3000", "not run", ""]
    # an arm is no row of the table of the paper
    assert not lines(page, "no_border_weight", "sequence 02, trained on 01")


def test_held_out_frames_stand_apart():
    page = cell_tracking_table([record(0.42, hold_out=2, scored_sequence="01")])
    (line,) = lines(page, "0.4200")
    assert line[1:6] == ["DIC-HeLa", "01", "6, 7", "0", "0.4200"]
    assert lines(page, "ours, `quick`")[0][2:] == ["not run", "", "not run", ""]


def test_the_counts_and_the_run_are_there():
    with_cores = record(0.5)
    with_cores["scores"]["seg_of_argmax"] = 0.4321
    for made, argmax in ((record(0.5), "0.5000"), (with_cores, "0.4321")):
        (line,) = lines(cell_tracking_table([made]), "0.7123")
        assert line[3:6] == ["0", "0.5000", argmax]
        assert line[6:] == ["0.7123", "0.9951", "98", "4", "5", "6", "120", "7"]
    page = cell_tracking_table([record(0.5)])
    assert "- 1200 steps in 5.0 min on 3 frames, final loss 0.1234; prediction 31 s for 2" in page
    assert "  - model.width: 24 (was 64)" in page


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
