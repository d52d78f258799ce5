"""Runs in words: what pages and commands say of their settings, code, plan and time."""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

OPEN = "paper"
"""The preset whose number of steps and precision are no part of it: the paper states neither."""


def preset_in_words(record: Record, arm: str = "") -> str:
    """The preset of a run, with its arm; of `OPEN`, with number of steps and precision.

    >>> config = {"training": {"steps": 20000, "precision": "bfloat16"}}
    >>> config["prediction"] = {"precision": "float32"}
    >>> preset_in_words({"preset": "paper", "config": config}, "no_elastic")
    '`paper no_elastic`, 20000 steps in bfloat16, predicted in float32'
    """
    name = "`" + f"{record['preset']} {arm}".strip() + "`"
    if record["preset"] != OPEN:
        return name
    training, predicted = (record["config"][part] for part in ("training", "prediction"))
    words = f"{name}, {training['steps']} steps in {training['precision']}"
    same = predicted["precision"] == training["precision"]
    return words if same else f"{words}, predicted in {predicted['precision']}"


def commit_in_words(record: Record) -> str:
    """The commit that made a record, and whether the code was changed since.

    >>> commit_in_words({"commit": "c" * 40, "dirty": True})
    'commit cccccccccccc, with uncommitted changes'
    >>> commit_in_words({"commit": "c" * 40, "dirty": None})
    'commit cccccccccccc (a copy without its repository)'
    """
    if not record["commit"]:
        return "not under version control"
    told = {True: ", with uncommitted changes", None: " (a copy without its repository)"}
    return f"commit {record['commit'][:12]}{told.get(record['dirty'], '')}"


def processor_in_words(hardware: Mapping[str, Any]) -> str:
    """The processor of a run, with the fastest instructions that it has for bfloat16, if known.

    >>> cpu = {"cpu": "Xeon", "cores": 2}
    >>> processor_in_words(cpu)
    'Xeon, 2 cores'
    >>> processor_in_words(cpu | {"instructions": ["avx2", "amx_bf16"], "onednn_max_cpu_isa": None})
    'Xeon with amx_bf16, 2 cores'
    >>> processor_in_words(cpu | {"instructions": [], "onednn_max_cpu_isa": "AVX2"})
    'Xeon, oneDNN limited to AVX2, 2 cores'
    """
    name = hardware["cpu"]
    if instructions := hardware.get("instructions"):
        name += f" with {instructions[-1]}"
    if limit := hardware.get("onednn_max_cpu_isa"):
        name += f", oneDNN limited to {limit}"
    return f"{name}, {hardware['cores']} cores"


def plan_in_words(plan: Mapping[str, Any]) -> str:
    """A plan of --minutes (`budget`).

    >>> plan_in_words({"minutes": 5.0, "steps": 20480, "trainings": 5, "seconds_per_step": 0.0024,
    ...                "seconds_beside": 31.4})
    'planned for 5 minutes: 20480 steps of 2.4 ms in each of 5 training(s), 31.4 s for the rest'
    """
    if plan.keys() >= {"steps", "seconds_per_step"}:
        what = f"{plan['steps']} steps of {duration(plan['seconds_per_step'])} in each"
    else:
        what = f"{plan.get('share', 1):.1%} of the steps of each"
    return (
        f"planned for {plan['minutes']:g} minutes: {what} of {plan['trainings']} training(s), "
        f"{duration(plan['seconds_beside'])} for the rest"
    )


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use.

    >>> duration(0.0024), duration(90), duration(5400), duration(300_000)
    ('2.4 ms', '90 s', '90 min', '83.3 h')
    """
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def spans(slices: Sequence[int]) -> str:
    """Slice numbers as spans.

    >>> spans([0, 1, 2, 5, 24, 25])
    '0–2, 5, 24–25'
    """
    found: list[list[int]] = []
    for number in sorted(set(slices)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{a}–{b}" if a != b else f"{a}" for a, b in found)
