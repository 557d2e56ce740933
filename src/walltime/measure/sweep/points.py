"""The points of a sweep: what each asks for, and an id that says the same tomorrow."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from walltime.measure.sweep.flags import MODEL

_ID_DIGITS = 12  # 48 bits: a million points collide with a chance of 1 in 500


@dataclass(frozen=True)
class Point:
    """One training run of a sweep.

    Attributes
    ----------
    id
        A hash of everything that the run is asked: the same wherever and whenever it is asked.
    num_gpus
        Processes, one an accelerator.
    options
        Fields of ``walltime measure train``, resolved: degrees, and a batch in sequences.
    repeat
        0, then 1 and so on where points are repeated.
    cores_per_process
        Cores that each process is kept to; None for what there is.
    tables
        The tables of the file that ask for it.
    """

    id: str
    num_gpus: int
    options: Mapping[str, Any]
    repeat: int = 0
    cores_per_process: int | None = None
    tables: tuple[str, ...] = field(default=(), compare=False)

    @property
    def num_cores(self) -> int | None:
        """Cores that all its processes are kept to."""
        return None if self.cores_per_process is None else self.cores_per_process * self.num_gpus

    def request(self) -> dict[str, Any]:
        """Return what it asks, as the journal has it."""
        asked = {"num_gpus": self.num_gpus, "options": dict(self.options), "repeat": self.repeat}
        return asked | ({} if self.cores_per_process is None else {"cores_per_process": self.cores_per_process})


@dataclass(frozen=True)
class LeftOut:
    """A combination that cannot be run, and why; ``point_id`` if it became a point at all."""

    table: str
    options: Mapping[str, Any]
    reason: str
    point_id: str = ""


def point_id(num_gpus: int, options: Mapping[str, Any], repeat: int, cores_per_process: int | None = None) -> str:
    """Return the hash of a request. A model in a file counts by what the file says, not by where it lies."""
    asked = dict(options) | {MODEL: _identity(str(options.get(MODEL, "")))}
    more = [] if cores_per_process is None else [cores_per_process]
    text = json.dumps([num_gpus, asked, repeat, *more], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]


def _identity(model: str) -> str:
    path = Path(model)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        return model
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
