"""The numbers of the catalog that an account stands on, each with its provenance."""

from walltime.catalog import Number
from walltime.catalog.ownership import ownership_record, server_price_usd_per_gpu
from walltime.catalog.power import board_limit_w, draws, node_of, power_record
from walltime.catalog.prices import price_per_gpu_hour_usd
from walltime.economics.known_reliability import reliability_numbers
from walltime.economics.terms import Terms
from walltime.hardware import Cluster


def account_numbers(cluster: Cluster, terms: Terms) -> dict[str, Number]:
    """Return what power, price and failures of a training are computed from, by room and name.

    Numbers that the terms set, or that are not known, are not among them.
    """
    found = {f"power.{name}": number for name, number in _power(cluster).items()}
    found |= {f"cost.{name}": number for name, number in _price(cluster, terms).items()}
    found |= {f"failures.{name}": number for name, number in reliability_numbers(cluster).items()}
    return found


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
        return paid if server is None else {"server_usd": server, **paid}
    rent = price_per_gpu_hour_usd(chip)
    return {} if rent is None else {"usd_per_gpu_hour": rent}
