"""What a run leaves behind: one JSON record, append-only, from which every table is made.

A record holds no path, host or user name of the machine it was made on.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import msgspec

from unet2015.config import ExperimentConfig, as_dict, config_hash
from unet2015.runtime.atomic import NameTaken, write_text
from unet2015.runtime.memory import GIB, memory_bytes
from unet2015.runtime.read_back import from_json, read_text
from unet2015.runtime.record_schema import EXPERIMENTS, Record

SCHEMA = 1
"""Version of the records' layout; `read_records` refuses any other."""
SHA256 = "sha256"
"""The field with the checksum of all others; records of earlier versions have none."""
REPOSITORY = Path(__file__).resolve().parents[2]
COMMIT = "UNET2015_COMMIT"
"""The environment variable that says which commit a copy without its repository is of."""
PACKAGES = (
    "unet2015",
    "torch",
    "numpy",
    "scipy",
    "elasticdeform",
    "scikit-image",
    "tifffile",
    "safetensors",
    "numba",
)
"""Packages whose version may change a result."""
CPU_INFO = Path("/proc/cpuinfo")
"""Where Linux describes the processor."""
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""With which oneDNN multiplies matrices in bfloat16, the fastest last, in Linux's names."""
_COMPUTES = ("experiments", "unet2015/")
_SHOWS = ("reports", "benchmarks", "cli", "__main__.py")
_NOT_CODE = (":(exclude)results", ":(exclude)README.md")


