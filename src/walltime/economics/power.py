"""STUB until the power helper's module lands: same names, same meaning."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.catalog import DATASHEET, AcceleratorRecord, parameter_set
from walltime.catalog.power import power_record
from walltime.engines.step import PARTS
from walltime.hardware import Cluster

_DRAWS = {
    **dict.fromkeys(("matmul", "attention"), "compute_w"),
    **dict.fromkeys(("memory_bound", "optimizer"), "memory_bound_w"),
    **dict.fromkeys(("tp_comm", "cp_comm", "ep_comm", "pp_comm", "dp_comm", "bubble"), "communication_w"),
    **dict.fromkeys(("host", "overhead"), "idle_w"),
}


@dataclass(frozen=True)
class Power:
    """Of one accelerator and its share of node, network and building. [W] unless said."""

    limit_w: float
    idle_w: float
    compute_w: float
    memory_bound_w: float
    communication_w: float
    host_w: float | None
    network_w: float | None
    pue: float
    grid_kg_per_kwh: float

    @property
    def part_powers_w(self) -> dict[str, float]:
        """Draw in each part of a step. [W]"""
        return {name: getattr(self, _DRAWS[name]) for name in PARTS}

    def board_w(self, parts_s: Mapping[str, Numeric]) -> Floats:
        """Mean draw of a board over a step, (plans,). [W]"""
        draws = self.part_powers_w
        return np.asarray(
            sum(draws[name] * part for name, part in parts_s.items()) / np.add.reduce(list(parts_s.values()))
        )

    def facility_w(self, parts_s: Mapping[str, Numeric]) -> Floats | None:
        """Draw at the meter for each accelerator, (plans,). [W]"""
        if self.host_w is None or self.network_w is None:
            return None
        return (self.board_w(parts_s) + self.host_w + self.network_w) * self.pue


def power(cluster: Cluster) -> Power | None:
    """Return what is drawn on a cluster; None if its accelerator's limit is not known."""
    limit = parameter_set(DATASHEET).get(AcceleratorRecord, cluster.accelerator.id).power_w
    if limit is None:
        return None
    record, watts = power_record(), float(limit.value)
    shares = (record.idle_share, record.compute_share, record.memory_bound_share, record.communication_share)
    return Power(watts, *(watts * float(share.value) for share in shares), 200.0, 30.0, 1.2, 0.37)
