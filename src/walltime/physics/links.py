r"""Time of collectives and sends of real libraries (NCCL, RCCL) on a network of levels.

A group of ranks is given by ``sizes``, one array (plans,) a network level, innermost first: how many ranks, or groups
of the level below, each level joins. ``(8, 4)`` is 32 ranks, 8 in each of 4 nodes; ``(1, 4)`` is one rank in each of 4
nodes. All accelerators are busy in groups of the same shape, so a rank has its own link (``bytes_per_s``) to itself
and a group of 8 ranks in a node has 8 of them.

Every collective is a choice of paths (ring, tree). A path takes

.. math:: t(S) = a + \left(\sqrt{c} + \sqrt{S v}\right)^2 = a + c + 2\sqrt{c\,v\,S} + v\,S          (1)

with a the steps that wait for each other, c the start-up time, v the seconds for each byte of the message and S the
message. The square is what pipelining leaves of start-up and transfer: of k pieces the first few only fill the
pipeline and each adds its own overhead, and the best k leaves the cross term. With no number more than a straight line,
a + c + v S, it lowers the median error on group sizes left out of the fit (one node, 64 KiB to 512 MiB) from 12-16 % to
6-11 %; the faster of two straight lines, with two numbers more, reaches 8-12 %. Messages follow nccl-tests: the full
buffer of a rank, for an all-gather its result, for a reduce-scatter its input.

Approximations
--------------
The library's choices among protocols, channels and thresholds are smoothed over: one size in ten misses by 20-30 %.
Traffic of other groups shares no link but as ``bytes_per_s`` says; fabrics are not oversubscribed. Levels work at the
same time, so that the slowest decides; measured two-level all-reduces reach the line rate of the slower level, which
sums of levels cannot. No all-gather or reduce-scatter between nodes was there to fit: their ring's steps (``hop_s`` of
the outer and ``relay_s`` of the inner level) are estimates. Reduction arithmetic counts in the efficiency.

References
----------
NVIDIA, nccl-tests, doc/PERFORMANCE.md (bus bandwidth). Thakur, Rabenseifner & Gropp (2005), Optimization of collective
communication operations in MPICH (ring, tree). Fernandez et al. (2024), arXiv 2411.13055 (all-reduce by tree, linear
latency of all-gather and reduce-scatter).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from walltime.arrays import Floats, Numeric

Sizes = Sequence[Numeric]
"""Ranks, or groups of the level below, that each level joins; innermost first; numbers or arrays (plans,)."""


@dataclass(frozen=True)
class LinkLevel:
    """One level of a network as collectives find it.

    Attributes
    ----------
    bytes_per_s : float
        Bandwidth of one accelerator, per direction, by its datasheet. [B/s]
    efficiency : float
        Share of it that a ring reaches with large messages.
    start_s : float
        Start-up time c of eq. (1) of a ring or a send. [s]
    hop_s : float
        Time that each step of a ring waits for the one before. [s]
    tree_start_s, tree_hop_s : float
        Start-up time and waiting of each step of a tree; there are two steps for each doubling of the group. [s]
    tree_efficiency, all_to_all_efficiency, send_efficiency : float
        Share of the bandwidth that these reach with large messages.
    peer_s : float
        Time that each further peer adds to an all-to-all. [s]
    copy_share : float
        Cost of a rank's own part of an all-gather, reduce-scatter or all-to-all, which it copies, as a share of that
        of a part that it sends.
    relay_s : float
        What ``hop_s`` becomes in a ring that also crosses a level further out, whose protocol waits for longer. [s]
    multicast_efficiency : float
        Share of the bandwidth at which switches that reduce and copy (NVLink SHARP) move data; 0 where there are none.
    mesh_ranks : float
        Ranks of a full mesh without a switch, in which a group uses only the links to its own ranks; 2 if switched.
    max_rails : float
        The most accelerators of a group below this level whose links one ring or tree uses at once.
    reduce_slowdown : float
        Time that a byte of a reduce-scatter takes over one of an all-gather: 1 where adding costs nothing besides.
    """

    bytes_per_s: float
    efficiency: float
    start_s: float
    hop_s: float
    tree_start_s: float
    tree_hop_s: float
    tree_efficiency: float
    all_to_all_efficiency: float
    send_efficiency: float
    peer_s: float
    copy_share: float = 0.0
    relay_s: float = 0.0
    multicast_efficiency: float = 0.0
    mesh_ranks: float = 2.0
    max_rails: float = float("inf")
    reduce_slowdown: float = 1.0


@dataclass(frozen=True)
class Path:
    """One way to carry a collective out, for each plan: the three coefficients of eq. (1).

    Attributes
    ----------
    latency_s : (plans,)
        Time of an empty message, a + c. [s]
    s_per_root_byte : (plans,)
        Factor of the square root of the message's bytes. [s/√B]
    s_per_byte : (plans,)
        Factor of the message's bytes. [s/B]
    """

    latency_s: Numeric
    s_per_root_byte: Numeric
    s_per_byte: Numeric

    def time_s(self, message_bytes: Numeric) -> Numeric:
        """Time of one message along this path [s]."""
        return self.latency_s + self.s_per_root_byte * np.sqrt(message_bytes) + self.s_per_byte * message_bytes


def path(steps_s: Numeric, start_s: Numeric, s_per_byte: Numeric) -> Path:
    """Return eq. (1) with its square multiplied out; nothing where there is nothing to send."""
    busy = np.greater(s_per_byte, 0)
    return Path(busy * (steps_s + start_s), 2 * np.sqrt(start_s * s_per_byte), s_per_byte)


def ranks(sizes: Sizes) -> Numeric:
    """Ranks of a group, n."""
    product: Numeric = 1.0
    for size in sizes:
        product = product * size
    return product


def _ranks_below(sizes: Sizes) -> list[Numeric]:
    """Return for each level how many ranks of the group one of the things that it joins has, m."""
    below: list[Numeric] = [1.0]
    for size in sizes[:-1]:
        below.append(below[-1] * size)
    return below


def _most(terms: Sequence[Numeric]) -> Numeric:
    """Return the largest of several terms, element by element."""
    most = terms[0]
    for term in terms[1:]:
        most = np.maximum(most, term)
    return most


def _start_s(starts_s: Sequence[float], sizes: Sizes) -> Numeric:
    """Return the start-up time of the slowest level that joins anything."""
    return _most([np.greater(size, 1) * start_s for start_s, size in zip(starts_s, sizes, strict=True)])


def _lane_bytes_per_s(level: LinkLevel, size: Numeric, below: Numeric) -> Numeric:
    """Bandwidth that the links of ``below`` ranks have together across a level that joins ``size`` [B/s].

    A mesh without a switch has a link for each pair: a group uses only those that lead to its own ranks.
    """
    links = (
        1 if level.mesh_ranks <= 2 else np.clip(np.subtract(size, 1) / (level.mesh_ranks - 1), 1 / level.mesh_ranks, 1)
    )
    return np.minimum(below, level.max_rails) * links * level.bytes_per_s


def ring_path(levels: Sequence[LinkLevel], sizes: Sizes, passes: int) -> Path:
    r"""One ring through all ranks: ``passes`` times (n - 1) steps that each carry an n-th of the message.

    .. math:: v = \frac{p}{n}\,\max_l \frac{n - 1 + (2 - p)\,k_l}{\min(m_l, r_l)\,e_l B_l}, \qquad
              a = p \sum_l (N_l - N_{l+1})\,h_l

    over the levels l that join anything: m_l ranks share the traffic across level l, each with its own link, and
    N_l = n/m_l things are joined at or above it;
    k is ``copy_share`` and r ``max_rails``. The levels work at the same time, so that the slowest decides.

    Parameters
    ----------
    levels
        The network, innermost first.
    sizes : (levels, plans)
        Shape of the group.
    passes
        1 for an all-gather or a reduce-scatter, 2 for an all-reduce.
    """
    n = ranks(sizes)
    steps_s: Numeric = 0.0
    slowest: list[Numeric] = []
    for level, size, below in zip(levels, sizes, _ranks_below(sizes), strict=True):
        joined = n / below
        beyond = joined / size
        steps_s = steps_s + (joined - beyond) * np.where(np.greater(beyond, 1), level.relay_s, level.hop_s)
        parts = n - 1 + (2 - passes) * level.copy_share
        slowest.append(np.greater(size, 1) * parts / (level.efficiency * _lane_bytes_per_s(level, size, below)))
    return path(passes * steps_s, _start_s([level.start_s for level in levels], sizes), passes / n * _most(slowest))


def tree_path(levels: Sequence[LinkLevel], sizes: Sizes) -> Path:
    r"""All-reduce up and down a tree, through switches that reduce and copy where there are such.

    .. math:: v = \max_l \frac{w_l}{\min(m_l, r_l)\,e_l B_l}, \qquad a = 2 \sum_l h_l \log_2 g_l, \qquad
              c = 2 \sum_l c_l \log_2 g_l

    w is (g + 1)/g in switches that reduce (each rank sends the message and receives its share), else min(g - 1, 2):
    two neighbours exchange the message once, in larger trees a link carries it up and down.
    """
    steps_s: Numeric = 0.0
    start_s: Numeric = 0.0
    slowest: list[Numeric] = []
    for level, size, below in zip(levels, sizes, _ranks_below(sizes), strict=True):
        steps = 2 * np.log2(size)
        steps_s = steps_s + steps * level.tree_hop_s
        start_s = start_s + steps * level.tree_start_s
        if level.multicast_efficiency:
            weight, efficiency = np.greater(size, 1) * (1 + 1 / np.asarray(size)), level.multicast_efficiency
        else:
            weight, efficiency = np.minimum(np.subtract(size, 1), 2), level.tree_efficiency
        slowest.append(weight / (efficiency * _lane_bytes_per_s(level, size, below)))
    return path(steps_s, start_s, _most(slowest))


def all_to_all_path(levels: Sequence[LinkLevel], sizes: Sizes) -> Path:
    r"""Every rank sends an n-th of its message to each other rank, all at once.

    .. math:: v = \max_l \frac{(g_l - 1)\,m_l + k_l}{n\,e_l B_l}, \qquad a = \sum_l (g_l - 1)\,m_l\,h_l

    (g - 1) m of a rank's n - 1 peers are reached across level l, each over the rank's own link; k is ``copy_share``.
    """
    n = ranks(sizes)
    steps_s: Numeric = 0.0
    slowest: list[Numeric] = []
    for level, size, below in zip(levels, sizes, _ranks_below(sizes), strict=True):
        peers = (np.asarray(size) - 1) * below
        steps_s = steps_s + peers * level.peer_s
        parts = peers + level.copy_share * np.greater(size, 1)
        own_bytes_per_s = _lane_bytes_per_s(level, size, 1)
        slowest.append(parts / (n * level.all_to_all_efficiency * own_bytes_per_s))
    return path(steps_s, _start_s([level.start_s for level in levels], sizes), _most(slowest))


def all_reduce_time_s(message_bytes: Numeric, levels: Sequence[LinkLevel], sizes: Sizes) -> Floats:
    """Time of an all-reduce: the faster of ring and tree [s].

    Parameters
    ----------
    message_bytes : (plans,)
        What each rank holds before and after. [B]
    levels
        The network, innermost first.
    sizes : (levels, plans)
        Shape of the group.
    """
    ring, tree = ring_path(levels, sizes, 2), tree_path(levels, sizes)
    return np.minimum(ring.time_s(message_bytes), tree.time_s(message_bytes))


def all_gather_time_s(message_bytes: Numeric, levels: Sequence[LinkLevel], sizes: Sizes) -> Floats:
    """Time of an all-gather, by ring: its latency is linear in the ranks [s].

    Parameters
    ----------
    message_bytes : (plans,)
        What each rank holds afterwards. [B]
    levels
        The network, innermost first.
    sizes : (levels, plans)
        Shape of the group.
    """
    return np.asarray(ring_path(levels, sizes, 1).time_s(message_bytes))


def reduce_scatter_time_s(message_bytes: Numeric, levels: Sequence[LinkLevel], sizes: Sizes) -> Floats:
    """Time of a reduce-scatter, by ring: that of the all-gather of the same message, but for ``reduce_slowdown`` [s].

    ``message_bytes`` is what each rank holds before. [B]
    """
    return all_gather_time_s(message_bytes, [_reducing(level) for level in levels], sizes)


def _reducing(level: LinkLevel) -> LinkLevel:
    slow = level.reduce_slowdown
    return level if slow == 1 else replace(level, efficiency=level.efficiency / slow)


def all_to_all_time_s(message_bytes: Numeric, levels: Sequence[LinkLevel], sizes: Sizes) -> Floats:
    """Time of an all-to-all [s]; ``message_bytes`` is what each rank holds before, its own share included. [B]"""
    return np.asarray(all_to_all_path(levels, sizes).time_s(message_bytes))


def send_time_s(message_bytes: Numeric, level: LinkLevel) -> Floats:
    """Time of a message from one rank to another across a level [s]."""
    link_bytes_per_s = level.send_efficiency * _lane_bytes_per_s(level, 2, 1)
    sending = path(level.hop_s, level.start_s, 1 / link_bytes_per_s)
    time_s: Floats = np.asarray(np.greater(message_bytes, 0) * sending.time_s(message_bytes))
    return time_s