def provenance(
    *,
    config: ExperimentConfig,
    seed: int,
    data_hashes: Mapping[str, str],
    command: str,
    started: datetime,
    wall_time_s: float,
    deviations: Sequence[str],
    code: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Where a result comes from: the part that the records of all experiments share.

    command: as `command_line` renders it. started: with its time zone. wall_time_s: seconds.
    deviations: how `config` differs from the paper, one line each. code: `code_version()` taken
    when the run began (a long run may outlast its checkout); None: as it is now.
    Raises ValueError for a `started` without time zone.
    """
    return {
        **(code_version() if code is None else code),
        "versions": versions(),
        "hardware": hardware(),
        "config": as_dict(config),
        "config_hash": config_hash(config),
        "seed": seed,
        "data_hashes": dict(data_hashes),
        "deviations": list(deviations),
        "started": _utc(started).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "wall_time_s": round(wall_time_s, 1),
        "command": command,
    }


def code_version(repository: Path = REPOSITORY) -> dict[str, Any]:
    """The commit of the code and whether it was changed since: {"commit", "code_tree", "dirty"}.

    code_tree: a hash of what computes, of that commit: experiments/ and unet2015/ without the rooms
    that only show (pages, benchmarks, command line); two commits that differ elsewhere have the
    same. Where the code does not lie in its
    own git repository, as in a copy that was sent to a cluster, the commit is what the environment
    variable UNET2015_COMMIT says (ValueError if that is none), and the others are None: not known.
    Records, pages and README.md do not count as changes: nothing computes from them.
    """
    top = _git(repository, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != repository.resolve():
        return {"commit": _told_commit(), "code_tree": None, "dirty": None}
    listed = (_git(repository, "ls-tree", "HEAD", "--", *_COMPUTES) or "").splitlines()
    trees = "\n".join(line for line in listed if not line.endswith(_SHOWS))
    changes = _git(repository, "status", "--porcelain", "--", ".", *_NOT_CODE)
    return {
        "commit": _git(repository, "rev-parse", "--verify", "--quiet", "HEAD"),
        "code_tree": hashlib.sha256(trees.encode()).hexdigest()[:12] if trees else None,
        "dirty": None if changes is None else bool(changes),
    }


def _told_commit() -> str | None:
    told = os.environ.get(COMMIT, "").strip()
    if told and not re.fullmatch("[0-9a-f]{7,64}", told):
        raise ValueError(f"{COMMIT} = {told!r}: must be the hexadecimal hash of a git commit")
    return told or None


def _git(folder: Path, *arguments: str) -> str | None:
    """What a git command prints in `folder`; None if it fails or there is no git."""
    # a git hook sets GIT_DIR and others, which would point at another repository
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        ended = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=30,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # the name of a folder may be in it, whatever the locale
    return os.fsdecode(ended.stdout).strip() if ended.returncode == 0 else None


def versions() -> dict[str, str | None]:
    """Versions of Python, the system and `PACKAGES`; None for a package that is not installed."""
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        # without the kernel's release, which may carry the name of who built it
        "platform": f"{platform.system()} {platform.machine()} {''.join(platform.libc_ver())}",
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def hardware() -> dict[str, Any]:
    """CPU model, usable cores, memory in GiB, accelerators, and PyTorch's number of threads.

    Of a CPU also what the speed and the last bits of bfloat16 depend on, as processors of one model
    name differ in it: its `INSTRUCTIONS`, and to which the environment limits oneDNN, if it does.
    """
    import torch  # here, so that records are read and tables made without it

    affinity = getattr(os, "sched_getaffinity", None)
    names = []
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_model(),
        "instructions": _instructions(),
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "ram_gib": None if (memory := memory_bytes()) is None else round(memory / GIB, 1),
        "accelerators": names,
        "cuda": torch.version.cuda if names else None,
        "torch_threads": torch.get_num_threads(),
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _cpu_info(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _instructions() -> list[str]:
    """Those of `INSTRUCTIONS` that the processor has; none where the system does not say."""
    found = re.search(r"^flags\s*:\s*(.+)$", _cpu_info(), re.MULTILINE)
    return [name for name in INSTRUCTIONS if found and name in found[1].split()]


def _cpu_info() -> str:
    """What Linux says of the processor; nothing elsewhere."""
    try:
        return CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def peak_memory_gib() -> float | None:
    """The largest resident memory that this process has had, in GiB; None where unknown.

    Memory of an accelerator is not part of it.
    """
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / GIB, 2)


def command_line(argv: Sequence[str] | None = None) -> str:
    """The command as somebody else would type it: no path of this machine in it.

    argv: as `sys.argv`, which is the default. The script is shown relative to the repository
    (`python -m` for a package); a path that is absolute or leads upwards keeps its last part.

    >>> command_line(["reproduce/em_challenge.py", "--data", "/home/me/isbi2012", "--seed=1"])
    'python reproduce/em_challenge.py --data …/isbi2012 --seed=1'
    """
    script, *arguments = sys.argv if argv is None else argv
    return " ".join(["python", *_script(Path(script)), *map(_portable, arguments)])


def _script(script: Path) -> list[str]:
    if script.resolve().is_relative_to(REPOSITORY):
        script = script.resolve().relative_to(REPOSITORY)
        if script.name == "__main__.py":
            return ["-m", ".".join(script.parent.parts)]
    return [_portable(script.as_posix())]


def _portable(argument: str) -> str:
    """An argument with its path shortened, in quotes where a shell needs them."""
    option, sign, value = argument.partition("=")
    if not (sign and option.startswith("-")):
        option, sign, value = "", "", argument
    path = PureWindowsPath(value)
    if not path.is_absolute():
        path = PurePosixPath(value)
    if path.is_absolute() or path.parts[:1] in (("..",), ("~",)):
        # the last part of a home folder would be a user's name
        # os.path, unlike Path, follows a link to itself, and minds no missing home
        at_home = os.path.realpath(os.path.expanduser(value)) == os.path.realpath(  # noqa: PTH111
            os.path.expanduser("~")  # noqa: PTH111
        )
        value = "…" if at_home or path.name in ("", "..") else f"…/{path.name}"
    shown = f"{option}{sign}{value}"
    plain = shown.replace("…", "x")  # a sign of ours, which no shell minds
    return shown if shlex.quote(plain) == plain else shlex.quote(shown)


def write_record(
    directory: Path,
    name: str,
    record: Mapping[str, Any],
    *,
    now: datetime | None = None,
    announce: Callable[[str], None] | None = None,
) -> Path:
    """Write a run's record to `directory`/<name>_<UTC time>.json and return that path.

    Append-only: a file that exists is never overwritten, the new one gets a counter. The record
    gets the fields schema, name and sha256. now: time of writing, for tests. announce: called with
    the file's name before there is such a file, so that whoever notes it never knows too little.
    Raises ValueError for a name that is no plain file name, a record without experiment, and
    NaN or infinity (JSON has neither; null says 'none').
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f"name = {name!r}: must be letters, digits, '_', '-' or '.'")
    if not isinstance(record.get("experiment"), str):
        raise ValueError("record: must have the field 'experiment', a string")
    for place, value in _numbers(record, "record"):
        if not math.isfinite(value):
            raise ValueError(f"{place} = {value}: must be finite; use None where there is none")
    stem = stamped = f"{name}_{_utc(now or datetime.now(UTC)):%Y%m%dT%H%M%SZ}"
    count = 1
    while True:
        # as it will be read, NumPy's numbers as Python's
        complete = json.loads(_as_json({**record, "schema": SCHEMA, "name": stem}))
        text = _as_json(complete | {SHA256: checksum(complete)}, indent=1)
        path = directory / f"{stem}.json"
        if announce is not None:
            announce(path.name)
        try:
            write_text(path, text + "\n", new=True)
            return path
        except NameTaken:
            count += 1
            stem = f"{stamped}_{count}"


