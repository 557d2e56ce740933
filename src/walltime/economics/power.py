"""What an accelerator and its share of node, network and building draw, and what that emits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.catalog.power import board_limit_w, draws, node_of, power_record
from walltime.engines.step import PARTS
from walltime.hardware import Cluster
from walltime.hardware.network import Network
from walltime.physics.power import fabric_power_w, fat_tree_levels, host_power_w, mean_power_w
from walltime.problems import BadInput

DRAWN = {
    **dict.fromkeys(("matmul", "attention"), "compute_w"),
    **dict.fromkeys(("memory_bound", "optimizer"), "memory_bound_w"),
    **dict.fromkeys(("tp_comm", "cp_comm", "ep_comm", "pp_comm", "dp_comm"), "communication_w"),
    **dict.fromkeys(("bubble", "host", "overhead"), "idle_w"),
}
"""What is drawn in each part of a step. In a bubble a receive spins without traffic, which hardly costs power."""

_LEAST = {"limit_w": 1.0, "pue": 1.0}
"""The least that a field may be; that of the others is nothing."""


@dataclass(frozen=True)
class Power:
    """Of one accelerator and its share of node, network and building. [W] unless said

    Plain numbers, to be changed with `dataclasses.replace`; where they are from: `walltime.catalog.power`.

    Raises
    ------
    BadInput
        A negative or endless number, or a PUE below 1.

    Attributes
    ----------
    limit_w
        Board power limit: no draw counts for more.
    idle_w, compute_w, memory_bound_w, communication_w
        Of the board, by what it does.
    host_w
        Share of the rest of its node: processors, memory, fans, network cards, NVLink switches. None: not known.
    network_w
        Share of switches and optics between nodes. None: not known.
    pue
        Power usage effectiveness: what the building takes in over what its machines do.
    grid_kg_per_kwh
        CO2 (equivalent) of the grid. [kg/kWh]
    """

    limit_w: float
    idle_w: float
    compute_w: float
    memory_bound_w: float
    communication_w: float
    host_w: float | None
    network_w: float | None
    pue: float
    grid_kg_per_kwh: float

    def __post_init__(self) -> None:
        """Refuse a number that no accelerator, node, building or grid can have."""
        for field in fields(self):
            value, least = getattr(self, field.name), _LEAST.get(field.name, 0.0)
            if value is not None and not (least <= value < math.inf):
                raise BadInput(f"{field.name}={value} is not possible. Valid: a finite number of at least {least:g}.")
        for name in dict.fromkeys(DRAWN.values()):
            if getattr(self, name) > self.limit_w:
                raise BadInput(f"{name}={getattr(self, name):g} is more than the board's limit of {self.limit_w:g} W.")

    @cached_property
    def part_powers_w(self) -> dict[str, float]:
        """What a board draws in each part of a step, by `walltime.engines.step.PARTS`. [W]"""
        return {name: float(getattr(self, DRAWN[name])) for name in PARTS}

    def board_w(self, parts_s: Mapping[str, Numeric]) -> Floats:
        """Mean power of a board over a step of these parts, (plans,). [W]"""
        return mean_power_w(parts_s, self.part_powers_w, self.limit_w)

    def facility_w(self, parts_s: Mapping[str, Numeric]) -> Floats | None:
        """Mean power of an accelerator with its share of node, network and building, (plans,); None: not known. [W]"""
        if self.host_w is None or self.network_w is None:
            return None
        return np.asarray((self.board_w(parts_s) + self.host_w + self.network_w) * self.pue)


def power(cluster: Cluster) -> Power | None:
    """Return what an accelerator of a cluster draws; None if its power limit is not known.

    Parameters
    ----------
    cluster
        With its number of accelerators, which decides how many levels of switches there are; without, three.

    Examples
    --------
    >>> from walltime.hardware import cluster
    >>> found = power(cluster("h100-sxm", 2048))
    >>> found.limit_w, found.idle_w, round(found.host_w), found.network_w
    (700.0, 133.0, 345, 72.0)
    """
    chip, site = cluster.accelerator.id, power_record().site
    limit_w = board_limit_w(chip)
    if limit_w is None:
        return None
    idle_w, compute_w, memory_bound_w, communication_w = (limit_w * share.value for share in draws(chip))
    return Power(
        limit_w=limit_w,
        idle_w=idle_w,
        compute_w=compute_w,
        memory_bound_w=memory_bound_w,
        communication_w=communication_w,
        host_w=_host_w(chip),
        network_w=_network_w(cluster.network, cluster.num_gpus),
        pue=float(site.pue.value),
        grid_kg_per_kwh=float(site.grid_kg_per_kwh.value),
    )


def most_host_w(accelerator_id: str) -> float | None:
    """Return the most that an accelerator's share of the rest of its node can draw, None if nobody says. [W]"""
    return _of_node(accelerator_id, 1.0)


def _host_w(accelerator_id: str) -> float | None:
    """Return what an accelerator's share of the rest of its node draws, None if nobody says. [W]"""
    return _of_node(accelerator_id, float(power_record().host_fraction.value))


def _of_node(accelerator_id: str, fraction: float) -> float | None:
    node = node_of(accelerator_id)
    rated_w = None if node is None else board_limit_w(node.accelerators[0])
    if node is None or rated_w is None:
        return None
    return host_power_w(float(node.max_w.value), node.num_accelerators, rated_w, fraction)


def _network_w(network: Network, num_gpus: int | None) -> float:
    """Return the share of one accelerator in switches and optics of the outermost level. [W]

    None are needed where all accelerators are in one group of the level below.
    """
    fabric = power_record().fabric
    if num_gpus is None:
        levels = int(fabric.usual_levels.value)
    elif network.level_sizes and num_gpus <= math.prod(network.level_sizes):
        levels = 0
    else:
        levels = fat_tree_levels(num_gpus, int(fabric.switch_ports.value))
    of_port = network.bytes_per_s[-1] / fabric.port_bytes_per_s.value
    return of_port * fabric_power_w(levels, float(fabric.port_w.value), float(fabric.transceiver_w.value))
