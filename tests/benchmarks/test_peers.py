"""Peers do the same work as we do, and one that is missing is named."""

import numpy as np
import pytest

from tests.benchmarks.test_benchmarks import TINY
from unet2015.benchmarks import cuda, peers
from unet2015.benchmarks.pages import benchmarks_page
from unet2015.deformation import random_displacement


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


def test_what_is_missing_is_named_and_the_others_are_measured(monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda package: None)
    found = peers.augment(size_px=48, repeats=1)
    assert [row.plain.split()[0].rstrip(":") for row in found.rows] == [
        "elasticdeform",
        "scikit-image",
    ]
    assert all(row.ratio for row in found.rows)
    assert "monai: not installed: pip install monai" in found.notes
    none = peers.predict("cpu", config=TINY, size_px=48)
    assert (none.rows, none.notes) == ([], ["monai: not installed: pip install monai"])


def test_other_work_is_no_comparison(monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda package: None)
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
    page = benchmarks_page([])
    (line,) = [text for text in page.splitlines() if text.startswith("On cuda: not run: ")]
    assert line.count("training step, ") == 9
    for work in cuda.WORKS:
        assert work in line


def test_the_gpu_s_benchmark_measures_what_the_device_has():
    found = cuda.benchmark("cpu", config=TINY, repeats=1, ways=("none", "cuda_graph"))
    names = [row.work for row in found.rows]
    assert names == [work for work in cuda.WORKS if "eager" in work or "tile" in work]
    assert all(row.ratio and row.share_of_limit for row in found.rows[:3])
    assert sum("not run: compile = 'cuda_graph'" in note for note in found.notes) == 3


def test_the_fastest_way_is_said():
    said = cuda._fastest("tf32", {"eager": 2.0, "CUDA graph": 1.0, "compiled": 1.5})
    assert said == (
        "tf32: the fastest way is CUDA graph (the others take 2.00 × eager, 1.50 × compiled)."
    )
