"""A run that is cut off and continued ends bit-identical to one that was not."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from tests.tiny import (
    NEVER,
    augmented_tiles,
    blob_tiles,
    contents,
    cut_off,
    quietly,
    same_weights,
    settings,
)
from unet2015.runtime.signals import ASKING
from unet2015.training import loop as training
from unet2015.training.checkpoint import CURRENT, PREVIOUS, TIME, WEIGHTS, load_checkpoint
from unet2015.training.history import HISTORY
from unet2015.training.loop import SETTINGS, TrainingStopped


@pytest.fixture
def rows_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the history every three steps: at 3, 6, and at the last, 8."""
    monkeypatch.setattr("unet2015.training.history.EVERY_STEPS", 3)


# 3 and 6 end a row of the history, 4 and 7 begin one, 5 is in the middle, 8 is the last step
@pytest.mark.parametrize(
    ("cuts", "workers", "optimizer"),
    [
        ([3], 0, {"optimizer": "sgd"}),
        ([4], 2, {"optimizer": "adam", "learning_rate": 0.01}),
        ([5], 2, {"optimizer": "adam", "precision": "bfloat16"}),
        ([8], 0, {"optimizer": "adam", "learning_rate": 0.01}),
        ([2, 3, 6, 7], 2, {"optimizer": "sgd"}),
    ],
    ids=str,
)
def test_an_interrupted_run_ends_bit_identical(tmp_path, rows_of_three, cuts, workers, optimizer):
    config = settings(batch_size=2, **optimizer)
    assert config.model.dropout > 0
    tiles = augmented_tiles(config)
    whole = quietly(config, tiles, tmp_path / "whole", checkpoint_every_s=NEVER)
    for step in cuts:
        cut_off(step, config, tiles, tmp_path / "cut", workers=workers)
        assert load_checkpoint(tmp_path / "cut").step == step
    continued = quietly(config, tiles, tmp_path / "cut", workers=workers)
    assert same_weights(continued, whole)
    assert continued.history == whole.history
    histories = [(tmp_path / name / HISTORY).read_bytes() for name in ("cut", "whole")]
    assert histories[0] == histories[1]
    states = [load_checkpoint(tmp_path / name / CURRENT) for name in ("cut", "whole")]
    assert states[0].optimizer.keys() == states[1].optimizer.keys()
    for name, tensor in states[0].optimizer.items():
        assert torch.equal(tensor, states[1].optimizer[name])


def test_equal_runs_leave_equal_files(tmp_path, rows_of_three):
    config = settings(batch_size=2)
    for name in ("one", "other"):
        quietly(config, augmented_tiles(config), tmp_path / name)
    # how long it took is all that differs, and stands in files of its own
    differing = [WEIGHTS, HISTORY, SETTINGS]
    one, other = ([(tmp_path / n / f).read_bytes() for f in differing] for n in ("one", "other"))
    assert one == other


def test_a_finished_run_that_lost_its_time_takes_it_from_the_last_state(tmp_path, capsys):
    config = settings()
    whole = quietly(config, blob_tiles(config), tmp_path)
    weights = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / TIME).unlink()
    again = quietly(config, blob_tiles(config), tmp_path)
    assert "training-time.json: damaged or missing" in capsys.readouterr().err
    assert again.seconds == pytest.approx(whole.seconds, abs=0.5)
    assert (tmp_path / WEIGHTS).read_bytes() == weights
    assert (tmp_path / TIME).exists()


def test_weights_that_lost_their_time_and_every_state_are_still_the_result(tmp_path, capsys):
    config = settings()
    whole = quietly(config, blob_tiles(config), tmp_path)
    for name in (TIME, CURRENT, PREVIOUS):
        (tmp_path / name).unlink()
    again = quietly(config, blob_tiles(config), tmp_path)
    assert "how long the training took; 0 s are recorded" in capsys.readouterr().err
    assert same_weights(again, whole)
    assert again.seconds == 0


def test_what_was_changed_in_the_history_of_a_finished_run_is_put_right(tmp_path, capsys):
    config = settings()
    quietly(config, blob_tiles(config), tmp_path)
    right = (tmp_path / HISTORY).read_bytes()
    (tmp_path / HISTORY).write_bytes(right.replace(b"8,", b"9,"))
    quietly(config, blob_tiles(config), tmp_path)
    assert (tmp_path / HISTORY).read_bytes() == right
    assert "was changed since the training" in capsys.readouterr().err


@pytest.mark.parametrize(("precision", "told"), [("bfloat16", True), ("float32", False)])
def test_other_threads_are_told_where_bits_depend_on_them(tmp_path, capsys, precision, told):
    config = settings(precision=precision)
    before = torch.get_num_threads()
    cut_off(3, config, blob_tiles(config), tmp_path)
    torch.set_num_threads(before + 1)
    try:
        quietly(config, blob_tiles(config), tmp_path)
    finally:
        torch.set_num_threads(before)
    expected = f"trained with {before} thread(s) so far, and with {before + 1} from here on"
    assert (expected in capsys.readouterr().err) == told


