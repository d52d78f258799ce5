"""What an ablation's records say: paired differences from the baseline, with intervals.

A pair is an arm and the baseline with the same fold and the same seed: the same images, the same
sequence of samples, the same number of steps. On a cell tracking set a fold is a direction: 1 is
trained on sequence 01 and scored on 02, 2 the other way round. Nothing is trained here.
"""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import DegenerateDataWarning, bootstrap

from unet2015.data.cell_tracking import RELEASES
from unet2015.reports import records
from unet2015.reports.records import Record
from unet2015.training.history import DEAD_START_AFTER_STEPS

BASELINE = "baseline"
"""The name of the arm that all others are compared with."""
FINISHED, DIVERGED, FAILED = "finished", "diverged", "failed"
"""Outcomes of a run. A failed one (memory, disk, …) is done again by the next command; the others
are not, they would end the same way."""
EM_METRICS = {
    "warping_error": ("warping error", 6, -1),
    "rand_error": ("Rand error", 4, -1),
    "pixel_error": ("pixel error", 4, -1),
    "warping_error_guarded": ("guarded warping error", 6, -1),
    "v_rand_thinned": ("V^Rand", 4, 1),
    "v_info_thinned": ("V^Info", 4, 1),
}
"""Name in words, decimals, and the sign of an improvement; the paper's three come first."""
CELL_METRICS = {
    "seg": ("SEG", 4, 1),
    "foreground_iou": ("foreground IoU", 4, 1),
    "merged_share": ("share of merged cells", 4, -1),
}
"""The same for the cell tracking sets; SEG is the paper's (Table 2, "IOU")."""
METRICS = EM_METRICS | CELL_METRICS


def metrics_of(dataset: str) -> dict[str, tuple[str, int, int]]:
    """The metrics in which arms are compared on a data set, of METRICS."""
    return CELL_METRICS if dataset in RELEASES else EM_METRICS


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval of a mean, or why there is none."""

    low: float | None
    high: float | None
    note: str = ""
    """'' for BCa; else what it is instead."""

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Difference:
    """An arm's differences from the baseline in one metric, one for each (fold, seed)."""

    metric: str
    pairs: Mapping[tuple[int, int], float]
    """(fold, seed) → arm − baseline."""
    interval: Interval

    @property
    def mean(self) -> float | None:
        return fmean(self.pairs.values()) if self.pairs else None

    @property
    def verdict(self) -> str:
        """'better' or 'worse' where the interval excludes zero, else 'open'."""
        if self.mean is None or not self.interval.excludes_zero:
            return "open"
        return "better" if self.mean * METRICS[self.metric][2] > 0 else "worse"


@dataclass(frozen=True)
class Arm:
    """All runs of one arm in a section."""

    name: str
    runs: pd.DataFrame
    """The newest of each (fold, seed), in this order."""
    differences: tuple[Difference, ...]
    """One per metric; empty for the baseline."""

    def count(self, outcome: str) -> int:
        return len(records.where(self.runs, outcome=outcome))

    @property
    def dead_starts(self) -> int:
        """Runs that predicted one class only for DEAD_START_AFTER_STEPS steps, or to their end."""
        return sum(
            run["training.dead_start_steps"] >= min(DEAD_START_AFTER_STEPS, run["training.steps"])
            for run in records.where(self.runs, outcome=FINISHED).to_dict("records")
        )

    def difference(self, metric: str) -> Difference:
        (found,) = (each for each in self.differences if each.metric == metric)
        return found

    @property
    def pairs(self) -> int:
        """(fold, seed) with which both the arm and the baseline finished."""
        return max((len(difference.pairs) for difference in self.differences), default=0)


@dataclass(frozen=True)
class Section:
    """The arms that are compared with one baseline: one preset, data set and protocol."""

    preset: str
    dataset: str
    baseline_hash: str
    baseline: Arm
    arms: tuple[Arm, ...]

    @property
    def config(self) -> dict[str, Any]:
        """The settings of the baseline."""
        return self.baseline.runs["config"].iloc[0]

    @property
    def steps(self) -> int:
        return self.config["training"]["steps"]


def of_several_lengths(found: Iterable[Section]) -> list[list[Section]]:
    """The sections whose baselines differ in their number of steps alone, the shortest first.

    Only where there are several lengths with an arm; the newest of each, as `sections` gives them.
    """
    alike: dict[str, dict[int, Section]] = {}
    for section in found:
        if section.arms:
            training = section.config["training"] | {"steps": None}
            shared = section.config | {"training": training}
            key = json.dumps([section.preset, section.dataset, shared], sort_keys=True)
            alike.setdefault(key, {}).setdefault(section.steps, section)
    return [[each[n] for n in sorted(each)] for each in alike.values() if len(each) > 1]


