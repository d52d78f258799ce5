"""What the records of each experiment hold, by name and type: what reading a record checks.

Fields that stand here must be there, with these types; a record may hold more.
"""

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from unet2015.config import ExperimentConfig

Word = Annotated[str, Meta(pattern=r"^[\w., +-]*$")]
"""A name that becomes part of a file's name, or of a table's."""
Hash = Annotated[str, Meta(pattern="^[0-9a-f]+$")]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]


class Figure(TypedDict):
    value: float | None
    threshold: NotRequired[float | None]
    thresholds: NotRequired[list[float]]
    curve: NotRequired[list[float]]
    split: NotRequired[float | None]
    merge: NotRequired[float | None]


Figures = dict[Word, Figure]
"""Metric → its value, the threshold at which it was reached, …"""


class Hardware(TypedDict):
    """`record.hardware`."""

    cpu: str
    cores: int | None
    ram_gib: float | None
    accelerators: list[str]
    torch_threads: Count
    instructions: NotRequired[list[Word]]
    onednn_max_cpu_isa: NotRequired[Word | None]


class Versions(TypedDict):
    """`record.versions`, of which more may be there."""

    python: str | None
    torch: str | None
    numpy: str | None


class Plan(TypedDict):
    """`studies.budget`'s: steps, or of several kinds of runs the share of each."""

    minutes: float
    trainings: Count
    seconds_beside: float
    steps: NotRequired[Count]
    seconds_per_step: NotRequired[Seconds]
    share: NotRequired[float]


class Training(TypedDict):
    """`studies.run_folder.training_summary`."""

    steps: Count
    seconds: Seconds
    final_loss: float
    final_accuracy: float
    dead_start_steps: Count


class Record(TypedDict):
    """Every record."""

    schema: Literal[1]
    name: Word
    experiment: Word
    sha256: NotRequired[Hash]


class OfARun(Record):
    """`record.provenance`."""

    command: str
    commit: Hash | None
    dirty: bool | None
    config: ExperimentConfig
    config_hash: Word
    data_hashes: dict[str, str]
    deviations: list[str]
    hardware: Hardware
    seed: Count
    started: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    versions: Versions
    wall_time_s: Seconds
    preset: Word
    peak_memory_gib: NotRequired[float | None]
    resumed: NotRequired[bool]
    plan: NotRequired[Plan]


class Curve(TypedDict):
    step: list[Count]
    loss: list[float]
    accuracy: list[float]


class Ablation(OfARun):
    arm: Word
    question: str
    difference: list[str]
    baseline_hash: Word
    dataset: Word
    fold: Count
    held_out: list[Count]
    outcome: Literal["finished", "diverged", "failed"]
    reason: str | None
    scores: Figures | None
    training: Training | None
    curve: Curve | None
    scores_protocol: str


class Fold(TypedDict):
    held_out: list[Count] | None
    trained_on: list[Count]
    training: Training
    prediction_seconds: Seconds
    scores: Figures


class TestVolume(TypedDict):
    training: Training
    prediction_seconds: Seconds
    scores: Figures | None
    reason: NotRequired[str]


class EMChallenge(OfARun):
    dataset: Word
    folds: dict[Annotated[str, Meta(pattern="^[0-4]$")], Fold]
    pooled: Figures | None
    pooled_slices: list[Count]
    scores_protocol: Word
    test_volume: TestVolume | None


class Instances(TypedDict):
    """`inference.instances.InstanceConfig`."""

    min_size_px: Count
    border_px: NotRequired[Count]
    fill_holes: NotRequired[bool]
    core_probability: NotRequired[Annotated[float, Meta(ge=0.5, lt=1)]]


class CellTracking(OfARun):
    arm: Word
    dataset: Literal["PhC-C2DH-U373", "DIC-C2DH-HeLa"]
    hold_out: Count
    instances: Instances
    prediction_seconds: Seconds
    scored_frames: list[Count]
    scored_sequence: Word
    scores: dict[str, float | list[float] | None]
    train_frames: list[Count]
    train_sequence: Word
    training: Training


class Metrics(TypedDict):
    theirs: dict[str, float]
    honest: dict[str, float]


Counts = TypedDict("Counts", {"trained on": str, "scored": str})


class Reimplementation(OfARun):
    system: Word
    arm: Word
    defects: list[str]
    metrics: Metrics
    training: Training
    source: str
    counts: Counts


EXPERIMENTS: dict[str, type] = {
    "ablation": Ablation,
    "em_challenge": EMChallenge,
    "cell_tracking": CellTracking,
    "reimplementation": Reimplementation,
}
"""Of each experiment; the records of another one are `Record`s."""
