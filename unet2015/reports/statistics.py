"""What an ablation's records say: paired differences from the baseline, with intervals.

A pair is an arm and the baseline with the same fold and the same seed: the same images, the same
sequence of samples, the same number of steps. On a cell tracking set a fold is a direction: 1 is
trained on sequence 01 and scored on 02, 2 the other way round. Nothing is trained here.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap

from unet2015.data.cell_tracking import RELEASES
from unet2015.reports.words import commit_in_words
from unet2015.training.history import DEAD_START_AFTER_STEPS

Record = Mapping[str, Any]

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
CONFIDENCE, RESAMPLES, BOOTSTRAP_SEED = 0.95, 9999, 0
"""Of the bootstrap; the last two are our choice (SciPy's default, and the first seed there is)."""
FEWEST_PAIRS = 3
"""With two values the interval would be the two themselves (our choice)."""


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
    pairs: tuple[tuple[int, int], ...]
    values: tuple[float, ...]
    interval: Interval

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def better(self) -> int:
        """Pairs in which the arm is better than the baseline."""
        return sum(value * METRICS[self.metric][2] > 0 for value in self.values)

    @property
    def verdict(self) -> str:
        """'better' or 'worse' where the interval excludes zero, else 'open'."""
        if not self.interval.excludes_zero:
            return "open"
        assert self.mean is not None
        return "better" if self.mean * METRICS[self.metric][2] > 0 else "worse"


@dataclass(frozen=True)
class Arm:
    """All runs of one arm in a section."""

    name: str
    runs: tuple[Record, ...]
    """The newest record of each (fold, seed), in this order."""
    differences: tuple[Difference, ...]
    """One per metric; empty for the baseline."""

    @property
    def question(self) -> str:
        return str(self.runs[0]["question"])

    def count(self, outcome: str) -> int:
        return sum(run["outcome"] == outcome for run in self.runs)

    @property
    def dead_starts(self) -> int:
        return sum(map(dead_start, self.runs))

    def scores(self, metric: str) -> list[float]:
        """The metric of each finished run that has it."""
        found = [score(run, metric) for run in self.runs]
        return [value for value in found if value is not None]

    @property
    def pairs(self) -> int:
        """(fold, seed) with which both the arm and the baseline finished."""
        return max((len(difference.values) for difference in self.differences), default=0)


@dataclass(frozen=True)
class Section:
    """The arms that are compared with one baseline: one preset, data set and protocol."""

    preset: str
    dataset: str
    baseline_hash: str
    protocol: str
    baseline: Arm
    arms: tuple[Arm, ...]

    @property
    def runs(self) -> list[Record]:
        return [run for arm in (self.baseline, *self.arms) for run in arm.runs]

    @property
    def commits(self) -> dict[str, int]:
        """How many of the runs each commit has made, by its name in words."""
        return dict(sorted(Counter(map(commit_in_words, self.runs)).items()))


def sections(records: Sequence[Record]) -> list[Section]:
    """The records of ablations, sorted into sections of arms that may be compared.

    Of several records of one arm, fold and seed the newest counts. Presets in the order quick,
    paper, others; of one preset the newest baseline first. Raises ValueError for arms without a
    baseline record, and for a section of different data. Its commits may differ, since a set of
    runs may take weeks; the page names them.
    """
    groups: dict[tuple[str, str, str, str], dict[tuple[str, int, int], Record]] = {}
    for record in sorted(records, key=_age):
        key = (record["preset"], record["dataset"], record["baseline_hash"])
        group = groups.setdefault((*key, record["scores_protocol"]), {})
        group[record["arm"], record["fold"], record["seed"]] = record
    found = [_section(key, list(group.values())) for key, group in groups.items()]
    for section in found:
        if (count := data_sets(section.runs)) > 1:
            raise ValueError(
                f"ablations on {section.dataset}, preset {section.preset}: records of one table "
                f"are of different data ({count} sets of hashes); move those of the data that are "
                "not meant out of results/runs"
            )
    found.sort(key=lambda section: max(map(_age, section.runs)), reverse=True)
    return sorted(found, key=lambda section: _preset_order(section.preset))


def data_sets(runs: Sequence[Record]) -> int:
    """On how many different data, by their hashes, runs were made.

    >>> data_sets([{"data_hashes": {"a.tif": "00"}}, {"data_hashes": {"a.tif": "ff"}}])
    2
    """
    return len({tuple(sorted(run["data_hashes"].items())) for run in runs})


def refuse_other_data(
    records: Sequence[Record], hashes: Mapping[str, str], table: tuple[str, str, str]
) -> None:
    """Refuse, before a run, what its table would refuse after it: see `sections`.

    hashes: of the data of the runs to come. table: their preset, data set and baseline's hash.
    Raises ValueError naming the table.
    """
    keys = ("preset", "dataset", "baseline_hash")
    old = [record for record in records if tuple(record[key] for key in keys) == table]
    if data_sets([*old, {"data_hashes": hashes}]) > 1:
        raise ValueError(
            f"records of preset {table[0]} on {table[1]} are there that were made on other data; "
            "move them out of results/runs, or give another --results"
        )


def _age(record: Record) -> tuple[str, str]:
    return record["started"], record["name"]


def _preset_order(preset: str) -> tuple[int, str]:
    return {"quick": 0, "paper": 1}.get(preset, 2), preset


def _section(key: tuple[str, str, str, str], records: Sequence[Record]) -> Section:
    by_arm: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record["fold"], record["seed"])):
        by_arm.setdefault(record["arm"], []).append(record)
    if BASELINE not in by_arm:
        raise ValueError(
            f"ablations on {key[1]}, preset {key[0]}: no baseline record for "
            f"{', '.join(sorted(by_arm))} (baseline {key[2]}); run python reproduce/ablations.py, "
            "which runs the baseline too"
        )
    base = by_arm.pop(BASELINE)
    arms = [
        Arm(name, tuple(runs), tuple(difference(runs, base, m) for m in metrics_of(key[1])))
        for name, runs in sorted(by_arm.items())
    ]
    return Section(*key, baseline=Arm(BASELINE, tuple(base), ()), arms=tuple(arms))


