"""What accelerators, the rest of their nodes and the network between nodes draw."""

from collections.abc import Mapping

import numpy as np

from walltime.arrays import Floats, Numeric


def mean_power_w(parts_s: Mapping[str, Numeric], powers_w: Mapping[str, float], limit_w: float) -> Floats:
    r"""Mean power of a board over a step, (plans,). [W]

    .. math:: P = \frac{\sum_i t_i \min(P_i, P_\mathrm{limit})}{\sum_i t_i}      (1)

    Parameters
    ----------
    parts_s : (plans,) each
        Parts of the step: each is time that nothing else hides. [s]
    powers_w
        What is drawn in each part. [W]
    limit_w
        The board's power limit. [W]

    Approximations
    --------------
    Communication that runs beside computation adds nothing: there a board is at its limit, or near it, and what the
    network needs it takes from the clocks of the cores, as lost time. A wait keeps its clocks.

    Examples
    --------
    >>> float(mean_power_w({"matmul": 3.0, "dp_comm": 1.0}, {"matmul": 600.0, "dp_comm": 400.0}, 700.0))
    550.0
    """
    time_s = np.asarray(sum(parts_s.values()))
    energy = sum(part_s * min(powers_w[name], limit_w) for name, part_s in parts_s.items())
    return np.asarray(energy / time_s)


def host_power_w(node_w: float, num_accelerators: int, limit_w: float, fraction: float) -> float:
    """Share of one accelerator in the rest of its node. [W]

    Parameters
    ----------
    node_w
        The most that the whole node draws. [W]
    num_accelerators, limit_w
        Accelerators in it, and the power limit of each. [W]
    fraction
        How much of the most that is left for the rest it draws.

    Examples
    --------
    >>> host_power_w(10200.0, 8, 700.0, 0.6)
    345.0
    """
    return fraction * max(node_w - num_accelerators * limit_w, 0.0) / num_accelerators


def fat_tree_levels(num_endpoints: int, switch_ports: int) -> int:
    r"""Levels of switches that a fat tree without oversubscription needs: the least L with :math:`2 (k/2)^L \ge N`.

    Up to k endpoints share one switch, which then needs no port upwards.

    Parameters
    ----------
    num_endpoints
        Network cards that it joins.
    switch_ports
        Ports of each switch (k).

    Examples
    --------
    >>> [fat_tree_levels(num, 64) for num in (1, 64, 65, 2048, 2049, 65536, 131072)]
    [0, 1, 2, 2, 3, 3, 4]
    """
    levels, reach = 0, 1
    while reach < num_endpoints:
        levels += 1
        reach = 2 * (switch_ports // 2) ** levels
    return levels


def fabric_power_w(levels: int, port_w: float, transceiver_w: float) -> float:
    r"""Share of one endpoint in switches and optics of a fat tree. [W]

    Each endpoint has one port at its first switch and two at each level but the last, where links end:
    :math:`2L - 1` ports, and :math:`2L` ends of links with the card's own.

    Parameters
    ----------
    levels
        Of switches (L).
    port_w, transceiver_w
        Of one switch port without optics, of one end of a link. [W]

    Examples
    --------
    >>> fabric_power_w(3, 12.0, 9.0)
    114.0
    """
    return max(2 * levels - 1, 0) * port_w + 2 * levels * transceiver_w
