"""Time of collectives on a network of levels, all accelerators busy in parallel groups (Erdil & Schneider-Joseph 2024).

Every function takes one network level at a time; the engine says how levels combine.
"""

from walltime.arrays import Numeric


def all_reduce_bytes(degree: Numeric, message_bytes: Numeric) -> Numeric:
    r"""Bytes that all members of one group together send in an all-reduce [B].

    .. math:: 2\,(p-1)\,n

    A reduce-scatter and an all-gather, each of which moves (p - 1)/p of the message for each of p members.

    Parameters
    ----------
    degree : (plans,)
        Members of the group, p.
    message_bytes : (plans,)
        Bytes that each holds before the call, n.

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Collectives.
    """
    return 2 * (degree - 1) * message_bytes


def all_reduce_latency_s(degree: Numeric, latency_s: float, repetitions: Numeric = 1) -> Numeric:
    r"""Latency of all-reduces that wait for each other [s].

    Two hops each (reduce-scatter, all-gather), whatever the size of the group; none in a group of one.

    Approximations
    --------------
    Independent of group size and distance (docs: not modelled): a ring of p members has 2 (p - 1) hops,
    a tree about 2 log2 p.
    """
    return 2 * repetitions * latency_s * (degree > 1)
