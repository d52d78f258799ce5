"""The over-fit search: what it finds, that it trains as the trainer does, and its command."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imread
from unet2015.experiments.reimplementations import carvana_activations, go_logo

from tests.commands import run
from tests.tiny import NEVER, blob_tiles, quietly, settings
from unet2015 import reimplementations
from unet2015.config import ExperimentConfig, TrainingConfig, from_dict
from unet2015.data import go_logo as go_logo_set
from unet2015.data import pairs
from unet2015.data.phantom import phantom_stack
from unet2015.loss import weighted_cross_entropy
from unet2015.model import UNet, valid_output_size
from unet2015.studies.overfit import (
    Overfit,
    about_batch,
    answer,
    as_table,
    draw,
    one_batch,
    overfit_search,
)
from unet2015.training.batches import Batch, collate

CONFIG = settings({"dropout": 0.0}, optimizer="adam", input_tile_px=28, batch_size=2)
"""Small enough to learn two tiles by heart in a few steps."""


def batch() -> Batch:
    return collate(list(blob_tiles(CONFIG, 2)))


def search(**options: object) -> list[Overfit]:
    given = {"rates": [1e-2], "steps": 5, "progress": False} | options
    return overfit_search(given.pop("config", CONFIG), batch(), **given)  # type: ignore[arg-type]


def test_a_good_rate_is_found_between_one_too_low_and_one_too_high():
    low, good, high = search(rates=[1e-9, 3e-2, 1e30], steps=150)
    assert low.reached_at_step is None
    assert len(low.losses) == 150
    assert not low.diverged
    assert good.reached_at_step == len(good.losses) < 150
    assert good.lowest_loss == good.losses[-1] <= 0.1 < min(good.losses[:-1])
    assert high.diverged
    assert high.reached_at_step is None
    assert len(high.losses) < 150
    assert not math.isfinite(high.losses[-1])
    # the same weights at the start
    assert low.losses[0] == good.losses[0] == high.losses[0]


def test_losses_are_those_of_the_trainer_fed_with_the_same_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr("unet2015.training.history.EVERY_STEPS", 1)
    config = replace(CONFIG, model=replace(CONFIG.model, dropout=0.5))
    (found,) = search(config=config, rates=[0.01], steps=6, seed=3)
    training = replace(
        config.training, learning_rate=0.01, warmup_steps=0, schedule="constant", steps=6
    )
    tiles = blob_tiles(CONFIG, 2) * 6
    trained = quietly(
        replace(config, training=training), tiles, tmp_path, seed=3, checkpoint_every_s=NEVER
    )
    assert list(found.losses) == [row["loss"] for row in trained.history]


def test_the_experiments_own_course_of_the_learning_rate_does_not_matter():
    training: TrainingConfig = replace(
        CONFIG.training, learning_rate=0.5, final_learning_rate=0.4, warmup_steps=999, steps=1
    )
    assert search(config=replace(CONFIG, training=training)) == search()


def test_pytorchs_generator_and_the_settings_are_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    config = replace(CONFIG, model=replace(CONFIG.model, dropout=0.5))
    assert search(config=config) == search(config=config)
    assert torch.equal(torch.get_rng_state(), before)
    assert search(config=config) != search(config=config, seed=1)


def test_another_network_and_loss_replace_those_of_the_settings():
    def half(scores, labels, weights):
        return weighted_cross_entropy(scores, labels, weights) / 2

    (plain,), (halved,) = search(steps=1), search(steps=1, loss=half)
    assert halved.losses[0] == plain.losses[0] / 2
    wide = replace(CONFIG.model, width=2 * CONFIG.model.width)
    (other,) = search(steps=3, make_network=lambda model, **options: UNet(wide, **options))
    (expected,) = search(steps=3, config=replace(CONFIG, model=wide))
    assert other == expected
    assert other.losses[0] != plain.losses[0]


def test_impossible_searches_are_refused():
    for options, rule in (
        ({"rates": []}, r"learning rates \(none given\): must be different numbers > 0"),
        ({"rates": [1e-3, 1e-3]}, "learning rates 0.001 0.001"),
        ({"rates": [0.0]}, "learning rates 0:"),
        ({"rates": [math.nan]}, "learning rates nan"),
        ({"steps": 0}, "steps = 0: must be ≥ 1"),
        ({"tolerance": 0.0}, "tolerance = 0.0: must be > 0"),
        ({"tolerance": math.inf}, "tolerance = inf"),
    ):
        with pytest.raises(ValueError, match=rule):
            search(**options)


def test_the_batch_is_cut_from_the_middle_of_unchanged_images():
    stack = phantom_stack(seed=1, slices=3, size_px=64, test_slices=0)
    images = stack.train_images / np.float32(255)
    config = settings(input_tile_px=28, batch_size=2)
    image, labels, weights = one_batch(images, stack.train_labels, config, seed=4)
    side = valid_output_size(28, 1)
    top = (64 - side) // 2
    middle = np.s_[top : top + side, top : top + side]
    whole = np.s_[top - 8 : top - 8 + 28, top - 8 : top - 8 + 28]
    assert image.shape == (2, 1, 28, 28)
    assert labels.shape == weights.shape == (2, side, side)
    shown = []
    for k in range(2):
        (index,) = (n for n in range(3) if np.allclose(images[n][whole], image[k, 0], atol=1e-6))
        assert np.array_equal(stack.train_labels[index][middle], labels[k].numpy())
        shown.append(index)
    assert len(set(shown)) == 2
    again = one_batch(images, stack.train_labels, config, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(again, (image, labels, weights), strict=True))


def test_a_batch_with_nothing_to_learn_is_said_to_be_one():
    image, labels, weights = batch()
    labels[:] = 0
    labels[0, :3] = 1
    size = " × ".join(map(str, labels.shape[1:]))
    share = 3 / (2 * labels.shape[1])
    words = f"batch: 2 tile(s) with labels of {size} px, {share:.1%} of them cell"
    assert about_batch((image, labels, weights)) == words
    for value in (0, 1):
        words = about_batch((image, torch.full_like(labels, value), weights))
        assert f"{value:.1%} of them cell\nwarning: one class only" in words


FOUND = [
    Overfit(1e-4, (0.7, 0.5, 0.4), None),
    Overfit(1e-3, (0.7, 0.2, 0.09), 3),
    Overfit(1e-2, (0.7, 0.05), 2),
    Overfit(1e2, (0.7, math.inf), None),
]


def test_the_answer_names_the_lowest_rate_that_learns():
    assert answer(FOUND, 3, 0.1).startswith("yes, from rate 0.001: ")
    assert "in step 3" in answer(FOUND, 3, 0.1)
    no = answer([FOUND[0], FOUND[3]], 3, 0.1)
    assert no.startswith("no: ")
    assert "0.4000, at rate 0.0001" in no
    assert answer([Overfit(1.0, (math.nan,), None)], 3, 0.1).startswith("no: ")
    lines = [line.split() for line in as_table(FOUND).splitlines()[1:]]
    assert lines == [
        ["0.0001", "–", "0.4000", "no"],
        ["0.001", "3", "0.0900", "no"],
        ["0.01", "2", "0.0500", "no"],
        ["100", "–", "0.7000", "step", "2"],
    ]
    assert Overfit(1.0, (math.nan,), None).lowest_loss is None


def test_the_picture_is_the_same_bytes_again_and_shows_the_losses(tmp_path):
    nothing = Overfit(1.0, (math.nan,), None)
    blown_up = Overfit(10.0, (0.7, 1e30, math.inf), None)
    for name, found in (
        ("one", FOUND),
        ("two", FOUND),
        ("other", FOUND[:1]),
        ("nothing", [nothing]),
        ("blown up", [nothing, blown_up]),
    ):
        draw(found, 0.1, tmp_path / f"{name}.png")
    assert len(list(tmp_path.iterdir())) == 5
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    one, other = imread(tmp_path / "one.png"), imread(tmp_path / "other.png")
    assert one.shape == other.shape == (500, 800, 4)
    assert (one != other).any()


# The command

SMALL = (
    *("--phantom", "--model.width", 2, "--model.depth", 1, "--training.input-tile-px", 40),
    *("--learning-rates", "1e-3", "1e30", "--steps", 3, "--device", "cpu"),
)


@pytest.fixture
def small_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small slices in place of thirty large ones."""
    stack = phantom_stack(seed=1, slices=2, size_px=64, test_slices=0)
    monkeypatch.setattr("unet2015.data.phantom.phantom_stack", lambda seed: stack)


