"""The benchmarks run and compare equal work; their pages come from their records alone."""

import json
import time

import numpy as np
import pytest

from tests.commands import run
from unet2015 import benchmarks
from unet2015.benchmarks import pipeline, predict, train
from unet2015.benchmarks.pages import page, read_benchmarks, summary, write_benchmarks_page
from unet2015.benchmarks.timing import (
    Benchmark,
    Timed,
    as_markdown,
    benchmark_record,
    side_by_side,
    write_benchmark,
)
from unet2015.config import ExperimentConfig, ModelConfig, TrainingConfig

TINY = ExperimentConfig(model=ModelConfig(width=2), training=TrainingConfig(input_tile_px=220))
ROW = Timed("a step", 0.5, 2.0, "a plain one", share_of_limit=0.25, remark="once", headline=True)


def test_the_step_counts_the_operations_of_the_network():
    found = train.benchmark("cpu", config=TINY, repeats=1)
    float32, bfloat16, tile = found.rows
    for row in (float32, bfloat16):
        assert row.ratio is not None
        assert row.ratio > 0
        assert row.share_of_limit is not None
        assert 0 < row.share_of_limit < 1.5
    assert tile.plain_s is None
    assert tile.ours_s > 0
    assert sum(note.startswith("Input pipeline: ") for note in found.notes) == 1
    # convolutions by hand: 2 · inputs · outputs · kernel² · output pixels, for 220 px and width 2
    forward = sum(
        2 * i * o * k * k * side * side
        for i, o, k, side in (
            *((1, 2, 3, 218), (2, 2, 3, 216), (2, 4, 3, 106), (4, 4, 3, 104)),
            *((4, 8, 3, 50), (8, 8, 3, 48), (8, 16, 3, 22), (16, 16, 3, 20)),
            *((16, 32, 3, 8), (32, 32, 3, 6), (32, 16, 1, 12), (32, 16, 3, 10), (16, 16, 3, 8)),
            *((16, 8, 1, 16), (16, 8, 3, 14), (8, 8, 3, 12), (8, 4, 1, 24), (8, 4, 3, 22)),
            *((4, 4, 3, 20), (4, 2, 1, 40), (4, 2, 3, 38), (2, 2, 3, 36), (2, 2, 1, 36)),
        )
    )
    counted = train.step_flop(TINY, train._random_tile(TINY))
    # backward: twice the forward pass, but for the first layer, whose input needs no gradient
    first = 2 * 1 * 2 * 9 * 218**2
    assert counted == 3 * forward - first


def test_the_pipelines_cost_is_the_larger_of_two_shares():
    def note(thread_s: float, real_s: float, device: str = "cpu") -> str:
        return train.pipeline_note(thread_s, real_s, 2.0, repeats=9, device=device)

    assert note(0.06, 2.09).startswith(
        "Input pipeline: 3.0% of a step by its thread's seconds, +4.5% "
    )
    assert note(0.06, 2.09).endswith("target ≤ 5%: met.")
    assert note(0.11, 2.09).endswith("target ≤ 5%: missed.")
    assert note(0.06, 2.11).endswith("target ≤ 5%: missed.")
    assert "-5.0% measured" in note(0.06, 1.9)
    assert "target" not in note(0.06, 2.09, device="cuda")


def test_prediction_compares_equal_outputs():
    found = predict.benchmark("cpu", config=TINY, size_px=48, repeats=1)
    precisions = [row.work.rsplit(", ", 1)[1] for row in found.rows]
    assert precisions == ["float32", "bfloat16", "bfloat16", "bfloat16"]
    assert all(row.ratio for row in found.rows[:2])
    found = predict.benchmark("cpu", config=TINY, size_px=48, repeats=1, stack_slices=2)
    works = [row.work for row in found.rows[2:]]
    assert works == [
        *(f"one slice, {views}, bfloat16" for views in ("seven views", "eight views")),
        *(f"stack of 2 slices, {views}, bfloat16" for views in ("one view", "seven views")),
    ]


def test_the_pipelines_counterparts_do_the_same_work():
    # raises where the two differ
    (row,) = pipeline.weight_map(size_px=96, repeats=1, real=False).rows
    assert row.ratio is not None
    (row,) = pipeline.augment(size_px=96, repeats=1).rows
    assert row.ratio is not None


def test_real_cells_are_measured_where_they_are(monkeypatch: pytest.MonkeyPatch):
    cells = np.zeros((24, 30), int)
    cells[2:8, 2:9], cells[12:20, 4:25] = 3, 7
    monkeypatch.setattr(pipeline, "_real_cells", lambda: ({"a frame": cells}, ["b: not at hand."]))
    found = pipeline.weight_map(size_px=96, repeats=1)
    assert [row.work.split("(")[1] for row in found.rows] == ["phantom)", "a frame)"]
    assert found.rows[1].work.startswith("weight map of 24 × 30 px, 2 cells")
    assert found.notes[1:] == ["b: not at hand."]


def test_parts_that_compute_on_the_cpu_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(pipeline, "weight_map", lambda: Benchmark([ROW], []))
    benchmarks.run("weight-map", "cuda", tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text())["device"] == "cpu"


def test_works_are_timed_in_turns():
    order: list[str] = []
    times = side_by_side(
        lambda: order.append("a"), lambda: (order.append("b"), time.sleep(0.02)), repeats=2
    )
    assert "".join(order) == "ababab"
    assert times[1] >= 0.02 > times[0]
    assert Timed("x", 3.0, 1.0, slices=(30, 1)).ratio == pytest.approx(10)  # per slice
    assert "(30 slices)" in as_markdown([Timed("x", 3.0, 1.0, slices=(30, 1))])


def record_of(part: str, device: str = "cpu") -> dict:
    return benchmark_record(part, device, Benchmark([ROW], ["a note"]))


def test_the_page_and_the_table_come_from_the_records(tmp_path):
    write_benchmark(tmp_path / "benchmarks" / "train_cpu.json", record_of("train"))
    (path,) = write_benchmarks_page(tmp_path)
    text = path.read_text()
    for words in ("500 ms", "2.00 s", "4.0 ×", "25%", "a plain one; once", "- a note"):
        assert words in text
    assert "## train" in text
    assert "On cuda: not run." in text
    assert "| a step | 500 ms | 2.00 s | 4.0 × | a plain one |" in summary(
        read_benchmarks(tmp_path)
    )
    before = path.read_bytes()
    assert write_benchmarks_page(tmp_path)[0].read_bytes() == before


def test_nothing_run_says_so():
    assert "No benchmark was run" in summary([])
    assert page([]).count("not run") == 7


def test_a_file_that_is_no_benchmark_is_named(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "x.json").write_text(json.dumps({"experiment": "em_challenge"}))
    with pytest.raises(ValueError, match=r"x\.json"):
        write_benchmarks_page(tmp_path)
    assert not (tmp_path / "benchmarks.md").exists()


def test_the_command_writes_its_record(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "weight_map", lambda: Benchmark([ROW], ["a note"]))
    out = tmp_path / "weight-map.json"
    assert run("-m", "unet2015", "benchmark", "weight-map", "--json", out) == 0
    assert "| a step |" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert (record["part"], record["rows"][0]["ours_s"]) == ("weight-map", 0.5)
    assert run("-m", "unet2015", "benchmark", "speed") == 2
