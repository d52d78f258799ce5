"""From the beginning of a run to its record: what every command that leaves one does."""

import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from unet2015.config import ExperimentConfig
from unet2015.runtime import distributed
from unet2015.runtime.atomic import write_text
from unet2015.runtime.read_back import read_text
from unet2015.runtime.record import (
    code_version,
    command_line,
    peak_memory_gib,
    provenance,
    read_record,
    write_record,
)


@dataclass(frozen=True)
class Session:
    """When a run began, and the code that it began with: a long run may outlast its checkout."""

    started: datetime
    began: float
    """The same on `time.monotonic`'s clock."""
    code: Mapping[str, Any]
    """As `record.code_version`."""

    @classmethod
    def begin(cls) -> Self:
        """A run that begins now."""
        return cls(datetime.now(UTC), time.monotonic(), code_version())

    def leave_record(
        self,
        results: Mapping[str, Any],
        records: Path,
        mark: Path,
        *,
        config: ExperimentConfig,
        seed: int,
        data_hashes: Mapping[str, str],
        deviations: Sequence[str],
    ) -> Path:
        """Write the record of a run, named as its folder, and into `mark` there the record's name.

        results: what is reported; where it comes from is added (`record.provenance`). Returns the
        record's path.
        """
        origin = provenance(
            config=config,
            seed=seed,
            data_hashes=data_hashes,
            command=command_line(),
            started=self.started,
            wall_time_s=time.monotonic() - self.began,
            deviations=deviations,
            code=self.code,
        )
        memory = {"peak_memory_gib": peak_memory_gib()}
        # the mark first: without its record it counts for nothing, but of a record without its mark
        # a run that was cut off in between would leave another one
        return write_record(
            *(records, mark.parent.name, {**results, **origin, **memory}),
            announce=lambda name: write_text(mark, name),
        )


def complete_already(records: Path, mark: Path) -> Path | None:
    """The record that the run in the folder of `mark` has left, and says so; None if there is none.

    A mark that names no record of this run counts as none: what is there is not done twice.
    """
    record = distributed.from_writer(lambda: _record(records, mark))
    if record and distributed.is_writer():
        print(f"complete already: {record}; remove {mark.parent} to run it again")
    return record


def _record(records: Path, mark: Path) -> Path | None:
    try:
        name = read_text(mark)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        name = ""
    stamped = re.escape(mark.parent.name) + r"_\d{8}T\d{6}Z(_\d+)?\.json"
    if re.fullmatch(stamped, name) and (records / name).is_file():
        read_record(records / name)
        return records / name
    print(
        f"warning: {mark}: names no record of this run in {records}; it is recorded again",
        file=sys.stderr,
    )
    return None
