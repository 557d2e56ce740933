"""What was set for a cluster, as ``--set`` takes it: the inverse of `walltime.hardware.override`."""

from pathlib import Path

from walltime import hardware
from walltime.hardware import Accelerator, Cluster

_UNITS = {
    "memory": ("hbm_bytes", "B"),
    "memory_bandwidth": ("hbm_bytes_per_s", "B/s"),
    "l2": ("l2_bytes", "B"),
    "l2_bandwidth": ("l2_bytes_per_s", "B/s"),
    "matmul_latency": ("matmul_latency_s", "s"),
    "achievable_fraction": ("achievable_fraction", ""),
}
"""Settings of an accelerator beside its peak: the attribute, and the unit that it is in."""


def is_file(name: str) -> bool:
    """Whether the name of a cluster or a model is the path of its file."""
    return name.endswith((".toml", ".json")) or "/" in name


def cluster_settings(cluster: Cluster) -> list[str]:
    """Return what was set for a cluster, in base units and to the last digit.

    Examples
    --------
    >>> cluster_settings(hardware.override(hardware.cluster("h100-sxm"), ["network.inter.bandwidth=100Gb/s"]))
    ['network.1.bandwidth=12500000000.0B/s']
    """
    usual = _unchanged(cluster, cluster.accelerator.precision)
    settings = [*_peak(cluster, usual), *_of_accelerator(cluster.accelerator, usual.accelerator)]
    here, there = cluster.network, usual.network
    if here.level_sizes != there.level_sizes:
        settings.append(f"network.sizes={','.join(map(str, here.level_sizes))}")
    for level in range(here.num_levels):
        if here.bytes_per_s[level] != there.bytes_per_s[level]:
            settings.append(f"network.{level}.bandwidth={here.bytes_per_s[level]!r}B/s")
        if here.latency_s[level] != there.latency_s[level]:
            settings.append(f"network.{level}.latency={here.latency_s[level]!r}s")
    return settings


def _unchanged(cluster: Cluster, precision: str | None = None) -> Cluster:
    """Return the cluster of the same name as nobody changed it."""
    if is_file(cluster.id):
        return hardware.cluster_from_file(Path(cluster.id), cluster.parameters, precision)
    return hardware.cluster(cluster.id, parameters=cluster.parameters, precision=precision)


def _peak(cluster: Cluster, usual: Cluster) -> list[str]:
    """Return the peak that was set; as a multiple if it is that of another precision than a flag would set."""
    here, there = cluster.accelerator.peak_flop_per_s, usual.accelerator.peak_flop_per_s
    if here == there:
        return []
    if _unchanged(cluster).accelerator.precision == cluster.accelerator.precision:
        return [f"accelerator.peak={here!r}FLOP/s"]
    return [f"accelerator.peak={here / there!r}x"]


def _of_accelerator(chip: Accelerator, usual: Accelerator) -> list[str]:
    return [
        f"accelerator.{name}={getattr(chip, attribute)!r}{unit}"
        for name, (attribute, unit) in _UNITS.items()
        if getattr(chip, attribute) != getattr(usual, attribute)
    ]
