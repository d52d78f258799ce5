"""What a run's folder holds when the run starts, and whether it may go on from there."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from unet2015.config import ExperimentConfig, config_hash, differences
from unet2015.data.gray_use import without_quantiles
from unet2015.training.checkpoint import (
    BEFORE_FALL,
    CURRENT,
    PREVIOUS,
    WEIGHTS,
    Checkpoint,
    DamagedCheckpoint,
    load_checkpoint,
    load_final,
    newest_checkpoint,
)
from unet2015.training.optimization import fall_begins

PROCESSES = "processes"
"""The key of a checkpoint's data for how many processes trained it; left out for one."""


def find_run(
    folder: Path,
    config: ExperimentConfig,
    seed: int,
    data: dict[str, Any],
    shorter_run: Path | None = None,
) -> tuple[Checkpoint | None, bool]:
    """What `folder` (made if missing) holds of this very run, and whether that is finished.

    None where there is nothing. A damaged resume state is passed over with a warning. shorter_run:
    where `folder` holds nothing, the run begins with the state that the one in that folder, equal
    but for its number of steps, had before its rate fell.
    Raises ValueError for a run of another configuration, seed, data or number of processes, and if
    no resume state is intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, finished, refused = _look(folder)
    for message in refused:
        print(f"warning: {message}; continuing from the one before it", file=sys.stderr)
    if found is None and shorter_run is not None:
        found, folder = _before_fall(shorter_run, config), shorter_run
    if found is not None:
        _same_run(found, config, seed, data, folder)
    return found, finished


def _before_fall(shorter_run: Path, config: ExperimentConfig) -> Checkpoint | None:
    """The state of a shorter run in which one of `config` would be as well; None without any."""
    state = shorter_run / BEFORE_FALL
    if not state.exists():
        return None
    try:
        found = load_checkpoint(state)
    except DamagedCheckpoint as error:
        print(f"warning: {error}; starting from the first step", file=sys.stderr)
        return None
    if found.step > fall_begins(config.training):
        return None  # of a longer run
    training = replace(found.config.training, steps=config.training.steps)
    return replace(found, config=replace(found.config, training=training))


def _look(folder: Path) -> tuple[Checkpoint | None, bool, list[str]]:
    """The final weights, else the newest resume state; a message for each damaged file."""
    refused = []
    if (folder / WEIGHTS).exists():
        resumable = (folder / CURRENT).exists() or (folder / PREVIOUS).exists()
        try:
            final, lost = load_final(folder)
            if lost is None:
                return final, True, []
            if not resumable:
                print(f"warning: {lost}; 0 s are recorded", file=sys.stderr)
                return final, True, []
            refused.append(lost)
        except DamagedCheckpoint as error:
            if not resumable:
                raise
            refused.append(str(error))
    found, damaged = newest_checkpoint(folder)
    return found, False, refused + damaged


def _same_run(
    found: Checkpoint, config: ExperimentConfig, seed: int, data: dict[str, Any], folder: Path
) -> None:
    remedy = "give another --output, or remove that folder to start again"
    if config_hash(found.config) != config_hash(config):
        changed = "; ".join(differences(config, found.config))
        raise ValueError(f"{folder} holds a run of another configuration ({changed}): {remedy}")
    if found.seed != seed:
        raise ValueError(f"{folder} holds a run with seed {found.seed}, not {seed}: {remedy}")
    before, now = (about.get(PROCESSES, 1) for about in (found.data, data))
    if before != now:
        raise ValueError(
            f"{folder} holds a run of {before} process(es), not {now}, and their number decides "
            f"the samples of a step: start {before} to continue it (torchrun), or {remedy}"
        )
    theirs, ours = without_quantiles(found.data), without_quantiles(data)
    if theirs != ours:
        others = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
        there = "; ".join(f"{key} there: {theirs.get(key)}" for key in others)
        raise ValueError(f"{folder} holds a run on other data ({there}): {remedy}")