def read_records(directory: Path, experiment: str | None = None) -> list[dict[str, Any]]:
    """The records in `directory`, of one experiment or all, sorted by name.

    Raises FileNotFoundError if there is no such folder, and ValueError naming file and field for
    one that is not a record of `SCHEMA`, whose fields are not those of `record_schema`, or whose
    checksum is another.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such folder of records (results/runs)")
    paths = [p for p in directory.glob("*.json") if not p.name.startswith(".")]
    records = [read_record(path) for path in sorted(paths, key=lambda path: path.stem)]
    return [r for r in records if experiment in (None, r["experiment"])]


def read_record(path: Path) -> dict[str, Any]:
    """The record of a file; ValueError as `read_records`."""
    remedy = "move it elsewhere or restore it (git checkout)"
    try:
        record = from_json(read_text(path), _number)
    except ValueError as error:
        raise ValueError(f"{path}: not a record, damaged JSON ({error}); {remedy}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not a record, the field schema must be {SCHEMA}; {remedy}")
    if record.get("name") != path.stem:
        raise ValueError(
            f"{path}: its field name is {record.get('name')!r}, must be the file's; {remedy}"
        )
    try:
        msgspec.convert(record, EXPERIMENTS.get(str(record.get("experiment")), Record))
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(f"{path}: not a whole record: {error}; {remedy}") from error
    if record.get(SHA256) not in (None, checksum(record)):
        raise ValueError(f"{path}: was changed since it was written (its {SHA256}); {remedy}")
    return record


def checksum(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record's content, apart from its checksum; not of how the file is laid out."""
    content = {key: value for key, value in record.items() if key != SHA256}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _as_json(record: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(
        record, sort_keys=True, indent=indent, ensure_ascii=False, allow_nan=False, default=_plain
    )


def _number(text: str) -> float:
    """JSON's numbers may be too large for a float, and Python writes NaN and Infinity."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return value


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """Every floating-point number of nested containers, with its place for a message."""
    value = _plain(value) if hasattr(value, "tolist") else value
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{place}[{index}]")


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's; anything else is a mistake of the caller."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise ValueError(f"record: {value!r} ({type(value).__name__}) cannot be written as JSON")


def _utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError(f"time {time.isoformat()}: must have a time zone, as datetime.now(UTC)")
    return time.astimezone(UTC)
