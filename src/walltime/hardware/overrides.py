"""What if? ``network.latency=0.5x`` and its like, applied to a cluster."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from walltime.hardware.accelerator import Accelerator
from walltime.hardware.cluster import Cluster
from walltime.hardware.network import LARGEST_GROUP, Network
from walltime.problems import BadInput, unknown
from walltime.units import parse_quantity, positive, whole_in

_FACTOR = re.compile(r"\s*([0-9.]+(?:[eE][-+]?\d+)?)\s*x\s*")

_ACCELERATOR_FIELDS = {
    "peak": ("peak_flop_per_s", "FLOP/s"),
    "memory": ("hbm_bytes", "bytes"),
    "memory_bandwidth": ("hbm_bytes_per_s", "bytes/s"),
    "l2": ("l2_bytes", "bytes"),
    "l2_bandwidth": ("l2_bytes_per_s", "bytes/s"),
    "matmul_latency": ("matmul_latency_s", "seconds"),
}
_LEVEL_ALIASES = {"intra": 0, "inter": -1}


def override(cluster: Cluster, settings: Iterable[str]) -> Cluster:
    """Apply settings of the form ``field=value`` in turn.

    Fields are ``network.bandwidth``, ``network.latency`` (all levels), ``network.LEVEL.bandwidth``,
    ``network.LEVEL.latency`` and ``network.LEVEL.size`` (``LEVEL`` by name, number from 0, ``intra`` or ``inter``),
    ``network.sizes`` (``8,32``: one fewer than there are levels), and ``accelerator.`` with ``peak``, ``memory``,
    ``memory_bandwidth``, ``l2``, ``l2_bandwidth``, ``matmul_latency`` or ``achievable_fraction``. A value has
    a unit (``100GB/s``, ``1us``), bandwidth per direction, or is a multiple of the present one (``0.5x``).

    Raises
    ------
    BadInput
        An unknown field or level, a value without unit or not positive, a list of the wrong length.
    """
    for setting in settings:
        path, separator, value = setting.partition("=")
        if not separator or not value:
            raise BadInput(f"--set {setting!r} is not field=value. Valid: for example network.latency=0.5x.")
        cluster = _apply(cluster, path.strip(), value.strip())
    return cluster


def _apply(cluster: Cluster, path: str, value: str) -> Cluster:
    room, _, rest = path.partition(".")
    if room == "network" and rest:
        return replace(cluster, network=_network(cluster.network, rest, value, path))
    if room == "accelerator" and rest:
        return replace(cluster, accelerator=_accelerator(cluster, rest, value, path))
    raise unknown("field in --set", path, _valid_paths(cluster.network))


def _accelerator(cluster: Cluster, name: str, value: str, path: str) -> Accelerator:
    chip = cluster.accelerator
    if name == "achievable_fraction":
        fraction = _multiple(value, chip.achievable_fraction, path, lambda text: _plain(text, path))
        if fraction > 1:
            raise BadInput(f"{path}={value} must be at most 1.")
        return replace(chip, achievable_fraction=fraction)
    if name not in _ACCELERATOR_FIELDS:
        raise unknown("field in --set", path, _valid_paths(cluster.network))
    attribute, dimension = _ACCELERATOR_FIELDS[name]
    changed: Any = {attribute: _quantity(value, getattr(chip, attribute), dimension, path)}
    return replace(chip, **changed)


def _network(network: Network, rest: str, value: str, path: str) -> Network:
    level, _, name = rest.rpartition(".")
    if rest == "sizes":
        return _with_sizes(network, value, path)
    if name == "size":
        index = _level_index(network, level)
        if index == network.num_levels - 1:
            raise BadInput(f"{path}: the last level ({network.level_names[index]}) is open-ended and has no size.")
        sizes = list(network.level_sizes)
        sizes[index] = whole_in(value, path, LARGEST_GROUP)
        return replace(network, level_sizes=tuple(sizes))
    fields = {"bandwidth": ("bytes_per_s", "bytes/s"), "latency": ("latency_s", "seconds")}
    if name not in fields:
        raise unknown("field in --set", path, _valid_paths(network))
    attribute, dimension = fields[name]
    numbers = list(getattr(network, attribute))
    for index in range(network.num_levels) if not level else [_level_index(network, level)]:
        numbers[index] = _quantity(value, numbers[index], dimension, path)
    changed: Any = {attribute: tuple(numbers)}
    return replace(network, **changed)


def _with_sizes(network: Network, value: str, path: str) -> Network:
    sizes = tuple(whole_in(part, path, LARGEST_GROUP) for part in value.split(","))
    if len(sizes) != network.num_levels - 1:
        raise BadInput(
            f"{path}={value} has {len(sizes)} sizes; {network.id} has {network.num_levels} levels "
            f"({', '.join(network.level_names)}), so {network.num_levels - 1}: the last is open-ended."
        )
    return replace(network, level_sizes=sizes)


def _level_index(network: Network, level: str) -> int:
    names = {name: i for i, name in enumerate(network.level_names)}
    names |= {str(i): i for i in range(network.num_levels)}
    names |= {alias: range(network.num_levels)[i] for alias, i in _LEVEL_ALIASES.items()}
    if level not in names:
        raise unknown(f"level of {network.id}", level, names)
    return names[level]


def _quantity(value: str, present: float, dimension: str, path: str) -> float:
    return _multiple(value, present, path, lambda text: parse_quantity(text, dimension, path))


def _multiple(value: str, present: float, path: str, read: Callable[[str], float]) -> float:
    match = _FACTOR.fullmatch(value)
    if not match:
        return read(value)
    factor = _plain(match[1], path)
    if math.isinf(present):
        raise BadInput(f"{path}={value}: it is unlimited, and so is every multiple. Valid: a quantity with its unit.")
    return positive(present * factor, path, value)


def _plain(text: str, path: str) -> float:
    try:
        return positive(float(text), path, text)
    except ValueError:
        raise BadInput(f"{path}={text!r} is not a number.") from None


def _valid_paths(network: Network) -> list[str]:
    levels = [f"network.{name}.{what}" for name in network.level_names for what in ("bandwidth", "latency", "size")]
    whole = ["network.bandwidth", "network.latency", "network.sizes"]
    chips = [f"accelerator.{name}" for name in (*_ACCELERATOR_FIELDS, "achievable_fraction")]
    return [*whole, *levels[:-1], *chips]
