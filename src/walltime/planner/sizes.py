"""Sizes of a cluster between two, few enough to search each and near enough to miss little."""

from walltime.hardware import Cluster

_IN_DOUBLING = (4, 5, 6, 7)  # quarters


def sizes(first: int, last: int, cluster: Cluster) -> list[int]:
    """Return the numbers of accelerators of a range: its ends, and four in each doubling, of whole nodes."""
    node = cluster.network.level_sizes[0] if cluster.network.level_sizes else 1
    found, size = {first, last}, 1
    while size <= last:
        found |= {size * quarters // 4 for quarters in _IN_DOUBLING if first <= size * quarters // 4 <= last}
        size *= 2
    return sorted(count for count in found if count in (first, last) or count % node == 0 or count < node)
