"""One direction of the cell tracking experiment on a tiny set: trained, predicted, scored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.cell_tracking_set import ANNOTATED, FRAMES, make_set
from tests.tiny import contents, settings
from unet2015.config import AugmentationConfig, ExperimentConfig, PredictionConfig
from unet2015.data.cell_tracking import CellTracking, load_cell_tracking
from unet2015.data.gray_use import gray_quantiles
from unet2015.data.tiff import read_stack
from unet2015.inference.instances import InstanceConfig
from unet2015.studies import cell_tracking
from unet2015.studies.cell_tracking import (
    Direction,
    run_direction,
    scores,
    split_frames,
    write_masks,
)
from unet2015.training.checkpoint import WEIGHTS

NAME = "DIC-C2DH-HeLa"
CELLS = InstanceConfig(min_size_px=20)


def learning(steps: int = 150) -> ExperimentConfig:
    """Settings with which the tiny set is learned in a second or two."""
    config = settings(
        {"dropout": 0.0},
        input_tile_px=40,
        steps=steps,
        optimizer="adam",
        learning_rate=0.02,
        warmup_steps=5,
    )
    return replace(
        config,
        augmentation=AugmentationConfig(rotation="right_angles", elastic_sigma_px=0, image_order=1),
        prediction=PredictionConfig(averaging="flips4", average_of="score"),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> CellTracking:
    return load_cell_tracking(NAME, make_set(tmp_path_factory.mktemp("data") / NAME))


def direction(
    data: CellTracking, folder: Path, config: ExperimentConfig, hold_out: int = 0
) -> Direction:
    split = split_frames(data, "01", hold_out)
    found = run_direction(
        split, config, CELLS, folder, seed=0, device="cpu", name="tiny", progress=False
    )
    assert found is not None
    return found


@pytest.fixture(scope="module")
def learned(data, tmp_path_factory) -> Direction:
    """A network that was trained on sequence 01, and its cells of sequence 02."""
    return direction(data, tmp_path_factory.mktemp("run"), learning())


def test_the_gray_values_that_were_trained_on_are_kept(learned):
    images = learned.split.train.images[list(learned.split.train_index)]
    assert learned.checkpoint.data["gray_quantiles"] == gray_quantiles(images)


def test_one_sequence_is_left_out(data):
    for train_on, other in (("01", "02"), ("02", "01")):
        split = split_frames(data, train_on)
        assert (split.train.name, split.scored.name) == (train_on, other)
        assert split.train_frames == split.scored_frames == list(ANNOTATED)
        assert split.hold_out == 0


def test_the_last_frames_of_the_training_sequence_are_held_out(data):
    split = split_frames(data, "02", 1)
    assert (split.train.name, split.scored.name) == ("02", "02")
    assert split.train_frames == [0, 2]
    assert split.scored_frames == [4]
    assert split.hold_out == 1


def test_frames_that_cannot_be_held_out_and_other_sequences_are_refused(data):
    for hold_out in (-1, 3):
        message = rf"--hold-out {hold_out}: must be 0 … 2, as sequence 01 of {NAME} has 3 annotated"
        with pytest.raises(ValueError, match=message):
            split_frames(data, "01", hold_out)
    with pytest.raises(ValueError, match="train_on = '03': must be '01' or '02'"):
        split_frames(data, "03")


def test_tiles_are_of_the_training_frames_with_ridge_and_ignore_regions(
    data, tmp_path, monkeypatch
):
    """What the network is trained on, looked at where it goes in."""
    seen = {}

    def look(config, tiles, folder, **options):
        samples = [(tiles.image(k), *tiles.planes(k)) for k in range(len(tiles.shapes))]
        seen.update(options, samples=samples)
        raise StopIteration

    monkeypatch.setattr(cell_tracking, "train_once", look)
    with pytest.raises(StopIteration):
        direction(data, tmp_path, learning(), hold_out=1)
    sequence = data.sequences["01"]
    assert len(seen["samples"]) == 2
    for k, (image, labels, weights) in enumerate(seen["samples"]):
        np.testing.assert_allclose(image[0], sequence.images[k] / 255, atol=1e-6)
        gold, ignore = sequence.instances[k], sequence.ignore[k]
        np.testing.assert_array_equal(weights == 0, ignore)
        assert not labels[gold == 0].any()
        # one component for each gold mask, though two of them touch
        found = np.unique(labels * gold)
        assert len(found) - 1 == len(np.unique(gold)) - 1
        ridge = (gold > 0) & (labels == 0)
        assert 0 < ridge.sum() < 40
        assert weights[ridge].min() > 8
    assert sequence.ignore[1].any()
    assert seen["data"]["trained_on"] == {"sequence": "01", "frames": [0, 2]}
    assert set(seen["data"]["hashes"]) == {
        f"01 {kind}" for kind in ("images", "instances", "ignore")
    }


def test_a_tiny_network_finds_the_cells_of_the_other_sequence(learned):
    assert learned.probability.shape == learned.instances.shape == (3, 60, 72)
    found = scores(learned)
    assert found["cells"] == 11
    assert 0.9 < found["label_seg"] < 1
    assert found["seg"] < found["label_seg"]


def test_the_scores_are_those_computed_by_hand(learned):
    found = scores(learned)
    sequence = learned.split.scored
    jaccard, of_frame = [], []
    for truth, predicted in zip(sequence.instances, learned.instances, strict=True):
        values = []
        for cell in np.unique(truth[truth > 0]):
            reference = truth == cell
            match = [
                n
                for n in np.unique(predicted[predicted > 0])
                if 2 * (reference & (predicted == n)).sum() > reference.sum()
            ]
            both = predicted == match[0] if match else np.zeros_like(reference)
            values.append((reference & both).sum() / (reference | both).sum())
        jaccard += values
        of_frame.append(np.mean(values))
    assert found["seg"] == pytest.approx(np.mean(jaccard))
    assert found["seg_of_frame"] == pytest.approx(of_frame)
    counted = ~sequence.ignore
    cell, predicted = (sequence.instances > 0) & counted, (learned.instances > 0) & counted
    assert found["foreground_iou"] == pytest.approx(
        (cell & predicted).sum() / (cell | predicted).sum()
    )


def test_without_the_ridge_the_labels_of_touching_cells_cannot_reach_far(data, learned):
    weight_map = replace(learned.checkpoint.config.weight_map, separate_touching=False)
    config = replace(learned.checkpoint.config, weight_map=weight_map)
    merged = replace(learned, checkpoint=replace(learned.checkpoint, config=config))
    # in each of three frames, cells 1 and 2 are one component, which matches both
    assert scores(merged)["label_seg"] < scores(learned)["label_seg"] - 0.2


def test_the_summary_is_ready_for_json(learned):
    summary = json.loads(json.dumps(learned.summary()))
    assert summary["train_sequence"] == "01"
    assert summary["scored_sequence"] == "02"
    assert summary["train_frames"] == summary["scored_frames"] == list(ANNOTATED)
    assert summary["hold_out"] == 0
    assert summary["instances"] == InstanceConfig(min_size_px=20).as_dict()
    assert summary["scores"]["seg_of_argmax"] == summary["scores"]["seg"]
    assert summary["training"]["steps"] == 150
    assert summary["prediction_seconds"] >= 0
    assert read_stack(learned.folder / "probability.tif").dtype == np.float32
    masks = read_stack(learned.folder / "cells_min20.tif")
    assert masks.dtype == np.uint16
    np.testing.assert_array_equal(masks, learned.instances)


def test_a_prediction_of_other_frames_is_made_anew(data, tmp_path):
    found = direction(data, tmp_path, learning(steps=2))
    tifffile.imwrite(tmp_path / "probability.tif", found.probability[:2], photometric="minisblack")
    again = direction(data, tmp_path, learning(steps=2))
    np.testing.assert_array_equal(again.probability, found.probability)


def test_masks_of_all_frames_are_in_the_challenges_layout(tmp_path, learned):
    digits = 4
    data = load_cell_tracking(NAME, make_set(tmp_path / "data", digits=digits))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes((learned.folder / WEIGHTS).read_bytes())
    place = write_masks(data, "02", folder, CELLS, "cpu", progress=False)
    assert place == folder / "min20" / "02_RES"
    files = sorted(path.name for path in place.iterdir())
    assert files == [f"mask{t:0{digits}}.tif" for t in range(FRAMES)]
    for t, name in enumerate(files):
        mask = tifffile.imread(place / name)
        assert mask.dtype == np.uint16
        assert mask.shape == (60, 72)
        if t in ANNOTATED:
            np.testing.assert_array_equal(mask, learned.instances[ANNOTATED.index(t)])
        assert mask.max() > 1
    # a command that was cut off goes on: only what is missing is made
    before = contents(place)
    (place / files[3]).unlink()
    write_masks(data, "02", folder, CELLS, "cpu", progress=False)
    after = contents(place)
    assert after.pop(files[3])[0] == before.pop(files[3])[0]
    assert after == before


def test_seg_of_the_challenges_own_code_is_ours(tmp_path, learned):
    """py-ctcmetrics reads our masks of all frames beside the set's truth."""
    evaluate = pytest.importorskip(
        "ctc_metrics.scripts.evaluate", reason="py-ctcmetrics is not installed (pip install it)"
    )
    folder = make_set(tmp_path / NAME)
    data = load_cell_tracking(NAME, folder)
    place = write_masks(data, "02", learned.folder, CELLS, "cpu", progress=False)
    found = evaluate.evaluate_sequence(
        str(place), str(folder / "02_GT"), metrics=["SEG"], threads=1
    )
    assert found["SEG"] == pytest.approx(scores(learned)["seg"], abs=1e-12)


def test_more_cells_than_the_masks_hold_are_refused():
    with pytest.raises(ValueError, match=r"65536 cells in a frame: .* 65535; choose a larger"):
        cell_tracking.as_masks(np.array([[65536]]))
