"""A run that begins with a shorter one ends as one that was trained from its first step."""

from pathlib import Path

import pytest

from tests.tiny import NEVER, augmented_tiles, cut_off, quietly, same_weights, settings
from unet2015.augmentation.tile import TrainingTile
from unet2015.training.checkpoint import BEFORE_FALL, load_checkpoint
from unet2015.training.optimization import fall_begins


def of_steps(steps: int, **training: object):
    """Settings whose rate is constant from step 3 to four fifths of `steps`."""
    return settings(
        {"normalization": "batch"},
        **{"steps": steps, "schedule": "constant_then_fall", "optimizer": "adam"} | training,
    )


SHORT, LONG = of_steps(50), of_steps(100)


class From:
    """Augmented tiles, of which those before `first` must not be asked for."""

    def __init__(self, first: int = 0) -> None:
        self.first, self.tiles = first, augmented_tiles(SHORT)

    def __getitem__(self, k: int) -> TrainingTile:
        assert k >= self.first, f"tile {k} was asked for"
        return self.tiles[k]


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """The folder of a finished short run."""
    folder = tmp_path_factory.mktemp("short")
    quietly(SHORT, From(), folder)
    return folder


def test_the_state_is_that_before_the_first_lower_rate(short):
    kept = load_checkpoint(short / BEFORE_FALL)
    assert kept.step == fall_begins(SHORT.training) == 40
    rates = [row["learning_rate"] for row in load_checkpoint(short).history]
    assert rates[0] == rates[1] == SHORT.training.learning_rate > rates[2]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_longer_run_is_the_same_to_the_bit(tmp_path, optimizer):
    short, long = of_steps(50, optimizer=optimizer), of_steps(100, optimizer=optimizer)
    whole = quietly(long, From(), tmp_path / "whole")
    assert not same_weights(quietly(short, From(), tmp_path / "short"), whole)
    began = quietly(long, From(40), tmp_path / "began", shorter_run=tmp_path / "short")
    assert same_weights(began, whole)
    assert (began.step, began.history, began.config) == (100, whole.history, long)
    # what a still longer one would begin with
    kept = [load_checkpoint(tmp_path / name / BEFORE_FALL) for name in ("whole", "began")]
    assert [each.step for each in kept] == [80, 80]
    assert same_weights(*kept)


def test_cut_off_in_the_middle_it_goes_on_from_its_own_state(tmp_path, short):
    cut_off(70, LONG, From(40), tmp_path / "long", shorter_run=short)
    ended = quietly(LONG, From(60), tmp_path / "long", shorter_run=short)
    assert same_weights(ended, quietly(LONG, From(), tmp_path / "whole"))


def test_what_is_no_beginning_of_the_run_is_not_taken(tmp_path, short, capsys):
    fresh = quietly(SHORT, From(), tmp_path / "fresh", checkpoint_every_s=NEVER)
    quietly(LONG, From(), tmp_path / "long")
    for other in (tmp_path / "long", tmp_path / "nothing there"):
        found = quietly(SHORT, From(), tmp_path / f"after {other.name}", shorter_run=other)
        assert same_weights(found, fresh)
    for config, seed, words in (
        (of_steps(100, learning_rate=0.01), 0, "learning_rate: 0.01"),
        (of_steps(100, schedule="cosine"), 0, "schedule: cosine"),
        (LONG, 1, "seed 0, not 1"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            quietly(config, From(), tmp_path / "refused", seed=seed, shorter_run=short)
        assert str(short) in str(caught.value)
    (tmp_path / "long" / BEFORE_FALL).write_bytes(b"torn")
    capsys.readouterr()
    still_longer = of_steps(110)
    found = quietly(still_longer, From(), tmp_path / "longer", shorter_run=tmp_path / "long")
    assert found.step == 110
    assert "starting from the first step" in capsys.readouterr().err