def sections(found: Sequence[Record]) -> list[Section]:
    """The records of ablations, sorted into sections of arms that may be compared.

    Of several records of one arm, fold and seed the newest counts. Presets in the order quick,
    paper, others; of one preset the newest baseline first. Raises ValueError for arms without a
    baseline record, and for a section of different data. Its commits may differ, since a set of
    runs may take weeks; the page names them.
    """
    one_table = ("preset", "dataset", "baseline_hash", "scores_protocol")
    table = records.tidy(found)
    if not table.empty:
        table = records.newest(table, *one_table, "arm", "fold", "seed")
    return [_section(group) for group in records.groups(table, *one_table)]


def data_sets(hashes: Iterable[Mapping[str, str]]) -> int:
    """On how many different data, by their hashes, runs were made.

    >>> data_sets([{"a.tif": "00"}, {"a.tif": "ff"}])
    2
    """
    return len({tuple(sorted(each.items())) for each in hashes})


def refuse_other_data(
    found: Sequence[Record], hashes: Mapping[str, str], table: tuple[str, str, str]
) -> None:
    """Refuse, before a run, what its table would refuse after it: see `sections`.

    hashes: of the data of the runs to come. table: their preset, data set and baseline's hash.
    Raises ValueError naming the table.
    """
    keys = ("preset", "dataset", "baseline_hash")
    old = [r["data_hashes"] for r in found if tuple(r[key] for key in keys) == table]
    if data_sets([*old, hashes]) > 1:
        raise ValueError(
            f"records of preset {table[0]} on {table[1]} are there that were made on other data; "
            "move them out of results/runs, or give another --results"
        )


def _section(table: pd.DataFrame) -> Section:
    preset, dataset, baseline_hash = table[["preset", "dataset", "baseline_hash"]].iloc[0]
    where = f"ablations on {dataset}, preset {preset}"
    if (count := data_sets(table["data_hashes"])) > 1:
        raise ValueError(
            f"{where}: records of one table are of different data ({count} sets of hashes); move "
            "those of the data that are not meant out of results/runs"
        )
    for run in table.to_dict("records"):
        if run["outcome"] == FINISHED and run["curve"] is None:
            raise ValueError(f"{run['name']}: finished, but a record without its curve")
    by_arm = {str(arm): runs for arm, runs in table.sort_values(["fold", "seed"]).groupby("arm")}
    if BASELINE not in by_arm:
        raise ValueError(
            f"{where}: no baseline record for {', '.join(by_arm)} (baseline {baseline_hash}); run "
            "python reproduce/ablations.py, which runs the baseline too"
        )
    base = by_arm.pop(BASELINE)
    arms = [
        Arm(name, runs, tuple(difference(runs, base, m) for m in metrics_of(dataset)))
        for name, runs in by_arm.items()
    ]
    return Section(preset, dataset, baseline_hash, Arm(BASELINE, base, ()), tuple(arms))


def scores(runs: pd.DataFrame, metric: str) -> dict[tuple[int, int], float]:
    """(fold, seed) → one figure of each run that has it; only finished ones have scores."""
    return {
        (run["fold"], run["seed"]): value
        for run in runs.to_dict("records")
        if (value := run.get(f"scores.{metric}.value")) is not None
    }


def difference(runs: pd.DataFrame, baseline: pd.DataFrame, metric: str) -> Difference:
    """The paired differences arm − baseline in one metric, by (fold, seed)."""
    ours, theirs = scores(runs, metric), scores(baseline, metric)
    pairs = {pair: ours[pair] - theirs[pair] for pair in ours if pair in theirs}
    return Difference(metric, pairs, interval(list(pairs.values())))


def interval(values: Sequence[float]) -> Interval:
    """The 95 % bootstrap interval of the mean of paired differences (Efron's BCa).

    Where BCa is not defined, the percentile interval, with a note. Fewer than three values have no
    interval, nor have values that are all equal: every resample of them has the same mean. With
    four values there are only 35 different resamples, so that the interval, which never reaches
    beyond the smallest and the largest value, is too narrow. Seeded: the same values give the same
    interval. Source: `scipy.stats.bootstrap` with its 9999 resamples; the seed is our choice.

    >>> interval([0.5])
    Interval(low=None, high=None, note='too few pairs')
    """
    if len(values) < 3:  # of two the interval would be the two themselves (our choice)
        return Interval(None, None, "too few pairs")
    if len(set(values)) == 1:
        return Interval(None, None, "all differences are equal")
    for method, note in (("BCa", ""), ("percentile", "percentile")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateDataWarning)  # seen below, as NaN
            rng = np.random.default_rng(0)
            found = bootstrap((values,), np.mean, method=method, rng=rng).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            return Interval(float(found.low), float(found.high), note)
    return Interval(None, None, "the differences are too nearly equal")
