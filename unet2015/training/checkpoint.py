"""What is saved of a training run, how it is verified, and how it comes back.

One format for resume states and final weights: a safetensors file (no pickle, nothing executed on
load) whose metadata holds the configuration, the history and a SHA-256 over all of it.
"""

import hashlib
import json
import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from unet2015.config import ExperimentConfig, as_dict, from_dict
from unet2015.model import UNet
from unet2015.runtime.atomic import write_bytes, write_text
from unet2015.runtime.read_back import from_json, read_text
from unet2015.training.checkpoint_schema import About

FORMAT = "unet2015 checkpoint 1"
CURRENT, PREVIOUS, NEXT, BEFORE_FALL, WEIGHTS, TIME = (
    "checkpoint.safetensors",
    "checkpoint-previous.safetensors",
    "checkpoint-next.safetensors",
    "checkpoint-before-fall.safetensors",
    "weights.safetensors",
    "training-time.json",
)
_MODEL, _OPTIMIZER = "model/", "optimizer/"
_ABOUT = ("seed", "step", "history", "pending", "seconds", "data")
"""Fields of a `Checkpoint` that its metadata hold as they are."""
_SEAL = ', "sha256": "'
"""Between what the metadata say and its checksum, their last entry."""
_REMEDY = "give another file of the run, or train again in another folder"


class DamagedCheckpoint(ValueError):
    """A checkpoint file that is torn, altered, or not one of ours."""


@dataclass(frozen=True)
class Checkpoint:
    """A training run after `step` steps; `optimizer` is empty in final weights."""

    config: ExperimentConfig
    seed: int
    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    pending: list[list[float]] = field(default_factory=list)
    """What has been measured since the last row of the history, step by step."""
    seconds: float = 0.0
    """Training time so far, over all sessions; 0 in the file of final weights, which equal runs
    make byte for byte (see `save_final`)."""
    data: dict[str, Any] = field(default_factory=dict)
    """What prediction and resume must know of the data: gray scale, hashes, where it came from."""
    code: list[dict[str, Any]] = field(default_factory=list)
    """The commits and versions that have trained it, and the number of threads where bits depend on
    it; one entry unless something of it changed in between."""

    def weights_sha256(self) -> str:
        """SHA-256 of the weights: which network made a prediction."""
        return _digest("", self.model)

    def network(self) -> UNet:
        """The U-Net of this checkpoint, for evaluation; ValueError if the weights do not fit."""
        with torch.device("meta"):  # a size that was made up takes no memory before it is refused
            network = UNet(self.config.model)
        load_weights(network, self.model, assign=True)
        for name, tensor in network.state_dict().items():
            if not tensor.isfinite().all():
                raise ValueError(_misfit(f"{name} has values that are not finite"))
        return network.eval()


def model_tensors(network: nn.Module) -> dict[str, Tensor]:
    """The network's parameters and buffers by name, copied to the CPU."""
    return {name: t.detach().cpu().clone() for name, t in network.state_dict().items()}


def load_weights(network: nn.Module, tensors: dict[str, Tensor], *, assign: bool = False) -> None:
    """Copy named tensors into the network; ValueError names the first that does not fit.

    assign: the tensors themselves become the network's.
    """
    expected = network.state_dict()
    if missing := sorted(expected.keys() - tensors.keys()):
        raise ValueError(_misfit(f"{missing[0]} is missing ({len(missing)} tensors in all)"))
    if surplus := sorted(tensors.keys() - expected.keys()):
        raise ValueError(_misfit(f"{surplus[0]} is not part of this network"))
    for name, tensor in expected.items():
        given = tuple(tensors[name].shape)
        if given != tuple(tensor.shape):
            raise ValueError(_misfit(f"{name} is {given}, the network has {tuple(tensor.shape)}"))
    same_types = {name: tensors[name].to(tensor.dtype) for name, tensor in expected.items()}
    network.load_state_dict(same_types, assign=assign)


def _misfit(detail: str) -> str:
    return f"weights of another architecture: {detail}; build the network from their own config"


