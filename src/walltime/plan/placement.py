"""Where the groups of a plan lie on the network: how many ranks of a group each level joins."""

from collections.abc import Sequence

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.plan.plan import PlanBatch

Span = tuple[Floats, ...]
"""Ranks of a group that each network level joins, innermost first, one array (plans,) a level; their product is the
size of the group."""


def spans(plans: PlanBatch, level_sizes: Sequence[int]) -> dict[str, Span]:
    """Return how each kind of group is spread over the network's levels.

    Degrees are laid out in the order of ``plans.order``, innermost first. Expert groups start at the innermost ranks
    that they may take: at neighbours where experts are not split over ``tp``, else at every ``tp``-th rank.

    Parameters
    ----------
    plans
        Their degrees.
    level_sizes
        Groups of the level below that a level joins, for all levels but the open-ended last.

    Returns
    -------
    dict of str to tuple of (plans,)
        For ``tp``, ``cp``, ``dp``, ``pp``, ``ep``, ``data`` (``dp`` and ``cp`` together: ranks with the same weights),
        ``shard`` (those of them that share out state), ``replica`` (copies of a shard group) and ``expert_data``
        (ranks with the same experts).

    Approximations
    --------------
    A group that does not divide a level fills as much of it as it can, and the rest is spread evenly.
    """
    strides = {}
    stride: Floats = np.ones_like(plans.tp)
    for name in plans.order:
        if name != "ep":
            strides[name] = (stride, getattr(plans, name))
            stride = stride * getattr(plans, name)
    data_stride = np.minimum(strides["cp"][0], strides["dp"][0])
    data_size = plans.cp * plans.dp
    expert_stride = np.where(plans.etp < plans.tp, 1, data_stride)
    strides |= {
        "data": (data_stride, data_size),
        "shard": (data_stride, plans.shard * plans.cp),
        "replica": (data_stride * plans.shard * plans.cp, plans.dp / plans.shard),
        "ep": (expert_stride, plans.ep),
        "expert_data": (expert_stride * plans.ep, np.maximum(data_size * plans.tp / (plans.etp * plans.ep), 1)),
    }
    return {name: span(stride, size, level_sizes) for name, (stride, size) in strides.items()}


def span(stride: Numeric, size: Numeric, level_sizes: Sequence[int]) -> Span:
    """Return how a group of ``size`` ranks, ``stride`` accelerators apart, is spread over the levels."""
    joined = []
    reach = 1
    inside: Numeric = 1.0
    for level_size in level_sizes:
        reach *= level_size
        within = np.minimum(size, np.maximum(np.floor(reach / stride), 1))
        joined.append(np.asarray(within / inside))
        inside = within
    return (*joined, np.asarray(size / inside))
