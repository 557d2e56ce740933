"""The numbers of the catalog that an account stands on, each with its provenance."""

from walltime.catalog import Number
from walltime.catalog.ownership import ownership_record, purchases, server_price_usd_per_gpu
from walltime.catalog.power import board_limit_w, draws, node_of, power_record
from walltime.catalog.prices import price_per_gpu_hour_usd
from walltime.economics.known_reliability import is_known, reliability_numbers
from walltime.economics.terms import Terms
from walltime.hardware import Cluster


def account_numbers(cluster: Cluster, terms: Terms) -> dict[str, Number]:
    """Return what power, price and failures of a training are computed from, by room and name.

    Numbers that the terms set, or that are not known, are not among them.
    """
    found = {f"power.{name}": number for name, number in _power(cluster).items()}
    found |= {f"cost.{name}": number for name, number in _price(cluster, terms).items()}
    found |= {f"failures.{name}": number for name, number in _failures(cluster, terms).items()}
    return {path: number for path, number in found.items() if _REPLACED_BY.get(path, path) not in terms.settings}


_REPLACED_BY = {
    **{f"power.{name}_share": f"power.{name}_w" for name in ("idle", "compute", "memory_bound", "communication")},
    **dict.fromkeys(("power.node_max_w", "power.host_fraction"), "power.host_w"),
    **dict.fromkeys(("power.port_w", "power.transceiver_w"), "power.network_w"),
    **dict.fromkeys(("cost.server_usd", "cost.network_share", "cost.server_per_accelerator"), "cost.capital_usd"),
    "cost.provisioned_per_board_limit": "cost.provisioned_w",
    **dict.fromkeys(("failures.detection_s", "failures.startup_s"), "failures.restart_s"),
    **dict.fromkeys(("failures.host_bytes_per_s", "failures.pause_s"), "failures.checkpoint_s"),
    **dict.fromkeys(("failures.slow_mtbf_s", "failures.eviction_s"), "failures.slow_share"),
}
"""Which setting makes a number of the catalog unused; by default that of its own name."""


def _failures(cluster: Cluster, terms: Terms) -> dict[str, Number]:
    """Return what failures are computed from; how long a repair takes matters only where spares are counted."""
    if not is_known(cluster) and not terms.sets("failures"):
        return {}
    found = reliability_numbers(cluster)
    return found if "failures.spare_nodes" in terms.settings else _without(found, "repair_s")


def _power(cluster: Cluster) -> dict[str, Number]:
    chip, record = cluster.accelerator.id, power_record()
    if board_limit_w(chip) is None:
        return {}
    shares = {f"{name}_share": number for name, number in draws(chip)._asdict().items()}
    node = node_of(chip)
    host = {} if node is None else {"node_max_w": node.max_w, "host_fraction": record.host_fraction}
    fabric = {"port_w": record.fabric.port_w, "transceiver_w": record.fabric.transceiver_w}
    return shares | host | fabric | {"pue": record.site.pue, "grid_kg_per_kwh": record.site.grid_kg_per_kwh}


def _price(cluster: Cluster, terms: Terms) -> dict[str, Number]:
    chip = cluster.accelerator.id
    if chip in terms.price_usd_per_gpu_hour:
        return {}
    if terms.owned:
        record, server = ownership_record(), server_price_usd_per_gpu(chip)
        paid = {name: number for name, number in record.numbers().items() if "." not in name}
        if all(one.with_server for one in purchases(chip)):
            paid = _without(paid, "server_per_accelerator")
        if node_of(chip) is not None:
            paid = _without(paid, "provisioned_per_board_limit")
        return paid if server is None else {"server_usd": server, **paid}
    rent = price_per_gpu_hour_usd(chip)
    return {} if rent is None else {"usd_per_gpu_hour": rent}


def _without(numbers: dict[str, Number], name: str) -> dict[str, Number]:
    """Return the other numbers."""
    return {other: number for other, number in numbers.items() if other != name}
