"""The shape of a calibration file: one measured machine, with how it was measured and how well it was fitted."""

import datetime
import hashlib
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from walltime.catalog.fitted import FittedBlock, KernelsRecord, LinksRecord
from walltime.catalog.schema import (
    AcceleratorRecord,
    ClusterRecord,
    DrawRecord,
    EfficiencyRecord,
    NetworkRecord,
    Number,
)


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


STEP_TIME = "step time"
"""The part of a calibration's quality that is about whole training steps."""


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

    def __hash__(self) -> int:
        """Be a key of caches, so that what is made of a record lasts as long as its content does."""
        return hash((self.id, self.origin.date))

    @property
    def version(self) -> str:
        """A short hash of everything in it but its id, so that a result says which numbers it stands on."""
        as_read = msgspec.convert(msgspec.to_builtins(self.called("")), CalibrationRecord)
        return hashlib.sha256(msgspec.json.encode(as_read)).hexdigest()[:12]

    @property
    def step_quality(self) -> Quality | None:
        """How well it meets its training steps, None where it was fitted on none."""
        return next((each for each in self.quality if each.part == STEP_TIME), None)

    @property
    def identity(self) -> dict[str, Any]:
        """What a result says of the calibration that it stands on."""
        date = self.origin.date.isoformat()
        return {"id": self.id, "version": self.version, "date": date, "based_on": self.based_on or None}

    @property
    def labels(self) -> list[str]:
        """What it may be called: its id and name, those of its machine, and what measured rows call that."""
        machine = (self.accelerator.name, *self.accelerator.aliases, self.cluster.name, *self.cluster.aliases)
        return list(dict.fromkeys((self.id, self.name, *machine)))

    def called(self, name: str) -> "CalibrationRecord":
        """Return the same machine under another id."""
        accelerator = replace(self.accelerator, id=name, usual_cluster=name)
        return replace(
            self,
            id=name,
            accelerator=accelerator,
            efficiency=replace(self.efficiency, accelerator=name),
            network=replace(self.network, id=name),
            cluster=replace(self.cluster, id=name, accelerator=name, network=name),
            kernels=replace(self.kernels, accelerator=name),
            links=replace(self.links, network=name),
        )
