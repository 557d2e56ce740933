"""What a cluster has over its catalog entry, so that ``--set accelerator.peak=2x`` reaches the fitted numbers too."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from walltime.catalog import DATASHEET, AcceleratorRecord, ClusterRecord, NetworkRecord, parameter_set
from walltime.catalog.calibrations import CalibrationRecord, calibration_record
from walltime.catalog.fitted import LinkBlock, fitted_ids, links_record
from walltime.hardware import Accelerator, Cluster, Network

_REMEMBERED = 8
_LATENCIES = ("start_s", "hop_s", "tree_start_s", "tree_hop_s", "peer_s", "relay_s")


@dataclass(frozen=True)
class AcceleratorRatios:
    """An accelerator over the one of this name in the catalog: 1 where nothing was set.

    Attributes
    ----------
    peak, memory_bandwidth, memory
        Of dense peaks, of memory bandwidth, of memory capacity.
    achievable
        Of the share of the peak that a long run sustains.
    latency
        Of the fixed time of a kernel.
    """

    peak: float
    memory_bandwidth: float
    memory: float
    achievable: float
    latency: float


def accelerator_ratios(cluster: Cluster) -> AcceleratorRatios:
    """Return what was set for a cluster's accelerator, as multiples of what its parameter set has."""
    chip = cluster.accelerator
    base = _catalog_accelerator(cluster.parameters, chip.id, chip.precision)
    return AcceleratorRatios(
        peak=_over(chip.peak_flop_per_s, base.peak_flop_per_s),
        memory_bandwidth=_over(chip.hbm_bytes_per_s, base.hbm_bytes_per_s),
        memory=_over(chip.hbm_bytes, base.hbm_bytes),
        achievable=_over(chip.achievable_fraction, base.achievable_fraction),
        latency=_over(chip.matmul_latency_s, base.matmul_latency_s),
    )


def _catalog_accelerator(parameters: str, accelerator: str, precision: str) -> Accelerator:
    own = calibration_record(accelerator) if parameters == DATASHEET else None
    if own is not None:
        return _accelerator_of_calibration(own, precision)
    return _accelerator(parameters, accelerator, precision)


@functools.cache
def _accelerator(parameters: str, accelerator: str, precision: str) -> Accelerator:
    return Accelerator.from_catalog(parameter_set(parameters), accelerator, precision)


@functools.lru_cache(maxsize=_REMEMBERED)
def _accelerator_of_calibration(own: CalibrationRecord, precision: str) -> Accelerator:
    return Accelerator.from_catalog(parameter_set(DATASHEET), own.id, precision)


def _over(value: float, base: float) -> float:
    return value / base if base and not math.isinf(base) else 1


def link_values(cluster: Cluster) -> list[Mapping[str, float]]:
    """Return the fitted numbers of each level of a cluster's network.

    Latencies follow the network's over those of the network that was fitted. On a network that was not, each level
    takes the numbers of the level of nearest bandwidth in the accelerator's usual network.
    """
    base, places = _fitted_levels(cluster)
    blocks = links_record(base.id).level
    pairs = zip(places, cluster.network.latency_s, strict=True)
    return [_slowed(blocks[at], _over(latency_s, base.latency_s[at])) for at, latency_s in pairs]


def link_blocks(cluster: Cluster) -> list[LinkBlock]:
    """Return what each level of a cluster's network takes its fitted numbers from."""
    base, places = _fitted_levels(cluster)
    return [links_record(base.id).level[at] for at in places]


def _fitted_levels(cluster: Cluster) -> tuple[Network, Sequence[int]]:
    """Return the network that was fitted and stands for a cluster's, and its level for each level of that."""
    network, chip = cluster.network, cluster.accelerator.id
    fitted = _fitted_network(network.id, chip)
    if fitted is not None and fitted.num_levels == network.num_levels:
        return fitted, range(network.num_levels)
    usual = _usual_network(chip)
    return usual, [_nearest_level(rate, usual) for rate in network.bytes_per_s]


def _fitted_network(network: str, accelerator: str) -> Network | None:
    """Return a network that was fitted: that of the calibration that the accelerator is of, or one of the catalog."""
    own = calibration_record(accelerator) if network == accelerator else None
    if own is not None:
        return Network.from_record(own.network)
    return _catalog_network(network) if network in fitted_ids("links") else None


def _usual_network(accelerator: str) -> Network:
    own = calibration_record(accelerator)
    return _catalog_network(_catalog_network_of(accelerator)) if own is None else Network.from_record(own.network)


@functools.cache
def _catalog_network(network: str) -> Network:
    return Network.from_record(parameter_set(DATASHEET).get(NetworkRecord, network))


@functools.cache
def _catalog_network_of(accelerator: str) -> str:
    numbers = parameter_set(DATASHEET)
    return numbers.get(ClusterRecord, numbers.get(AcceleratorRecord, accelerator).usual_cluster).network


def _nearest_level(bytes_per_s: float, network: Network) -> int:
    distances = [abs(math.log(bytes_per_s / rate)) for rate in network.bytes_per_s]
    return distances.index(min(distances))


def _slowed(block: LinkBlock, ratio: float) -> Mapping[str, float]:
    values = dict(block.values)
    if ratio != 1:
        values |= {name: values[name] * ratio for name in _LATENCIES if name in values}
    return values
