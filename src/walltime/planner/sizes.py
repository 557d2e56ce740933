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


def doublings(first: int, last: int, cluster: Cluster, in_doubling: int = 1) -> list[int]:
    """Return a range's ends and the powers of two between them; with more in each doubling, of whole nodes.

    Examples
    --------
    >>> from walltime import hardware
    >>> doublings(24, 256, hardware.cluster("h100-sxm"))
    [24, 32, 64, 128, 256]
    >>> doublings(64, 256, hardware.cluster("h100-sxm"), 2)
    [64, 96, 128, 192, 256]
    """
    node = cluster.network.level_sizes[0] if cluster.network.level_sizes else 1
    piece = node & -node  # of 72: 8
    found, size = {first, last}, 1
    while size <= last:
        between = (size * (in_doubling + part) // in_doubling for part in range(1, in_doubling))
        found |= {size} | {count for count in between if count % piece == 0 or count < piece}
        size *= 2
    return sorted(count for count in found if first <= count <= last)