def optimizer_tensors(network: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state (momentum …) by parameter name, copied to the CPU."""
    tensors = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}|{key}"] = value.detach().cpu().clone()
    return tensors


def load_optimizer(network: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put `optimizer_tensors`' output back, in each parameter's memory format.

    Raises ValueError for what belongs to no parameter of the network.
    """
    parameters = dict(network.named_parameters())
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("|")
        parameter = parameters.get(name)
        if parameter is None or value.shape not in (parameter.shape, ()):
            given = f"the optimiser's {key!r} of {name!r} is {tuple(value.shape)}"
            raise ValueError(_misfit(f"{given}, the network has no such parameter"))
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter).copy_(value)  # keeps channels-last strides
        elif optimizer.defaults.get("fused"):
            value = value.to(parameter.device)  # where such an optimiser counts its steps
        optimizer.state[parameter][key] = value


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path` atomically, with its checksum (safetensors)."""
    tensors = {_MODEL + name: t.contiguous() for name, t in checkpoint.model.items()}
    tensors |= {_OPTIMIZER + name: t.contiguous() for name, t in checkpoint.optimizer.items()}
    about = {name: getattr(checkpoint, name) for name in (*_ABOUT, "code")}
    about |= {"format": FORMAT, "config": as_dict(checkpoint.config)}
    text = json.dumps(about, sort_keys=True)
    # one entry: safetensors writes several in any order, and equal runs are to leave equal bytes
    sealed = f'{text[:-1]}{_SEAL}{_digest(text, tensors)}"}}'
    write_bytes(path, safetensors_bytes(tensors, metadata={"about": sealed}))


def save_rotating(folder: Path, checkpoint: Checkpoint) -> None:
    """Save the resume state in `folder` and keep the one before it.

    The older ones are moved only when the new one is whole on the disk: on a full disk, or where
    the current one is damaged, none that could be needed is lost.
    """
    current, fresh = folder / CURRENT, folder / NEXT
    save_checkpoint(fresh, checkpoint)
    if current.exists():
        current.replace(folder / PREVIOUS)
    fresh.replace(current)


def save_final(folder: Path, final: Checkpoint) -> None:
    """Write final weights, and how long their training took beside them.

    So that runs equal in settings, seed, data, code and machine leave the same bytes in `WEIGHTS`.
    """
    write_text(folder / TIME, json.dumps({"seconds": final.seconds}) + "\n")
    save_checkpoint(folder / WEIGHTS, replace(final, seconds=0.0))


def load_final(folder: Path) -> tuple[Checkpoint, str | None]:
    """What `save_final` wrote; a message instead of the seconds where these are lost, then 0."""
    final = load_checkpoint(folder / WEIGHTS)
    if final.seconds:  # of an earlier version
        return final, None
    try:
        seconds = from_json(read_text(folder / TIME))["seconds"]
        if type(seconds) in (int, float) and 0 <= seconds < math.inf:
            return replace(final, seconds=float(seconds)), None
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return final, f"{folder / TIME}: damaged or missing, which said how long the training took"


def load_checkpoint(path: Path) -> Checkpoint:
    """The verified checkpoint of a file, or of a run's folder (final weights, else the newest).

    A missing file raises FileNotFoundError; a torn, altered or foreign one DamagedCheckpoint, a
    ValueError that names the file.
    """
    path = Path(path)
    if path.is_dir() and not (path / WEIGHTS).exists():
        newest, refused = newest_checkpoint(path)
        if newest is None:
            raise FileNotFoundError(f"no checkpoint in {path}: looked for {WEIGHTS} and {CURRENT}")
        for message in refused:
            print(f"warning: {message}; taking the one before it", file=sys.stderr)
        return newest
    if path.is_dir():
        path = path / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint not found: {path}")
    try:
        return _load(path)
    except DamagedCheckpoint as error:
        raise DamagedCheckpoint(f"{error}; {_REMEDY}") from error


def _load(path: Path) -> Checkpoint:
    """The verified checkpoint of a file; DamagedCheckpoint says what is wrong with it."""
    if not path.is_file():  # to open a pipe would keep us waiting
        raise DamagedCheckpoint(f"{path}: is no regular file")
    _refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # clones, because what is mapped changes when somebody writes into the file
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedCheckpoint(
            f"{path}: damaged or not a checkpoint of this project ({error})"
        ) from error
    return _verified(path, metadata, tensors)


def _refuse_pickle(path: Path) -> None:
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        raise DamagedCheckpoint(
            f"{path}: a pickle file, as torch.save writes; loading one can run any code, so only "
            "safetensors files of this project are read"
        )


def _verified(path: Path, metadata: dict[str, str], tensors: dict[str, Tensor]) -> Checkpoint:
    text, sha256 = metadata.get("about", ""), metadata.get("sha256")
    if text and sha256 is None:  # of an earlier version otherwise
        body, _, sha256 = text.removesuffix('"}').rpartition(_SEAL)
        text = body + "}"
    if text and _digest(text, tensors) != sha256:
        raise DamagedCheckpoint(f"{path}: damaged, its content does not match its checksum")
    about = _about(path, text)
    try:
        config = from_dict(about["config"])
    except ValueError as error:  # intact, but of a version with other settings
        raise ValueError(f"{path}: {error}") from error
    return Checkpoint(
        config=config,
        model=_part(tensors, _MODEL),
        optimizer=_part(tensors, _OPTIMIZER),
        **{name: about[name] for name in _ABOUT},
        code=about.get("code", []),
    )


def _about(path: Path, text: str) -> dict[str, Any]:
    """What the metadata say beside the tensors; a checksum alone makes no checkpoint of ours."""
    try:
        about = from_json(text)
    except ValueError:
        about = None
    if not isinstance(about, dict) or "format" not in about:
        raise DamagedCheckpoint(f"{path}: a safetensors file, but not a checkpoint of this project")
    if about["format"] != FORMAT:
        raise DamagedCheckpoint(f"{path}: format {about['format']!r}, expected {FORMAT!r}")
    try:
        msgspec.convert(about, About)
    except msgspec.ValidationError as error:
        raise DamagedCheckpoint(f"{path}: not a checkpoint of this project: {error}") from error
    return about


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest intact resume state in `folder`, and a message for each damaged one passed over.

    None if there is no checkpoint at all; DamagedCheckpoint if there are some and none is intact.
    """
    refused = []
    for name in (CURRENT, PREVIOUS):
        if (folder / name).exists():
            try:
                return _load(folder / name), refused
            except DamagedCheckpoint as error:
                refused.append(str(error))
    if refused:
        raise DamagedCheckpoint(
            "; ".join(refused) + ": no intact checkpoint is left; "
            "remove the folder to start again, or give another --output"
        )
    return None, refused


def as_final(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without its optimiser state: what is published and predicted with."""
    return replace(checkpoint, optimizer={})


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
