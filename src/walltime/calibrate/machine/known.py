"""What is known of a machine before its rows are fitted: the catalog's records, or what the rows themselves show."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from walltime import hardware
from walltime.calibrate.machine.blocks import Source
from walltime.calibrate.machine.memory import LEAST_BYTES_ON_CPU, MemoryRows
from walltime.calibrate.machine.rows import MachineRows
from walltime.calibrate.machine.tables import MOVING_OPS, WORD_BYTES, matmul_tables, memory_table
from walltime.calibrate.matmul import Device, Rows
from walltime.catalog import (
    DATASHEET,
    AcceleratorRecord,
    ClusterRecord,
    EfficiencyRecord,
    NetworkRecord,
    Number,
    parameter_set,
)
from walltime.catalog.fitted import KernelsRecord, LinksRecord, kernels_record, links_record
from walltime.engines.calibration import Calibration, calibration
from walltime.physics.links import LinkLevel
from walltime.problems import BadInput

_ANY_STACK = "generic"
_LEAST_MATMULS, _LEAST_COPIES = 4, 2
"""Points without which a processor's matmuls and memory are not known."""


@dataclass(frozen=True)
class Base:
    """The catalog's records of the machine that a calibration is based on, and its numbers as the engine has them."""

    accelerator: AcceleratorRecord
    efficiency: EfficiencyRecord
    network: NetworkRecord
    cluster: ClusterRecord
    kernels: KernelsRecord
    links: LinksRecord
    numbers: Calibration

    @property
    def levels(self) -> tuple[LinkLevel, ...]:
        """Levels of its usual network, innermost first."""
        return self.numbers.links.levels


def base_of(accelerator_id: str) -> Base:
    """Return the catalog's records of an accelerator and its usual cluster."""
    numbers = parameter_set(DATASHEET)
    chip = numbers.get(AcceleratorRecord, accelerator_id)
    cluster = numbers.get(ClusterRecord, chip.usual_cluster)
    return Base(
        accelerator=chip,
        efficiency=numbers.get(EfficiencyRecord, chip.id),
        network=numbers.get(NetworkRecord, cluster.network),
        cluster=cluster,
        kernels=kernels_record(chip.id),
        links=links_record(cluster.network),
        numbers=calibration(hardware.cluster(cluster.id), _ANY_STACK),
    )


@dataclass(frozen=True)
class Rates:
    """Peaks and bandwidth that efficiencies are shares of.

    Attributes
    ----------
    peaks
        Dense, by precision: a datasheet's, or the largest that was measured. [FLOP/s]
    hbm_bytes_per_s
        Likewise. [B/s]
    num_cores
        Cores that share the tiles of a matmul.
    """

    peaks: dict[str, Number]
    hbm_bytes_per_s: Number
    num_cores: int

    def device(self, precision: str) -> Device:
        """Return what a matmul of one precision runs on."""
        peak = float(self.peaks[precision].value)
        return Device(peak, float(self.hbm_bytes_per_s.value), self.num_cores, WORD_BYTES[precision])


def rates_of(rows: MachineRows, base: Base | None, source: Source) -> Rates:
    """Return the rates of a machine.

    Raises
    ------
    BadInput
        No datasheet has it, and its kernels were not measured.
    """
    tables = matmul_tables(rows.kernels)
    if base is not None:
        chip = base.accelerator
        others = {name: _largest_rate(table, name, source) for name, table in tables.items()}
        return Rates(others | chip.peak_flop_per_s, chip.hbm_bytes_per_s, int(chip.num_sms.value))
    memory = memory_table(rows.kernels, MOVING_OPS)
    enough = any(len(table.m) >= _LEAST_MATMULS for table in tables.values())
    if not enough or memory is None or len(memory) < _LEAST_COPIES:
        missing = "matmuls" if not enough else "memory-bound kernels"
        given = " ".join(file.path for file in rows.files)
        raise BadInput(
            f"no datasheet has {rows.gpu_names[0]!r}, and its {missing} were not measured. Valid: on that machine "
            f"`walltime measure gemm --csv kernels.csv`, then `walltime calibrate kernels.csv {given}`."
        )
    peaks = {name: _largest_rate(table, name, source) for name, table in tables.items()}
    return Rates(peaks, _largest_bandwidth(memory, source), 1)


def _largest_rate(rows: Rows, precision: str, source: Source) -> Number:
    rate = 2 * rows.m * rows.n * rows.k * rows.groups / rows.time_s
    best = int(np.argmax(rate))
    shape = f"{rows.m[best]:.0f} x {rows.n[best]:.0f} x {rows.k[best]:.0f}"
    return source.measured(float(rate[best]), f"{precision} matmuls", f"The largest rate that was measured ({shape}).")


def large(rows: MemoryRows, least_bytes: float) -> MemoryRows:
    """Return the rows that move at least so much, or the largest ones if none does. [B]"""
    at_least = min(least_bytes, float(np.max(rows.num_bytes)))
    return rows.where(rows.num_bytes >= at_least)


def _largest_bandwidth(rows: MemoryRows, source: Source) -> Number:
    used = large(rows, LEAST_BYTES_ON_CPU)
    best = int(np.argmax(used.bytes_per_s))
    what = f"{used.op[best]} of {used.num_bytes[best]:.3g} bytes"
    note = f"The largest rate that was measured of tensors that no core's own cache holds ({what})."
    return source.measured(float(used.bytes_per_s[best]), "memory-bound kernels", note)


def told(rows: MachineRows, name: str) -> Any:
    """Return what the rows' environments say of something, None if none does; the largest of several numbers."""
    values = [each[name] for each in rows.environments if each.get(name) is not None]
    if values and all(isinstance(value, int | float) for value in values):
        return max(values)
    return values[0] if values else None