def test_a_run_that_saved_nothing_yet_starts_again(tmp_path):
    config = settings()
    whole = quietly(config, blob_tiles(config), tmp_path / "whole")
    cut_off(5, config, blob_tiles(config), tmp_path / "cut", checkpoint_every_s=NEVER)
    assert contents(tmp_path / "cut") == {}
    assert same_weights(quietly(config, blob_tiles(config), tmp_path / "cut"), whole)


def test_a_damaged_state_falls_back_on_the_one_before(tmp_path, capsys, rows_of_three):
    config, tiles = settings(optimizer="adam"), blob_tiles(settings())
    whole = quietly(config, tiles, tmp_path / "whole")
    cut_off(6, config, tiles, tmp_path / "cut")
    state = bytearray((tmp_path / "cut" / CURRENT).read_bytes())
    state[-1] ^= 1
    (tmp_path / "cut" / CURRENT).write_bytes(state)
    histories: list[list[str]] = []

    def look(_: int) -> None:
        histories.append((tmp_path / "cut" / HISTORY).read_text().splitlines())

    continued = quietly(config, tiles, tmp_path / "cut", on_step=look, checkpoint_every_s=NEVER)
    # the row of step 6 was taken back with that step
    assert [len(lines) for lines in histories] == [2, 2, 4]
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {tmp_path / 'cut' / CURRENT}: damaged")
    assert same_weights(continued, whole)
    assert histories[-1] == (tmp_path / "whole" / HISTORY).read_text().splitlines()


@pytest.mark.parametrize("asked", ASKING)
def test_a_signal_stops_after_a_whole_step_that_is_saved(tmp_path, capsys, asked):
    config, tiles = settings(), blob_tiles(settings())
    whole = quietly(config, tiles, tmp_path / "whole")
    before = signal.getsignal(asked)

    def ask(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), asked)

    with pytest.raises(TrainingStopped, match=f"stopped by {asked.name} after step 4 of 8") as end:
        quietly(config, tiles, tmp_path / "cut", on_step=ask, checkpoint_every_s=NEVER, workers=2)
    assert str(tmp_path / "cut" / CURRENT) in str(end.value)
    said = capsys.readouterr().err
    assert "\nstopping after this step; again: at once, without saving\n" in said
    assert load_checkpoint(tmp_path / "cut").step == 4
    assert signal.getsignal(asked) == before
    assert not [t for t in threading.enumerate() if t.name.startswith("tiles")]
    assert same_weights(quietly(config, tiles, tmp_path / "cut"), whole)


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    """As nohup leaves it."""
    config = settings()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ask = partial(os.kill, os.getpid(), signal.SIGHUP)
        final = quietly(config, blob_tiles(config), tmp_path, on_step=lambda _: ask())
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert final.step == 8


def test_a_signal_while_the_state_of_a_step_is_decided_waits_for_the_next(tmp_path, monkeypatch):
    config, tiles = settings(), blob_tiles(settings())

    def ask(loss: float) -> bool:
        if not asked:
            os.kill(os.getpid(), signal.SIGTERM)
        asked.append(loss)
        return True

    asked: list[float] = []
    monkeypatch.setattr(training, "math", SimpleNamespace(isfinite=ask))
    with pytest.raises(TrainingStopped, match="after step 2 of 8"):
        quietly(config, tiles, tmp_path, checkpoint_every_s=NEVER)
    assert load_checkpoint(tmp_path).step == 2


def test_asked_twice_it_stops_at_once_and_in_the_last_step_not_at_all(tmp_path):
    config = settings()

    def ask(step: int, times: int, at: int) -> None:
        for _ in range(times if step == at else 0):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        quietly(config, blob_tiles(config), tmp_path, on_step=partial(ask, times=2, at=1))
    assert load_checkpoint(tmp_path).step == 1
    final = quietly(config, blob_tiles(config), tmp_path, on_step=partial(ask, times=1, at=7))
    assert final.step == 8


def test_outside_the_main_thread_it_trains_without_signals(tmp_path):
    config = settings()
    with ThreadPoolExecutor(1) as pool:
        final = pool.submit(quietly, config, blob_tiles(config), tmp_path).result(timeout=60)
    assert final.step == 8


def test_an_error_in_a_tile_comes_through_and_the_run_can_go_on(tmp_path):
    config, tiles = settings(), blob_tiles(settings())
    whole = quietly(config, tiles, tmp_path / "whole")
    with pytest.raises(IndexError, match="list index out of range"):
        quietly(config, tiles[:5], tmp_path / "cut", workers=2)
    assert not [t for t in threading.enumerate() if t.name.startswith("tiles")]
    assert load_checkpoint(tmp_path / "cut").step == 5
    assert same_weights(quietly(config, tiles, tmp_path / "cut"), whole)
