"""Calibrations: what one machine does, as it was measured, in a file of its own.

A calibration is a cluster of the catalog that somebody measured: one file has its accelerator, its network and what
was fitted to the rows measured there, each in the shape that the catalog's own files have. Its id names all of them.
"""

import datetime
import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from walltime.catalog.fitted import FittedBlock, KernelsRecord, LinksRecord
from walltime.catalog.loader import data_root, read_toml
from walltime.catalog.schema import (
    AcceleratorRecord,
    ClusterRecord,
    DrawRecord,
    EfficiencyRecord,
    NetworkRecord,
    Number,
)
from walltime.problems import BadInput

FOLDER_VARIABLE = "WALLTIME_CALIBRATIONS"
"""Environment variable that names the folder of the user's calibrations instead of the usual one."""


class RowsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of measured rows that a calibration was fitted on."""

    path: str
    sha256: str
    rows: int


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a calibration came to be.

    Attributes
    ----------
    date
        Of the fit.
    command
        That made the file.
    walltime, data_version
        Of the program and of the catalog that it starts from.
    seed
        Of the split into rows fitted on and rows held out.
    files
        The rows.
    environments
        What the rows were measured with, each as `walltime.measure.environment` records it: hardware, driver, clocks,
        versions, settings of the communication library.
    """

    date: datetime.date
    command: str
    walltime: str
    data_version: str
    seed: int
    files: list[RowsFile]
    environments: list[dict[str, Any]] = []


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How well one part of a calibration meets its rows; errors are relative and absolute, of time or of power.

    Attributes
    ----------
    part
        What was fitted: ``matmul.bf16``, ``all_reduce``, ``step time``, ``power``.
    rows
        How many.
    median_error_before, p90_error_before
        By the catalog's numbers, where it has the accelerator.
    median_error, p90_error
        On the rows fitted: no prediction.
    held_out_median_error, held_out_p90_error
        On rows left out of the fit.
    held_out
        Which rows were left out.
    residuals
        Predicted over measured less one, row by row as the files have them.
    """

    part: str
    rows: int
    median_error_before: float | None = None
    p90_error_before: float | None = None
    median_error: float
    p90_error: float
    held_out_median_error: float | None = None
    held_out_p90_error: float | None = None
    held_out: str = ""
    residuals: list[float] = []


class CalibrationRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``calibrations/<id>.toml``: one measured machine.

    Attributes
    ----------
    id, name
        Of the calibration, of its cluster, its accelerator and its network alike.
    based_on
        The catalog's accelerator whose datasheet, prices and kin it takes; empty for a machine that no datasheet has.
    accelerator, efficiency, network, cluster
        As the catalog has them. The accelerator's aliases are what measured rows call it.
    kernels, links
        Fitted kernels by themselves and collectives.
    chip
        What the accelerator sustains in training; empty values are those of ``based_on``, or the usual ones.
    stack
        What software stacks add on this machine, by stack; likewise.
    draw
        What it draws, as shares of the board's limit; nothing where power was not measured.
    usable_bytes
        Memory that the software may take.
    origin, quality
        How it was made, and how good it is.
    """

    schema: Literal[1]
    id: str
    name: str
    based_on: str = ""
    accelerator: AcceleratorRecord
    efficiency: EfficiencyRecord
    network: NetworkRecord
    cluster: ClusterRecord
    kernels: KernelsRecord
    links: LinksRecord
    chip: FittedBlock | None = None
    stack: dict[str, FittedBlock] = {}
    draw: DrawRecord | None = None
    usable_bytes: Number | None = None
    origin: Origin
    quality: list[Quality] = []

    def __post_init__(self) -> None:
        """All records are of the one machine."""
        named = {
            *(self.accelerator.id, self.accelerator.usual_cluster, self.efficiency.accelerator, self.network.id),
            *(self.cluster.id, self.cluster.accelerator, self.cluster.network),
            *(self.kernels.accelerator, self.links.network),
        }
        if named != {self.id}:
            raise ValueError(f"every record is of {self.id!r}, not of {', '.join(sorted(named - {self.id}))}")
        if len(self.links.level) != len(self.network.level):
            raise ValueError("`links` has as many levels as `network`")


def user_folder() -> Path:
    """Return the folder that `walltime calibrate` writes to."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    import platformdirs

    return platformdirs.user_data_path("walltime") / "calibrations"


def calibration_files() -> dict[str, Path]:
    """Return the file of each calibration by id: those that walltime ships, then the user's own."""
    folders = (data_root() / "calibrations", user_folder())
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


_registered: dict[str, CalibrationRecord] = {}


@contextmanager
def registered(record: CalibrationRecord) -> Iterator[None]:
    """Have a calibration found by its id without a file: while it is being fitted, for example."""
    before = _registered.get(record.id)
    _registered[record.id] = record
    try:
        yield
    finally:
        if before is None:
            del _registered[record.id]
        else:
            _registered[record.id] = before


def calibration_record(calibration_id: str) -> CalibrationRecord | None:
    """Return the calibration of this id, None if there is none.

    Raises
    ------
    BadInput
        Its file is not a calibration; the message names the file and the field.
    """
    if calibration_id in _registered:
        return _registered[calibration_id]
    path = calibration_files().get(calibration_id)
    return None if path is None else read_calibration(path)


def read_calibration(path: Path) -> CalibrationRecord:
    """Read a calibration file.

    Raises
    ------
    BadInput
        As `calibration_record`.
    """
    return _read(path, _hash(path))


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror or error}.") from None


@functools.cache
def _read(path: Path, _version: str) -> CalibrationRecord:
    raw = read_toml(path)
    try:
        record = msgspec.convert(raw, CalibrationRecord)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {error}") from None
    if record.id != path.stem:
        raise BadInput(f"{path}: its id is {record.id!r}. Valid: {path.stem!r}, as the file is called.")
    return record
