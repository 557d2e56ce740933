"""The network of one machine as catalog records: its levels, and what collectives find of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from msgspec.structs import asdict, replace

from walltime.calibrate.collectives import Rows
from walltime.calibrate.machine.blocks import Source, fitted_block, rounded
from walltime.calibrate.machine.known import Base, Rates
from walltime.calibrate.machine.links import (
    LevelFit,
    at_level,
    collective_rows,
    domain_of,
    fit_levels,
    largest_bytes_per_s,
    level_values,
    usual_level,
)
from walltime.calibrate.machine.quality import Holdout, RowsFit
from walltime.calibrate.machine.rows import MachineRows
from walltime.catalog import LevelRecord, NetworkRecord, Number
from walltime.catalog.fitted import LinkBlock, LinksRecord
from walltime.physics.links import LinkLevel

_NODE, _BETWEEN = "node", "network"
_NOT_MEASURED = "Not measured: `walltime measure collectives` does."
_PASSES_OF_A_COPY = 2
_RANGE = 10
"""How many times more or less a bandwidth or a wait may be that nobody measured."""
_USUAL_WAIT_S = 5e-5


@dataclass(frozen=True)
class MachineNetwork:
    """A machine's network before its levels are fitted.

    Attributes
    ----------
    record
        Levels with their bandwidths.
    rows
        Measured collectives; None without any.
    domain
        Accelerators that the innermost level joins.
    levels, before
        Where the fit starts; the catalog's, where it has the machine.
    """

    record: NetworkRecord
    rows: Rows | None
    domain: int
    levels: tuple[LinkLevel, ...]
    before: tuple[LinkLevel, ...] | None

    def fitted(self, holdout: Holdout) -> "NetworkFit":
        """Fit every level."""
        return NetworkFit(self, tuple(fit_levels(self.rows, self.levels, self.before, holdout)))


@dataclass(frozen=True)
class NetworkFit:
    """A machine's network after the fit, level by level."""

    network: MachineNetwork
    levels: tuple[LevelFit, ...]

    @cached_property
    def names(self) -> list[str]:
        """What the levels are called."""
        return [level.name for level in self.network.record.level]

    def by_part(self) -> Iterator[tuple[str, RowsFit]]:
        """Yield the errors of each collective across each level, with the name of the part."""
        for name, level in zip(self.names, self.levels, strict=True):
            for collective in level.collectives:
                yield f"{collective} ({name})", level.of(collective)

    def links(self, source: Source, base: Base | None) -> LinksRecord:
        """Return the levels as a catalog record; what was not measured is the catalog's, or a wide estimate."""
        known = list(base.links.level) if base else [None] * len(self.levels)
        blocks = [
            _block(name, level, before, source)
            for name, level, before in zip(self.names, self.levels, known, strict=True)
        ]
        return LinksRecord(schema=1, network=self.network.record.id, level=blocks)


def machine_network(rows: MachineRows, base: Base | None, rates: Rates, source: Source) -> MachineNetwork:
    """Return the network of a machine: the catalog's levels, or those that its rows show."""
    known = base.network.level[0].size if base else None
    nodes = [row.gpus_per_node for row in rows.training if row.gpus_per_node]
    domain = domain_of(rows.collectives, nodes, known)
    table = collective_rows(rows.collectives, domain)
    if base is None:
        record = _measured_network(rows, table, domain, rates, source)
        levels = tuple(usual_level(float(level.bytes_per_s.value)) for level in record.level)
        return MachineNetwork(record, table, domain, levels, None)
    first = replace(base.network.level[0], size=domain) if len(base.network.level) > 1 else base.network.level[0]
    name = f"{base.network.name}, as measured"
    record = replace(base.network, id=source.calibration, name=name, level=[first, *base.network.level[1:]])
    return MachineNetwork(record, table, domain, base.levels, base.levels)


def _measured_network(
    rows: MachineRows, table: Rows | None, domain: int, rates: Rates, source: Source
) -> NetworkRecord:
    """Return the levels of a machine that no datasheet has: one, or two where rows are of several nodes."""
    crosses = table is not None and bool((table.sizes[:, 1] > 1).any())
    several = crosses or any((row.n_gpus or 1) > (row.gpus_per_node or row.n_gpus or 1) for row in rows.training)
    names = (_NODE, _BETWEEN) if several else (_NODE,)
    levels = [
        LevelRecord(
            name=name,
            bytes_per_s=_bandwidth(table, position, rates, source),
            latency_s=_latency(table, position, source),
            size=domain if several and position == 0 else None,
        )
        for position, name in enumerate(names)
    ]
    return NetworkRecord(
        schema=1, id=source.calibration, name=f"between processes of {rows.gpu_names[0]}", level=levels
    )


def _bandwidth(table: Rows | None, position: int, rates: Rates, source: Source) -> Number:
    """Return the largest bus bandwidth across a level. [B/s]"""
    measured = largest_bytes_per_s(table, position) if table is not None else None
    if measured is not None:
        return source.measured(measured, "collectives", "The largest bus bandwidth that was measured.")
    copied = float(rates.hbm_bytes_per_s.value) / _PASSES_OF_A_COPY
    return _guess(copied, f"{_NOT_MEASURED} As if a message were copied in memory.")


def _latency(table: Rows | None, position: int, source: Source) -> Number:
    """Return the time of the fastest collective across a level. [s]"""
    mine = at_level(table, position) if table is not None else None
    if mine is not None and len(mine):
        return source.measured(float(mine.time_s.min()), "collectives", "The fastest that was measured.")
    return _guess(_USUAL_WAIT_S, f"{_NOT_MEASURED} What processes take to be scheduled.")


def _guess(value: float, note: str) -> Number:
    value = rounded(value)
    return Number(value, "estimate", low=value / _RANGE, high=value * _RANGE, note=note)


def _block(name: str, level: LevelFit, known: LinkBlock | None, source: Source) -> LinkBlock:
    values = level_values(level.level)
    if level.fit is not None:
        others = [each for each in values if each not in level.fit.numbers.values and each in _ASKED]
        fitted = fitted_block(source, f"collectives across {name}", values, level.fit, others)
        return LinkBlock(name=name, **asdict(fitted))
    if known is not None:
        return replace(known, values={key: value for key, value in known.values.items() if np.isfinite(value)})
    return LinkBlock(name=name, kind="estimate", values=values, note=_NOT_MEASURED, estimated=list(values))


_ASKED: Sequence[str] = (
    *("efficiency", "start_s", "hop_s", "tree_start_s", "tree_hop_s", "tree_efficiency", "all_to_all_efficiency"),
    *("send_efficiency", "peer_s", "copy_share", "relay_s", "reduce_slowdown"),
)
"""Numbers of a level that a collective may ask for."""