@pytest.mark.usefixtures("small_phantom")
def test_the_command_prints_a_table_and_writes_what_is_asked_for(tmp_path: Path, capsys):
    pictures = ("--figure", tmp_path / "losses.png", "--json", tmp_path / "losses.json")
    assert run("-m", "unet2015", "overfit", *SMALL, *pictures) == 0
    printed = capsys.readouterr().out
    assert "PHANTOM" in printed
    assert "learning rate" in printed
    assert "batch: 1 tile(s) with labels of 24 × 24 px" in printed
    assert printed.strip().splitlines()[-1].startswith("no: ")
    content = json.loads((tmp_path / "losses.json").read_text())
    assert from_dict(content["config"]).model.width == 2
    assert (content["experiment"], content["dataset"]) == ("quick", "phantom")
    assert [rate["learning_rate"] for rate in content["rates"]] == [1e-3, 1e30]
    assert len(content["rates"][0]["losses"]) == 3
    assert content["rates"][1]["diverged"]
    assert content["rates"][1]["losses"][-1] is None
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2
    assert run("-m", "unet2015", "overfit", *SMALL, "--tolerance", 1e6) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith("yes, from rate 0.001: ")


@pytest.mark.usefixtures("small_phantom")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--experiment", "quik"), "experiment 'quik' is unknown; nearest: quick"),
        (("--steps", "0"), "steps = 0: must be ≥ 1"),
        (("--model.in-channels", "3"), "model.in_channels = 3"),
        (("--figure", "losses.jpg"), "--figure losses.jpg: must end in .png"),
        (("--data", "some"), "--phantom and --data some: the phantom is in no folder; leave one"),
        (("--preset", "published"), "--preset published: is for reimplementations/NAME only"),
        (("--experiment", "reimplementations/nuclei"), "--phantom with --experiment reimp"),
    ],
)
def test_bad_options_end_with_one_message_and_exit_code_2(capsys, arguments, message):
    assert run("-m", "unet2015", "overfit", *SMALL, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err.strip().splitlines()[-1]
    assert "Traceback" not in captured.err


def test_a_loss_that_does_not_fit_the_network_ends_with_exit_code_2(capsys):
    assert run("-m", "unet2015", "overfit", *SMALL, "--training.loss", "logistic") == 2
    assert "model.classes" in " ".join(capsys.readouterr().err.split())


# The settings of a later re-implementation


@pytest.fixture
def small_logo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Drawn glyphs of 204 px, 20 px out, for networks of width 2."""
    monkeypatch.delenv("UNET2015_DATA", raising=False)
    monkeypatch.setattr(pairs, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(go_logo_set, "IMAGE_PX", 204)
    model = replace(go_logo.QUICK.model, width=2)
    monkeypatch.setattr(go_logo, "QUICK", replace(go_logo.QUICK, model=model))


def search_logo(batch: Batch, config: ExperimentConfig) -> float:
    """The first loss with the network and loss of the settings."""
    (found,) = overfit_search(config, batch, [1e-3], 1, progress=False)
    return found.losses[0]


LOGO = ("--learning-rates", "1e-3", "--steps", 2, "--device", "cpu")


@pytest.mark.usefixtures("small_logo")
def test_a_reimplementation_is_searched_with_its_own_settings_and_batch(tmp_path, capsys):
    losses = []
    for name in ("go_logo", "go_logo/published", "go_logo/mended"):
        path = tmp_path / "losses.json"
        given = ("--experiment", f"reimplementations/{name}", "--json", path)
        assert run("-m", "unet2015", "overfit", *LOGO, *given) == 0
        assert "batch: 4 tile(s) with labels of 20 × 20 px" in capsys.readouterr().out
        content = json.loads(path.read_text())
        config = from_dict(content["config"])
        assert config.training.loss == "logistic"
        assert config.training.optimizer == "adam"
        assert config.model == go_logo.QUICK.model
        assert content["dataset"].startswith("drawn glyph")
        assert content["preset"] == "quick"
        losses.append(content["rates"][0]["losses"])
    assert losses[0] == losses[1] != losses[2]  # the label shrunk, and its centre


@pytest.mark.usefixtures("small_logo")
def test_the_network_and_loss_of_an_arm_are_those_that_are_searched(monkeypatch):
    """The logo with another network and loss, and the trainer's first batch of it."""
    system, arm = reimplementations.load_arm("go_logo/mended")
    task = arm.prepare(None, 0, "cpu")
    loss, made = carvana_activations.two_sigmoids, []

    def make_network(*arguments, **options) -> UNet:
        made.append(UNet(*arguments, **options))
        return made[-1]

    odd = replace(task, loss=loss, make_network=make_network)
    chosen = replace(arm, prepare=lambda data, seed, device: odd)
    monkeypatch.setattr(reimplementations, "load_arm", lambda name, preset: (system, chosen))
    found = []

    def noted(config, batch, *options, **parts):
        (searched,) = overfit_search(config, batch, *options, **parts)
        found.append((batch, searched.losses[0]))
        return [searched]

    monkeypatch.setattr("unet2015.cli.overfit.overfit_search", noted)
    given = ("--experiment", "reimplementations/go_logo/mended")
    assert run("-m", "unet2015", "overfit", *LOGO, *given) == 0
    ((batch, first_loss),) = found
    (network,) = made
    assert network.config == arm.config.model
    expected = collate([task.tiles[k] for k in range(4)])
    assert all(torch.equal(a, b) for a, b in zip(batch, expected, strict=True))
    # at first about 0.8 a pixel; the settings have a positive weight of 10 instead
    assert first_loss < 1 < search_logo(batch, arm.config)


@pytest.mark.usefixtures("small_logo")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reimplementations/go_lgo",), "re-implementation 'go_lgo' is unknown; nearest: go_logo"),
        (
            ("reimplementations/go_logo/mendet",),
            "arm 'mendet' of go_logo is unknown",
        ),
        (("reimplementations/go_logo", "--model.width", 3), "model.width with --experiment reimp"),
        (("reimplementations/nuclei",), "dsb2018"),
    ],
)
def test_bad_names_settings_and_missing_data_end_with_exit_code_2(capsys, arguments, message):
    assert run("-m", "unet2015", "overfit", *LOGO, "--experiment", *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("error: ") == 1
    assert "Traceback" not in captured.err


def test_an_arm_by_its_name_and_preset():
    system, arm = reimplementations.load_arm("carvana_activations")
    assert system is carvana_activations.SYSTEM
    assert arm.name == "published_relu"
    assert arm.config == carvana_activations.QUICK
    _, arm = reimplementations.load_arm("carvana_activations/mended_silu", "published")
    assert arm.name == "mended_silu"
    assert arm.config.model.width == 64
    assert not arm.defects
