"""A plan of --minutes: how many steps fit, kept for a run that continues."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import augmented_tiles, blob_tiles, settings
from unet2015.runtime import distributed
from unet2015.studies import budget
from unet2015.studies.budget import (
    FINISH_S,
    MARGIN,
    START_S,
    Budget,
    Cost,
    Measured,
    measure,
    planned,
    planned_share,
    share_that_fits,
    steps_that_fit,
    time_steps,
)

COSTS = [Cost(0.5, 20.0), Cost(0.25, 10.0)]


def total_s(steps: int, spent_s: float, costs: list[Cost]) -> float:
    return spent_s + sum(cost.rest_s + steps * cost.step_s for cost in costs)


def test_the_planned_steps_fit_and_one_more_does_not():
    for minutes in (1.0, 2.5, 10.0):
        steps = steps_that_fit(minutes, 3.0, COSTS, warmup=5)
        within = 60 * minutes * (1 - MARGIN)
        assert total_s(steps, 3.0, COSTS) <= within < total_s(steps + 1, 3.0, COSTS)


def test_the_least_that_works_works_and_no_much_less():
    for warmup in (0, 100):
        with pytest.raises(
            ValueError, match=r"--minutes 0\.1: .*warmup_steps = .*--min"
        ) as refused:
            steps_that_fit(0.1, 3.0, COSTS, warmup)
        least = float(str(refused.value).split("works here is --minutes ")[1].split(",")[0])
        assert steps_that_fit(least, 3.0, COSTS, warmup) > warmup
        with pytest.raises(ValueError, match="is too little"):
            steps_that_fit(0.95 * least, 3.0, COSTS, warmup)


def test_a_share_is_of_the_whole_and_never_more_than_all():
    wholes = [Cost(30.0, 5.0), Cost(90.0, 5.0)]
    assert share_that_fits(100, 0.0, wholes) == 1.0
    share = share_that_fits(1, 2.0, wholes)
    assert 12 + 120 * share <= 60 * (1 - MARGIN) < 12 + 120 * (share + 0.001)
    with pytest.raises(ValueError, match=r"too little for 1% .* --minutes 0\.2"):
        share_that_fits(0.01, 0.0, wholes)


def a_plan(folder: Path, calls: list[int], *, minutes: float = 2.0, seed: int = 0, **training: Any):
    def measure_all() -> list[Cost]:
        calls.append(1)
        return COSTS

    runs = {"experiment": "test", "seed": seed}
    return planned(folder, runs, settings(**training), minutes, measure_all, began=0.0)


@pytest.fixture(autouse=True)
def three_seconds_have_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget.time, "monotonic", lambda: 3.0)


def test_a_plan_is_kept_for_the_same_runs_and_no_others(tmp_path, capsys):
    calls: list[int] = []
    config, plan = a_plan(tmp_path, calls)
    assert config == settings(steps=plan["steps"])
    assert plan["steps"] == steps_that_fit(2.0, START_S + 3.0, COSTS, 3)
    assert plan["trainings"] == 2
    assert "planned for 2 minutes" in capsys.readouterr().out
    # found again, whatever would be measured now
    assert a_plan(tmp_path, calls) == (config, plan)
    assert len(calls) == 1
    assert "planned before" in capsys.readouterr().out
    for other in ({"minutes": 3.0}, {"seed": 1}, {"learning_rate": 0.5}):
        assert a_plan(tmp_path, calls, **other)[1]["steps"] > 0
    assert len(calls) == 4


def test_a_damaged_plan_is_named_and_not_replaced(tmp_path):
    a_plan(tmp_path, [])
    (file,) = tmp_path.iterdir()
    for text in (
        "{",
        json.dumps({"plan": {}}),
        json.dumps([]),
        json.dumps({"plan": {"minutes": 2}}),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=rf"{file.name}: holds no plan of --minutes; remove"):
            a_plan(tmp_path, [])
        assert file.read_text() == text


def test_nothing_is_kept_of_a_plan_that_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match="is too little"):
        a_plan(tmp_path, [], minutes=0.1)
    with pytest.raises(ValueError, match="is too little"):
        planned_share(tmp_path, {}, 0.01, lambda: [Cost(90.0, 5.0)], began=0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.inf, math.nan])
def test_a_budget_is_a_number_of_minutes(minutes):
    with pytest.raises(ValueError, match=r"--minutes .*: must be > 0, ≤ 525600; 10, say"):
        Budget(minutes).check()


def test_a_plan_is_made_for_one_process(monkeypatch):
    Budget(5.0).check()
    monkeypatch.setattr(distributed, "count", lambda: 4)
    Budget(None).check()
    with pytest.raises(ValueError, match=r"torchrun started 4; give --training\.steps"):
        Budget(5.0).check()


def test_what_is_measured_is_what_is_done(monkeypatch):
    """Steps, prediction and scoring are done; the scoring once before, for its compilation."""
    monkeypatch.setattr(budget.time, "monotonic", iter(range(100)).__next__)
    monkeypatch.setattr(budget, "seconds_per_step", lambda *given, **way: 0.25)
    config, scored = settings(), []
    image = np.random.default_rng(0).random((1, 30, 40), np.float32)
    found = measure(config, lambda: augmented_tiles(config), image, scored.append, device="cpu")
    assert [plane.shape for plane in scored] == [(30, 40)] * 2
    assert found == Measured(0.25, 1, 1, 1)
    assert found.cost(3, scored=2) == Cost(0.25, 1 + 3 * (1 + 2) + FINISH_S)


def test_what_only_predicts_counts_for_its_prediction_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(budget.time, "monotonic", iter(range(100)).__next__)
    monkeypatch.setattr(budget, "seconds_per_step", None)
    image = np.random.default_rng(0).random((1, 30, 40), np.float32)
    found = measure(settings(), None, image, len, device="cpu")
    assert found == Measured(0.0, 0.0, 1, 1)
    monkeypatch.setattr(budget.time, "monotonic", lambda: 3.0)
    costs = [Cost(0.5, 1.0), Cost(0.0, 2.0)]
    _, plan = planned(tmp_path, {}, settings(), 2.0, lambda: costs, began=0.0)
    assert (plan["seconds_per_step"], plan["trainings"]) == (0.5, 1)


def test_compiled_ways_are_compiled_for_every_training(monkeypatch):
    monkeypatch.setattr(budget.time, "monotonic", iter(range(100)).__next__)
    monkeypatch.setattr(budget, "seconds_per_step", lambda *given, **way: 0.25)
    tiles = blob_tiles(settings(), 1)
    assert time_steps(settings(), tiles, compile="compile") == (0.25, 1)
    assert time_steps(settings(), tiles, compile="cuda_graph") == (0.25, 0)
