"""The statistics of the ablations: pairs, intervals, and what may share a table."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm

from tests.reports.ablation_records import ablation_record, grid
from unet2015.reports.statistics import (
    EM_METRICS,
    Interval,
    interval,
    metrics_of,
    sections,
)


def bca_by_hand(values: list[float]) -> tuple[float, float]:
    """Efron's BCa interval of the mean over every possible resample, from the textbook."""
    data = np.array(values)
    means = np.array([np.mean(resample) for resample in product(data, repeat=len(data))])
    below = (np.sum(means < data.mean()) + np.sum(means <= data.mean())) / (2 * len(means))
    jackknife = np.array([np.delete(data, k).mean() for k in range(len(data))])
    deviation = jackknife.mean() - jackknife
    acceleration = np.sum(deviation**3) / (6 * np.sum(deviation**2) ** 1.5)
    bounds = []
    for tail in (0.025, 0.975):
        shifted = norm.ppf(below) + norm.ppf(tail)
        level = norm.cdf(norm.ppf(below) + shifted / (1 - acceleration * shifted))
        bounds.append(float(np.quantile(means, level)))
    return bounds[0], bounds[1]


@pytest.mark.parametrize(
    "values", [[0.1, 0.25, -0.05, 0.4], [1.0, 1.0, 1.0, 2.0], [-3.0, 0.5, 0.6, 0.7, 0.9]]
)
def test_the_interval_is_efrons(values):
    found = interval(values)
    low, high = bca_by_hand(values)
    spread = max(values) - min(values)
    # ours draws 9999 resamples, the other has all; neighbouring means are this far apart
    assert found.low == pytest.approx(low, abs=0.13 * spread)
    assert found.high == pytest.approx(high, abs=0.13 * spread)
    assert found.note == ""
    assert interval(values) == found  # seeded


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [0.5] * 4])
def test_no_interval_where_resampling_says_nothing(values):
    found = interval(values)
    assert (found.low, found.high) == (None, None)
    assert found.note
    assert not found.excludes_zero


@pytest.mark.parametrize(
    ("low", "high", "excludes"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False)],
)
def test_excluding_zero(low, high, excludes):
    assert Interval(low, high).excludes_zero is excludes


def test_how_often_an_interval_excludes_zero_by_chance():
    """As the page says: in about a quarter of the comparisons of four pairs, an eighth of eight."""
    rng = np.random.default_rng(1)
    shares = [
        np.mean([interval(list(rng.normal(size=pairs))).excludes_zero for _ in range(150)])
        for pairs in (4, 8)
    ]
    assert shares[0] == pytest.approx(0.23, abs=0.08)
    assert shares[1] == pytest.approx(0.12, abs=0.07)


def arm_of(section, name="gelu"):
    (found,) = (arm for arm in section.arms if arm.name == name)
    return {difference.metric: difference for difference in found.differences}


def test_differences_are_paired_by_fold_and_seed():
    base = [ablation_record("baseline", f, s, rand=f + 10 * s) for f in (1, 4) for s in (0, 1)]
    arm = [ablation_record("gelu", f, s, rand=f + 10 * s - 0.5) for s in (1, 0) for f in (4, 1)]
    found = arm_of(*sections(base + arm))["rand_error"]
    assert list(found.pairs) == [(1, 0), (1, 1), (4, 0), (4, 1)]
    assert list(found.pairs.values()) == pytest.approx([-0.5] * 4)
    assert found.mean == pytest.approx(-0.5)
    # all the same: nothing to resample
    assert found.verdict == "open"


def test_a_run_without_scores_is_in_no_pair_but_counted():
    records = grid(("gelu",))
    records[-1] = ablation_record("gelu", 4, 1, outcome="diverged")
    (section,) = sections(records)
    (arm,) = section.arms
    assert (len(arm.runs), arm.count("diverged"), arm.pairs) == (4, 1, 3)
    records[-2]["scores"]["warping_error_guarded"]["value"] = None
    assert len(arm_of(*sections(records))["warping_error_guarded"].pairs) == 2


def test_higher_is_better_for_v_rand_only():
    better = {name for name, (_, _, sign) in EM_METRICS.items() if sign > 0}
    assert better == {"v_rand_thinned", "v_info_thinned"}
    base = [ablation_record("baseline", 1, s, rand=0.3) for s in range(4)]
    arms = [
        ablation_record(arm, 1, s, rand=rand - 0.01 * s)
        for arm, rand in (("gelu", 0.2), ("silu", 0.5))
        for s in range(4)
    ]
    (section,) = sections(base + arms)
    assert {each.verdict for each in arm_of(section).values()} == {"better"}
    assert {each.verdict for each in arm_of(section, "silu").values()} == {"worse"}


@pytest.mark.parametrize("dataset", ["PhC-C2DH-U373", "DIC-C2DH-HeLa"])
def test_cells_are_compared_in_seg_iou_and_merged_cells(dataset):
    better = {name: sign for name, (_, _, sign) in metrics_of(dataset).items()}
    assert better == {"seg": 1, "foreground_iou": 1, "merged_share": -1}
    records = grid(("gelu",), folds=(1, 2), dataset=dataset) + grid(("gelu",))
    cells, em = sorted(sections(records), key=lambda section: section.dataset)
    assert [d.metric for d in em.arms[0].differences] == list(EM_METRICS)
    found = {d.metric: d for d in cells.arms[0].differences}
    assert found.keys() == better.keys()
    # the made figures of the arm are better than the baseline's, each in its own sense
    assert min(found["seg"].pairs.values()) > 0 > max(found["merged_share"].pairs.values())
    assert {d.verdict for d in found.values()} == {"better"}
    assert list(found["seg"].pairs) == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_cells_found_otherwise_share_no_section():
    records = grid(("gelu",), folds=(1, 2), dataset="DIC-C2DH-HeLa")
    other = [record | {"scores_protocol": "SEG, min30"} for record in records]
    assert len(sections([*records, *other])) == 2


@pytest.mark.parametrize(
    ("dead", "steps", "counts"), [(0, 700, 0), (299, 700, 0), (300, 700, 1), (40, 40, 1)]
)
def test_dead_starts_are_counted(dead, steps, counts):
    record = ablation_record("baseline", 1, 0)
    record["training"] |= {"dead_start_steps": dead, "steps": steps}
    (section,) = sections([record])
    assert section.baseline.dead_starts == counts


def test_the_newest_record_of_a_run_counts():
    old, new = ablation_record("baseline", 1, 0, rand=0.9), ablation_record("baseline", 1, 0)
    new |= {"started": "2027-01-01T00:00:00Z", "name": "later"}
    (section,) = sections([new, old])
    assert list(section.baseline.runs["name"]) == ["later"]


def test_records_of_other_data_share_no_table():
    records = grid(("gelu",))
    records[0] |= {"data_hashes": {"train-volume.tif": "00"}}
    with pytest.raises(ValueError, match=r"different data \(2 sets of hashes\)"):
        sections(records)


def test_no_baseline_record_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"no baseline record for gelu.*ablations\.py"):
        sections([ablation_record("gelu", 1, 0)])


def test_other_baselines_and_presets_do_not_share_a_section():
    other = ablation_record("baseline", 1, 0) | {"baseline_hash": "f" * 12, "commit": "c" * 40}
    paper = ablation_record("baseline", 1, 0) | {"preset": "paper"}
    found = sections([*grid(("gelu",)), other, paper])
    assert [(s.preset, s.baseline_hash[:1]) for s in found] == [
        ("quick", "f"),
        ("quick", "0"),
        ("paper", "0"),
    ] or len(found) == 3
    assert found[-1].preset == "paper"
