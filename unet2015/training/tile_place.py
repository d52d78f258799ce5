"""Where training tiles are made: by threads of the host, or on the device that trains.

Both make the same tile k of seed s, equal within rounding (`augmentation.on_device`). A run keeps
to the one it was begun with, so that a continued run repeats an uninterrupted one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open

from unet2015.runtime.read_back import from_json
from unet2015.training.batches import TileSource
from unet2015.training.checkpoint import CURRENT, PREVIOUS, WEIGHTS

AugmentOn = Literal["auto", "host", "device"]
Place = Literal["host", "device"]
AUGMENT_ON = "augment_on"
"""The key of a checkpoint's data for where its tiles were made; left out for the host, so that runs
from before there was a choice are what they were."""


@runtime_checkable
class MovableTiles(Protocol):
    """Tiles that can be made on a device as well (`samples.SampleTiles`)."""

    def on(self, device: torch.device, /) -> TileSource: ...


def place_of_tiles(
    asked: AugmentOn, tiles: TileSource, device: str, folder: Path | None = None
) -> Place:
    """Where the tiles of the run in `folder` are to be made; None: of a run that is not kept.

    'auto': where they were made when the run was begun, else on the device if that is a CUDA device
    and the tiles allow it, since a CPU takes longer for a tile than a fast GPU for a step (our
    choice). Raises ValueError for another word, and if `folder` holds a run with the other place.
    """
    if asked not in get_args(AugmentOn):
        words = ", ".join(map(repr, get_args(AugmentOn)))
        raise ValueError(f"augment_on = {asked!r}: must be one of {words}")
    before = None if folder is None else _place_before(folder)
    if asked == "auto":
        on_gpu = torch.device(device).type == "cuda" and isinstance(tiles, MovableTiles)
        return before or ("device" if on_gpu else "host")
    if before not in (None, asked):
        raise ValueError(
            f"{folder} holds a run whose tiles were made on the {before}, and augment_on = "
            f"{asked!r}: leave it at 'auto' or {before!r} to continue, or give another --output"
        )
    return asked


def tiles_at(place: Place, tiles: TileSource, device: torch.device) -> TileSource:
    """The same tiles, made there; ValueError if these cannot be made on a device."""
    if place == "host":
        return tiles
    if not isinstance(tiles, MovableTiles):
        raise ValueError(
            f"augment_on = 'device': tiles of type {type(tiles).__name__} are made on the host "
            "only; use 'host', or samples.training_tiles"
        )
    return tiles.on(device)


def _place_before(folder: Path) -> Place | None:
    """Where the tiles of a run found in `folder` were made; None if there is no run.

    From the head of the file alone: whether it is whole is seen when it is loaded.
    """
    for name in (WEIGHTS, CURRENT, PREVIOUS):
        data = _data_of(folder / name)
        if data is not None:
            return "device" if data.get(AUGMENT_ON) == "device" else "host"
    return None


def _data_of(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            data = from_json((file.metadata() or {})["about"])["data"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None
    return data if isinstance(data, dict) else None
