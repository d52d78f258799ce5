"""Checkpoints are whole or refused; nothing in them is executed; the one before is kept."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.tiny import blob_tiles, contents, same_weights
from tests.training.example_run import EXAMPLE, trained
from unet2015.config import as_dict
from unet2015.training import checkpoint
from unet2015.training.batches import collate
from unet2015.training.checkpoint import (
    CURRENT,
    PREVIOUS,
    TIME,
    WEIGHTS,
    Checkpoint,
    DamagedCheckpoint,
    as_final,
    load_checkpoint,
    load_final,
    load_optimizer,
    load_weights,
    model_tensors,
    newest_checkpoint,
    optimizer_tensors,
    save_checkpoint,
    save_final,
    save_rotating,
)
from unet2015.training.loop import new_run, train_step

CPU = torch.device("cpu")


def same_state(ours: Checkpoint, theirs: Checkpoint) -> bool:
    """Whether two checkpoints are equal in everything, their tensors bit for bit."""
    for name in ("model", "optimizer"):
        one, other = getattr(ours, name), getattr(theirs, name)
        if one.keys() != other.keys() or any(
            one[key].dtype != other[key].dtype or not torch.equal(one[key], other[key])
            for key in one
        ):
            return False
    plain = {"model": {}, "optimizer": {}}
    return replace(ours, **plain) == replace(theirs, **plain)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_everything_comes_back_from_a_file(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", EXAMPLE)
    back = load_checkpoint(tmp_path / "a.safetensors")
    assert same_state(back, EXAMPLE)
    assert any("exp_avg_sq" in name for name in back.optimizer)
    assert (back.step, back.seed, back.seconds, back.data) == (2, 5, 1.25, {"slices": [0, 1]})
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="np") as file:
        about = json.loads(file.metadata()["about"])  # to be read without this project
    assert (about["config"]["model"]["width"], about["step"]) == (2, 2)
    network = back.network()
    assert not network.training
    assert all(torch.equal(t, EXAMPLE.model[n]) for n, t in model_tensors(network).items())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_optimiser_goes_on_as_if_never_saved(optimizer):
    run = trained(optimizer)
    twin = new_run(run.config, 99, CPU, {})
    load_weights(twin.network, model_tensors(run.network))
    load_optimizer(twin.network, twin.optimizer, optimizer_tensors(run.network, run.optimizer))
    twin.seed, twin.step = run.seed, run.step
    batch = collate(blob_tiles(run.config, 1, seed=3))
    train_step(run, batch)
    train_step(twin, batch)
    assert same_state(
        replace(twin.checkpoint(), data={}, history=[], pending=[], seconds=0),
        replace(run.checkpoint(), data={}, history=[], pending=[], seconds=0),
    )


def test_a_checkpoint_is_a_copy_that_training_does_not_change():
    run = trained("sgd", steps=1)
    before = run.checkpoint()
    kept = {name: tensor.clone() for name, tensor in (before.model | before.optimizer).items()}
    train_step(run, collate(blob_tiles(run.config, 1, seed=3)))
    assert all(torch.equal((before.model | before.optimizer)[name], kept[name]) for name in kept)
    assert not same_weights(run.checkpoint(), before)


@pytest.mark.parametrize("place", ["replace", "fsync"])
def test_a_failing_write_leaves_the_previous_files_and_nothing_else(tmp_path, monkeypatch, place):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, EXAMPLE)
    for step in (1, 2):
        save_rotating(tmp_path, replace(EXAMPLE, step=step))
    before = contents(tmp_path)
    monkeypatch.setattr(os, place, full_disk)
    with pytest.raises(OSError, match=r"a\.safetensors: No space left.*previous file is untouched"):
        save_checkpoint(path, replace(EXAMPLE, step=3))
    with pytest.raises(OSError, match="No space left on device"):
        save_rotating(tmp_path, replace(EXAMPLE, step=3))
    assert contents(tmp_path) == before


def test_a_full_disk_does_not_put_a_damaged_state_in_place_of_the_good_one(tmp_path, monkeypatch):
    for step in (1, 2):
        save_rotating(tmp_path, replace(EXAMPLE, step=step))
    (tmp_path / CURRENT).write_bytes(b"torn")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left on device"):
            save_rotating(tmp_path, replace(EXAMPLE, step=3))
    found, refused = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(refused) == 1


@pytest.mark.parametrize("completed", [0, 1])
def test_a_crash_between_the_renames_leaves_an_intact_state(tmp_path, monkeypatch, completed):
    for step in (1, 2):
        save_rotating(tmp_path, replace(EXAMPLE, step=step))
    rename, done = os.replace, []

    def crash(source: Path, target: Path) -> None:
        if Path(target).name in (CURRENT, PREVIOUS):
            if len(done) == completed:
                raise KeyboardInterrupt
            done.append(target)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            save_rotating(tmp_path, replace(EXAMPLE, step=3))
    found, refused = newest_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, refused) == (2, [])
    save_rotating(tmp_path, replace(EXAMPLE, step=3))
    save_rotating(tmp_path, replace(EXAMPLE, step=4))
    assert [load_checkpoint(tmp_path / name).step for name in (CURRENT, PREVIOUS)] == [4, 3]
    assert sorted(contents(tmp_path)) == [PREVIOUS, CURRENT]


def test_a_truncated_file_and_one_flipped_bit_anywhere_are_found(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, EXAMPLE)
    whole = path.read_bytes()
    for share in (0.0, 0.001, 0.3, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DamagedCheckpoint, match=r"a\.safetensors: damaged") as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)
    rng = np.random.default_rng(0)
    places = [*range(12), len(whole) - 1, *rng.integers(0, len(whole), 300).tolist()]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(DamagedCheckpoint, match=r"a\.safetensors: "):
            load_checkpoint(path)


def test_the_newest_intact_state_is_found_and_the_damaged_one_named(tmp_path, capsys):
    assert newest_checkpoint(tmp_path) == (None, [])
    for step in (1, 2):
        save_rotating(tmp_path, replace(EXAMPLE, step=step))
    found, refused = newest_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, refused) == (2, [])
    damaged = bytearray((tmp_path / CURRENT).read_bytes())
    damaged[-1] ^= 1
    (tmp_path / CURRENT).write_bytes(damaged)
    found, refused = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    (message,) = refused
    assert str(tmp_path / CURRENT) in message
    assert load_checkpoint(tmp_path).step == 1
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path / CURRENT}: damaged")
    assert said.endswith("taking the one before it\n")
    assert "give another file" not in said
    (tmp_path / PREVIOUS).write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match="no intact checkpoint is left") as caught:
        newest_checkpoint(tmp_path)
    assert CURRENT in str(caught.value)
    assert PREVIOUS in str(caught.value)


def test_a_folder_stands_for_its_final_weights_else_for_its_newest_state(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no checkpoint in .*{WEIGHTS} and {CURRENT}"):
        load_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"checkpoint not found: .*none\.safetensors"):
        load_checkpoint(tmp_path / "none.safetensors")
    save_rotating(tmp_path, EXAMPLE)
    assert same_state(load_checkpoint(tmp_path), EXAMPLE)
    save_checkpoint(tmp_path / WEIGHTS, as_final(replace(EXAMPLE, step=9)))
    assert load_checkpoint(tmp_path).step == 9


def test_final_weights_have_no_optimiser_and_are_smaller(tmp_path):
    save_checkpoint(tmp_path / CURRENT, EXAMPLE)
    save_checkpoint(tmp_path / WEIGHTS, as_final(EXAMPLE))
    final = load_checkpoint(tmp_path / WEIGHTS)
    assert final.optimizer == {}
    assert same_weights(final, EXAMPLE)
    # Adam keeps two numbers for every weight
    sizes = [(tmp_path / name).stat().st_size for name in (WEIGHTS, CURRENT)]
    weights = sum(4 * tensor.numel() for tensor in EXAMPLE.model.values())
    assert sizes[1] - sizes[0] >= 2 * weights


def test_a_pickle_is_refused_and_not_executed(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "model.pt"
    torch.save({"state": Trap()}, path)
    with pytest.raises(DamagedCheckpoint, match=r"model\.pt: a pickle file.*only safetensors"):
        load_checkpoint(path)
    torch.save({"state": Trap()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(DamagedCheckpoint, match=r"model\.pt: damaged or not a checkpoint of this"):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_the_network_of_a_checkpoint_is_that_of_the_training():
    run = trained()
    image = torch.from_numpy(blob_tiles(run.config)[0].image)[None]
    with torch.no_grad():
        assert torch.equal(run.checkpoint().network()(image), run.network.eval()(image))


def test_final_weights_hold_no_time_which_lies_beside_them(tmp_path):
    for name, seconds in (("a", 1.25), ("b", 99.0)):
        (tmp_path / name).mkdir()
        save_final(tmp_path / name, replace(as_final(EXAMPLE), seconds=seconds))
        final, lost = load_final(tmp_path / name)
        assert (final.seconds, lost) == (seconds, None)
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()


SECONDS = ("null", '"1"', "NaN", "-7", "true")
LOST = [None, "", "{}", "[]", *(f'{{"seconds": {seconds}}}' for seconds in SECONDS)]


@pytest.mark.parametrize("damage", LOST)
def test_the_time_of_weights_may_be_lost(tmp_path, damage):
    save_final(tmp_path, as_final(EXAMPLE))
    (tmp_path / TIME).unlink()
    if damage is not None:
        (tmp_path / TIME).write_text(damage)
    final, lost = load_final(tmp_path)
    assert same_weights(final, EXAMPLE)
    assert final.seconds == 0
    assert lost.startswith(f"{tmp_path / TIME}: damaged or missing")


def test_final_weights_of_an_earlier_version_hold_their_time(tmp_path):
    tensors = {f"model/{name}": tensor.contiguous() for name, tensor in EXAMPLE.model.items()}
    names = ("seed", "step", "history", "pending", "seconds", "data")
    about = {name: getattr(EXAMPLE, name) for name in names}
    about |= {"format": checkpoint.FORMAT, "config": as_dict(EXAMPLE.config)}
    metadata = {"about": json.dumps(about)}
    metadata["sha256"] = checkpoint._digest(metadata["about"], tensors)
    safetensors.torch.save_file(tensors, tmp_path / WEIGHTS, metadata)
    final, lost = load_final(tmp_path)
    assert same_weights(final, EXAMPLE)
    assert final.seconds == EXAMPLE.seconds > 0
    assert lost is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_another_type_become_the_networks(dtype):
    model = {name: tensor.to(dtype) for name, tensor in EXAMPLE.model.items()}
    network = replace(EXAMPLE, model=model).network()
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