def score(run: Record, metric: str) -> float | None:
    """One figure of a run; None if it did not finish or no threshold qualified."""
    return run["scores"][metric]["value"] if run["outcome"] == FINISHED else None


def dead_start(run: Record) -> bool:
    """Whether a run predicted one class only for DEAD_START_AFTER_STEPS steps, or to its end."""
    training = run["training"]
    if training is None:
        return False
    return training["dead_start_steps"] >= min(DEAD_START_AFTER_STEPS, training["steps"])


def difference(runs: Sequence[Record], baseline: Sequence[Record], metric: str) -> Difference:
    """The paired differences arm − baseline in one metric, by (fold, seed)."""
    before = {(run["fold"], run["seed"]): score(run, metric) for run in baseline}
    pairs, values = [], []
    for run in runs:
        pair = (run["fold"], run["seed"])
        ours, theirs = score(run, metric), before.get(pair)
        if ours is not None and theirs is not None:
            pairs.append(pair)
            values.append(ours - theirs)
    return Difference(metric, tuple(pairs), tuple(values), interval(values))


def interval(values: Sequence[float], *, seed: int = BOOTSTRAP_SEED) -> Interval:
    """The 95 % bootstrap interval of the mean of paired differences (Efron's BCa).

    Where BCa is not defined, the percentile interval, with a note. Fewer than three values have no
    interval, nor have values that are all equal: every resample of them has the same mean. With
    four values there are only 35 different resamples, so that the interval, which never reaches
    beyond the smallest and the largest value, is too narrow. Seeded: the same values give the same
    interval. Source: `scipy.stats.bootstrap`.

    >>> interval([0.5])
    Interval(low=None, high=None, note='too few pairs')
    """
    if len(values) < FEWEST_PAIRS:
        return Interval(None, None, "too few pairs")
    if len(set(values)) == 1:
        return Interval(None, None, "all differences are equal")
    for method, note in (("BCa", ""), ("percentile", "percentile")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateDataWarning)  # seen below, as NaN
            found = bootstrap(
                (np.asarray(values),),
                np.mean,
                confidence_level=CONFIDENCE,
                n_resamples=RESAMPLES,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            return Interval(float(found.low), float(found.high), note)
    return Interval(None, None, "the differences are too nearly equal")
