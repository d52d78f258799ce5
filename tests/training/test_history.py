"""The rows of a run's history, its file, and the warning of a dead start."""

import csv

import numpy as np
import pytest

from tests.tiny import contents
from unet2015.training.history import (
    COLUMNS,
    DEAD_START_AFTER_STEPS,
    EVERY_STEPS,
    HISTORY,
    Row,
    dead_start_steps,
    dead_start_warning,
    history_row,
    restore_history,
    row_due,
    write_history,
)


def rows(*cell_fractions: float) -> list[Row]:
    """A history with these shares of predicted cell, one row every EVERY_STEPS steps."""
    return [
        history_row((n + 1) * EVERY_STEPS, [[0.5, share, 0.78]], 0.1)
        for n, share in enumerate(cell_fractions)
    ]


def warnings(history: list[Row]) -> list[int]:
    """The steps after which a growing history warns."""
    return [
        int(history[n - 1]["step"])
        for n in range(1, len(history) + 1)
        if dead_start_warning(history[:n])
    ]


def test_rows_end_at_multiples_and_with_the_last_step():
    assert [step for step in range(1, 48) if row_due(step, 47)] == [20, 40, 47]


def test_a_row_is_the_mean_over_its_steps():
    measured = np.random.default_rng(0).random((7, 3))
    row = history_row(140, measured.tolist(), 0.25)
    assert tuple(row) == COLUMNS
    loss, cells, right = measured.mean(axis=0)
    assert list(row.values()) == pytest.approx([140, loss, 0.25, cells, right], rel=1e-12)


def test_the_file_holds_every_row_with_nine_digits(tmp_path):
    history = [history_row(20, [[1 / 3, 0.5, 1.0]], 1e-7), history_row(40, [[2e-5, 0, 1]], 0.1)]
    write_history(tmp_path, history)
    assert (tmp_path / HISTORY).read_text() == (
        "step,loss,learning_rate,cell_fraction,accuracy\n"
        "20,0.333333333,1e-07,0.5,1\n"
        "40,2e-05,0.1,0,1\n"
    )
    write_history(tmp_path, history[:1])
    with (tmp_path / HISTORY).open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["20"]
    assert list(contents(tmp_path)) == [HISTORY]


def test_a_file_that_was_changed_is_written_anew_and_told(tmp_path, capsys):
    history = [history_row(20, [[1 / 3, 0.5, 1.0]], 1e-7)]
    restore_history(tmp_path, history)
    right = contents(tmp_path)
    restore_history(tmp_path, history)
    assert contents(tmp_path) == right
    assert capsys.readouterr().err == ""
    for damage in (b"", right[HISTORY][0].replace(b"0.5", b"0.6"), right[HISTORY][0][:-1], b"\xff"):
        (tmp_path / HISTORY).write_bytes(damage)
        restore_history(tmp_path, history)
        assert (tmp_path / HISTORY).read_bytes() == right[HISTORY][0]
        assert f"{tmp_path / HISTORY}: was changed since the training" in capsys.readouterr().err


@pytest.mark.parametrize("constant", [1.0, 0.0005])
def test_a_dead_start_is_warned_about_once(constant):
    history = rows(*[constant] * 40)
    assert dead_start_steps(history) == 800
    assert warnings(history) == [DEAD_START_AFTER_STEPS]
    message = dead_start_warning(history[:15])
    assert message is not None
    assert "After 300 steps every pixel" in message
    assert ("as cell" if constant > 0.5 else "as membrane or background") in message
    assert "(accuracy 0.78)" in message
    assert "--seed" in message


@pytest.mark.parametrize(
    ("history", "steps"),
    [
        (rows(), 0),
        (rows(*[0.8] * 30), 0),
        (rows(0.8, *[1.0] * 30), 0),  # a network that saw both classes once did start
        (rows(*[1.0] * 14, 0.9, *[1.0] * 20), 280),
        (rows(*[1.0] * 20, *[0.8] * 10), 400),
    ],
    ids=["no rows", "both classes", "constant later", "recovered in time", "recovered late"],
)
def test_only_a_run_that_did_not_start_in_time_is_warned_about(history, steps):
    assert dead_start_steps(history) == steps
    assert warnings(history) == ([300] if steps > 300 else [])
