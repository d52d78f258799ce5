"""From the beginning of a run to its record: what every command that leaves one does."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from unet2015.config import ExperimentConfig
from unet2015.runtime import distributed
from unet2015.runtime.atomic import write_text
from unet2015.runtime.record import (
    code_version,
    command_line,
    peak_memory_gib,
    provenance,
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
        record = write_record(records, mark.parent.name, {**results, **origin, **memory})
        write_text(mark, record.name)
        return record


def complete_already(records: Path, mark: Path) -> bool:
    """Whether the run in the folder of `mark` has left its record; says so where it has."""
    done = distributed.from_writer(lambda: mark.exists() and _record(records, mark).is_file())
    if done and distributed.is_writer():
        record = _record(records, mark)
        print(f"complete already: {record}; remove {mark.parent} to run it again")
    return done


def _record(records: Path, mark: Path) -> Path:
    return records / mark.read_text(encoding="utf-8")
