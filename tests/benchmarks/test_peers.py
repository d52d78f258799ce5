"""Peers do the same work as we do, and one that is missing is named."""

import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from tests.benchmarks.test_benchmarks import ROW, TINY
from unet2015 import benchmarks
from unet2015.augmentation.deformation import random_displacement
from unet2015.benchmarks import cuda, pages, peers
from unet2015.benchmarks.timing import Benchmark, Timed, benchmark_record, write_benchmark


def sliding_window(inputs, roi_size, sw_batch_size, predictor, overlap, roi_weight_map):
    """What MONAI's function of that name does, written down anew."""
    stride = int(roi_size[0] * (1 - overlap))
    side = roi_size[0]
    starts = [range(0, length - side + 1, stride) for length in inputs.shape[2:]]
    assert [s[-1] + side for s in starts] == list(inputs.shape[2:])
    total, weight = 0, 0 * inputs[:, :1]
    for y in starts[0]:
        for x in starts[1]:
            place = (..., slice(y, y + side), slice(x, x + side))
            scores = predictor(inputs[place])
            if isinstance(total, int):
                total = (0 * inputs[:, :1]).repeat(1, scores.shape[1], 1, 1)
            total[place] += scores * roi_weight_map
            weight[place] += roi_weight_map
    return total / weight


class Inferers:
    sliding_window_inference = staticmethod(sliding_window)


def all_but(missing: str) -> Callable[[str], object]:
    """`peers.installed` where one package is not."""
    return lambda package: None if package == missing else package


def test_what_is_missing_is_named_and_the_others_are_measured(monkeypatch):
    monkeypatch.setattr(peers, "installed", all_but("monai"))
    found = peers.augment(size_px=48, repeats=1)
    assert [row.plain.split()[0].rstrip(":") for row in found.rows] == [
        "elasticdeform",
        "scikit-image",
    ]
    assert all(row.ratio for row in found.rows)
    assert "monai: not installed: pip install monai" in found.notes
    monkeypatch.setattr(peers, "installed", lambda package: None)
    none = peers.augment(size_px=48)
    assert [note.partition(":")[0] for note in none.notes[1:]] == [
        *("elasticdeform", "scikit-image", "monai"),
    ]
    assert none.rows == []
    none = peers.predict("cpu", config=TINY, size_px=48)
    assert (none.rows, none.notes) == ([], ["monai: not installed: pip install monai"])


def test_no_benchmark_needs_its_peers_before_they_are_measured():
    """As on a machine where they are not, or do not load."""
    code = (
        "import sys\n"
        "for name in ('elasticdeform', 'monai', 'dask', 'distributed', 'ctc_metrics'):\n"
        "    sys.modules[name] = None\n"
        "import unet2015.benchmarks, unet2015.__main__\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_work_is_no_comparison(monkeypatch):
    monkeypatch.setattr(peers, "installed", all_but("monai"))
    monkeypatch.setattr(peers, "by_scikit_image", lambda planes, _: planes)
    with pytest.raises(ValueError, match=r"scikit-image.*: no comparison"):
        peers.augment(size_px=48, repeats=1)


def test_the_peers_deform_alike():
    planes = peers._slice(40)
    displacement = random_displacement(np.random.default_rng(3), sigma_px=3)
    one = peers.by_elasticdeform(planes, displacement)
    two = peers.by_scikit_image(planes, displacement)
    peers._require_equal(one, two, "x")
    assert np.abs(one[0] - planes[0]).max() > 0.1


def test_a_sliding_window_predicts_as_the_overlap_tile_strategy(monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda package: Inferers)
    (row,) = peers.predict("cpu", config=TINY, size_px=60, repeats=1).rows  # raises if they differ
    assert row.ratio is not None


def test_monai_itself():
    pytest.importorskip("monai", reason="needs MONAI: pip install monai")
    (row,) = peers.predict("cpu", config=TINY, size_px=60, repeats=1).rows
    assert row.ratio is not None
    assert "MONAI" in peers.augment(size_px=48, repeats=1).rows[-1].plain


def test_the_gpu_s_rows_are_named_where_they_were_not_run():
    page = pages.page([])
    (line,) = [text for text in page.splitlines() if text.startswith("On cuda: not run: ")]
    assert line.count("training step, ") == 12
    for work in cuda.WORKS:
        assert work in line


def test_rows_that_a_cut_off_benchmark_lacks_are_named(tmp_path):
    first, second, *others = cuda.WORKS
    found = Benchmark([Timed(first, 1.0)], [f"{second}: not run: too large"])
    record = benchmark_record("train", "cuda:1", found)
    write_benchmark(tmp_path / "benchmarks" / "train_cuda.json", record)
    page = pages.page(pages.read_benchmarks(tmp_path))
    assert f"- not run: {'; '.join(others)}\n" in page


def test_the_gpu_s_benchmark_measures_what_the_device_has():
    """Here a CPU; what is kept after each row is what there is by then, in the order of WORKS."""
    kept: list[Benchmark] = []
    found = cuda.benchmark(
        "cpu", config=TINY, repeats=1, ways=("none", "cuda_graph"), so_far=kept.append
    )
    names = [row.work for row in found.rows]
    assert names == [work for work in cuda.WORKS if "eager" in work]
    assert all(row.ratio and row.share_of_limit for row in found.rows if "step" in row.work)
    assert sum("not run: compile = 'cuda_graph'" in note for note in found.notes) == 8
    missing = [note.partition(": not run: ")[0] for note in found.notes if "not run" in note]
    assert sorted([*names, *missing]) == sorted(w for w in cuda.WORKS if "compiled" not in w)
    assert len(kept) == len(names) + len(missing)
    assert kept[-1] == found
    found = cuda.benchmark("cpu", config=TINY, repeats=1, ways=("none",), precisions=("float32",))
    works = [row.work for row in found.rows if "step" in row.work]
    assert works == ["training step, float32, eager"]


@pytest.mark.parametrize(
    ("part", "device", "options", "words"),
    [
        ("train", "cpu", {"ways": ["none", "compile"]}, "--ways none compile: .* 'train' on cpu"),
        ("metrics", "cuda", {"precisions": ["tf32"]}, "--precisions tf32: .* 'metrics' on cuda"),
    ],
)
def test_choices_of_the_gpu_s_benchmark_are_refused_elsewhere(part, device, options, words):
    with pytest.raises(ValueError, match=words):
        benchmarks.run(part, device, **options)


def test_what_the_gpu_s_benchmark_has_measured_is_on_disk_when_it_is_killed(tmp_path, monkeypatch):
    def killed(device, *, so_far, **_):
        so_far(Benchmark([ROW], []))
        raise KeyboardInterrupt

    monkeypatch.setattr(cuda, "benchmark", killed)
    with pytest.raises(KeyboardInterrupt):
        benchmarks.run("train", "cuda", tmp_path / "train_cuda.json")
    assert json.loads((tmp_path / "train_cuda.json").read_text())["rows"][0]["work"] == ROW.work


def test_the_fastest_way_is_said():
    times = {"none": 2.0, "cuda_graph": 1.0, "compile": 1.5}
    rows = [Timed(cuda.step_name("tf32", way), times[way]) for way in times]
    assert cuda._fastest(rows) == [
        "tf32: the fastest way is CUDA graph (the others take 2.00 × eager, 1.50 × compiled)."
    ]
